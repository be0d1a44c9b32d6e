// PTX text taken apart: module-level items first, statements of a body when its kernel is wanted. Views point into the
// module's text.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "vgpu/types.h"

namespace vgpu {

// One argument of a statement.
struct Operand {
  enum class Kind : u8 {
    sink,    // _
    name,    // a register, label or symbol, perhaps plus an offset
    number,  // integer bits, or those of a 0f or 0d literal
    memory,  // [address]: items[0], which may carry the offset; further items are the coordinates of a tensor copy
    list,    // {a, b} or (a, b)
    pair     // a|b
  };
  Kind kind = Kind::sink;
  bool inverted = false;  // !p
  u8 literal = 0;         // 'f' or 'd' for hexadecimal float literals
  std::string_view name;
  u64 bits = 0;
  i64 offset = 0;
  std::vector<Operand> items;
};

struct Statement {
  enum class Kind : u8 { instruction, label, open, close, declaration, location, targets, end };
  Kind kind = Kind::end;
  int line = 0;            // of the PTX
  std::string_view text;   // the whole statement, without the semicolon
  std::string_view guard;  // predicate register of @p; empty: none
  bool guard_inverted = false;
  std::string_view opcode;  // "add"; a label's name
  std::vector<std::string_view> qualifiers;
  std::vector<Operand> operands;
};

// .reg, .local, .shared, .param, .global, .const: `count` elements of `type`; -1: an extern array, sized by the launch.
struct Declaration {
  std::string_view space;  // "reg"
  Type type = Type::none;
  std::string_view name;
  i64 count = 1;
  bool range = false;  // name<count>: name0, name1, ...
  bool external = false;
  int alignment = 0;  // 0: the type's
  int line = 0;
  std::string_view initialiser;  // between = and ;
};

struct Location {
  int file = 0, line = 0;
};

struct FunctionText {
  std::string_view name;
  bool entry = false, has_body = false;
  std::vector<Declaration> returns, parameters;
  u32 max_threads = 1024;
  std::string_view body;  // between the braces
  int line = 0, body_line = 0;
  std::string unsupported;  // a directive that the interpreter refuses
};

struct Unit {
  std::vector<FunctionText> functions;
  std::vector<Declaration> variables;
  std::map<int, std::string> files;
  int target = 0;  // 80 of sm_80
};

// A syntax error: line and what is wrong.
struct SyntaxError {
  int line;
  std::string what;
};

Unit parse_unit(std::string_view text);  // throws SyntaxError

// Reads one body, statement by statement.
class BodyReader {
 public:
  BodyReader(std::string_view body, int line) : text_(body), line_(line) {}
  Statement next();

 private:
  std::string_view text_;
  size_t at_ = 0;
  int line_;
};

std::vector<Declaration> parse_declarations(std::string_view statement, int line);
Operand parse_operand(std::string_view text, int line);
std::vector<std::string_view> split_list(std::string_view text);  // at top-level commas, trimmed
std::string_view trim(std::string_view s);
u64 parse_integer(std::string_view text, int line);

}  // namespace vgpu
