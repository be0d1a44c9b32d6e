#include "vgpu/syntax.h"

#include <cctype>
#include <charconv>

#include <fmt/format.h>

namespace vgpu {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%'; }

// Text with a place in it; skips blanks and comments, and counts lines.
struct Cursor {
  std::string_view text;
  size_t at = 0;
  int line = 1;

  bool done() const { return at >= text.size(); }
  char peek() const { return done() ? '\0' : text[at]; }
  void advance() {
    if (text[at] == '\n') line++;
    at++;
  }
  void skip_to(size_t end) {
    while (at < end && !done()) advance();
  }
  void blanks() {
    while (!done()) {
      if (is_space(peek())) {
        advance();
      } else if (text.compare(at, 2, "//") == 0) {
        skip_to(std::min(text.find('\n', at), text.size()));
      } else if (text.compare(at, 2, "/*") == 0) {
        const size_t end = text.find("*/", at + 2);
        skip_to(end == text.npos ? text.size() : end + 2);
      } else {
        return;
      }
    }
  }
  std::string_view line_rest() {
    const size_t begin = at;
    skip_to(std::min(text.find('\n', at), text.size()));
    return text.substr(begin, at - begin);
  }
  // Up to a character of `stops` outside of strings and brackets; stays on it.
  std::string_view until(std::string_view stops) {
    const size_t begin = at;
    int depth = 0;
    for (; !done(); advance()) {
      const char c = peek();
      if (c == '"') {
        const size_t end = text.find('"', at + 1);
        skip_to(end == text.npos ? text.size() : end);
        continue;
      }
      if (depth == 0 && stops.find(c) != stops.npos) break;
      if (c == '(' || c == '[' || c == '{') depth++;
      if (c == ')' || c == ']' || c == '}') depth--;
    }
    return text.substr(begin, at - begin);
  }
  // A balanced block; on '{' or '(' before, past its end after. Returns what is between.
  std::string_view block(char open, char close) {
    const size_t begin = ++at;
    int depth = 1;
    for (; !done(); advance()) {
      if (peek() == '"') {
        const size_t end = text.find('"', at + 1);
        skip_to(end == text.npos ? text.size() : end);
      } else if (peek() == open) {
        depth++;
      } else if (peek() == close && --depth == 0) {
        const std::string_view inside = text.substr(begin, at - begin);
        at++;
        return inside;
      }
    }
    throw SyntaxError{line, fmt::format("no closing '{}'", close)};
  }
  std::string_view word() {
    const size_t begin = at;
    while (!done() && (is_word(peek()) || peek() == '.')) at++;
    return text.substr(begin, at - begin);
  }
};

int to_int(std::string_view s) {
  int value = 0;
  std::from_chars(s.data(), s.data() + s.size(), value);
  return value;
}

// .file 1 "path", 123, 456
void parse_file(std::string_view rest, Unit& unit) {
  const size_t open = rest.find('"'), close = rest.rfind('"');
  if (open == rest.npos || close <= open) return;
  unit.files[to_int(trim(rest.substr(0, open)))] = std::string(rest.substr(open + 1, close - open - 1));
}

std::vector<Declaration> parse_parameters(std::string_view list, int line) {
  std::vector<Declaration> out;
  for (const std::string_view item : split_list(list))
    for (Declaration& d : parse_declarations(item, line)) out.push_back(d);
  return out;
}

// After .entry or .func: [(returns)] name [(parameters)] directives, then a body or a semicolon.
FunctionText parse_function(Cursor& c, bool entry) {
  FunctionText f;
  f.entry = entry;
  c.blanks();
  if (c.peek() == '(') f.returns = parse_parameters(c.block('(', ')'), c.line);
  c.blanks();
  f.line = c.line;
  f.name = c.word();
  c.blanks();
  if (c.peek() == '(') f.parameters = parse_parameters(c.block('(', ')'), c.line);
  for (c.blanks(); c.peek() == '.'; c.blanks()) {
    const std::string_view directive = c.word();
    c.blanks();
    const size_t begin = c.at;
    while (!c.done() && (std::isdigit(static_cast<unsigned char>(c.peek())) || c.peek() == ',' || is_space(c.peek())))
      c.advance();
    u32 product = 1;
    for (const std::string_view n : split_list(c.text.substr(begin, c.at - begin)))
      product *= static_cast<u32>(to_int(n));
    if (directive == ".maxntid" || directive == ".reqntid") {
      f.max_threads = product;
    } else if (directive == ".reqnctapercluster" || directive == ".explicitcluster" || directive == ".maxclusterrank") {
      if (product > 1 || directive == ".explicitcluster") f.unsupported = std::string(directive);
    } else if (directive != ".minnctapersm" && directive != ".maxnreg" && directive != ".noreturn" &&
               directive != ".pragma" && directive != ".blocksareclusters") {
      f.unsupported = std::string(directive);
    }
  }
  if (c.peek() == '{') {
    f.body_line = c.line;
    f.body = c.block('{', '}');
    f.has_body = true;
  } else {
    c.until(";");
    if (!c.done()) c.advance();
  }
  return f;
}

void parse_directive(Cursor& c, Unit& unit) {
  const size_t begin = c.at;
  const int line = c.line;
  const std::string_view word = c.word();
  if (word == ".version" || word == ".address_size") {
    c.line_rest();
  } else if (word == ".target") {
    const std::string_view rest = c.line_rest();
    const size_t sm = rest.find("sm_");
    if (sm != rest.npos) unit.target = to_int(rest.substr(sm + 3));
  } else if (word == ".file") {
    parse_file(c.line_rest(), unit);
  } else if (word == ".section") {
    c.until("{");
    if (c.peek() == '{') c.block('{', '}');
  } else if (word == ".entry" || word == ".func") {
    unit.functions.push_back(parse_function(c, word == ".entry"));
  } else if (word == ".visible" || word == ".weak" || word == ".extern" || word == ".common") {
    c.blanks();
    const std::string_view after = c.text.substr(c.at);
    if (after.starts_with(".entry") || after.starts_with(".func")) return;  // read at the next turn
    c.until(";");
    for (Declaration& d : parse_declarations(c.text.substr(begin, c.at - begin), line)) unit.variables.push_back(d);
    if (!c.done()) c.advance();
  } else if (word == ".global" || word == ".const" || word == ".shared") {
    c.until(";");
    for (Declaration& d : parse_declarations(c.text.substr(begin, c.at - begin), line)) unit.variables.push_back(d);
    if (!c.done()) c.advance();
  } else if (word == ".pragma" || word == ".alias") {
    if (word == ".alias") throw SyntaxError{line, ".alias is not supported"};
    c.until(";");
    if (!c.done()) c.advance();
  } else {
    throw SyntaxError{line, fmt::format("unknown directive '{}'", word)};
  }
}

u64 parse_hex(std::string_view digits, int line) {
  u64 value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc{} || end != digits.data() + digits.size())
    throw SyntaxError{line, fmt::format("bad number '{}'", digits)};
  return value;
}

bool starts_number(std::string_view t) {
  return std::isdigit(static_cast<unsigned char>(t[0])) || ((t[0] == '-' || t[0] == '+') && t.size() > 1);
}

Operand parse_number(std::string_view t, int line) {
  Operand o;
  o.kind = Operand::Kind::number;
  if (t.size() > 2 && t[0] == '0' && (t[1] == 'f' || t[1] == 'F' || t[1] == 'd' || t[1] == 'D')) {
    o.literal = t[1] == 'f' || t[1] == 'F' ? 'f' : 'd';
    o.bits = parse_hex(t.substr(2), line);
  } else {
    o.bits = parse_integer(t, line);
  }
  return o;
}

Operand parse_name(std::string_view t, int line) {
  Operand o;
  o.kind = Operand::Kind::name;
  size_t end = 0;
  while (end < t.size() && (is_word(t[end]) || t[end] == '.')) end++;
  o.name = t.substr(0, end);
  const std::string_view rest = trim(t.substr(end));
  if (o.name.empty()) throw SyntaxError{line, fmt::format("cannot read the operand '{}'", t)};
  if (rest.empty()) return o;
  if (rest[0] == '+' || rest[0] == '-') {
    const std::string_view digits = trim(rest.substr(1));
    const u64 value = parse_integer(digits, line);  // "+-8" is how nvcc writes a negative offset
    o.offset = static_cast<i64>(rest[0] == '-' ? u64{0} - value : value);
    return o;
  }
  throw SyntaxError{line, fmt::format("cannot read the operand '{}'", t)};
}

Statement::Kind directive_kind(std::string_view word) {
  if (word == ".loc") return Statement::Kind::location;
  if (word == ".reg" || word == ".local" || word == ".shared" || word == ".param" || word == ".global" ||
      word == ".const")
    return Statement::Kind::declaration;
  return Statement::Kind::targets;
}

// "@!%p1 add.f32 a, b" into guard, opcode, qualifiers and operands.
void parse_instruction(Statement& s) {
  std::string_view t = s.text;
  if (t[0] == '@') {
    size_t end = 1;
    while (end < t.size() && !is_space(t[end])) end++;
    s.guard = t.substr(1, end - 1);
    if (!s.guard.empty() && s.guard[0] == '!') {
      s.guard_inverted = true;
      s.guard = s.guard.substr(1);
    }
    t = trim(t.substr(end));
  }
  size_t end = 0;
  while (end < t.size() && !is_space(t[end]) && t[end] != '{' && t[end] != '[' && t[end] != '(') end++;
  std::string_view word = t.substr(0, end);
  const size_t dot = std::min(word.find('.'), word.size());
  s.opcode = word.substr(0, dot);
  word = word.substr(std::min(dot + 1, word.size()));
  while (!word.empty()) {
    const size_t next = std::min(word.find('.'), word.size());
    s.qualifiers.push_back(word.substr(0, next));
    word = word.substr(std::min(next + 1, word.size()));
  }
  for (const std::string_view piece : split_list(t.substr(end))) s.operands.push_back(parse_operand(piece, s.line));
}

}  // namespace

std::string_view trim(std::string_view s) {
  while (!s.empty() && is_space(s.front())) s.remove_prefix(1);
  while (!s.empty() && is_space(s.back())) s.remove_suffix(1);
  return s;
}

std::vector<std::string_view> split_list(std::string_view text) {
  std::vector<std::string_view> out;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); i++) {
    const char c = text[i];
    if (c == '(' || c == '[' || c == '{') depth++;
    if (c == ')' || c == ']' || c == '}') depth--;
    if (c == ',' && depth == 0) {
      out.push_back(trim(text.substr(begin, i - begin)));
      begin = i + 1;
    }
  }
  const std::string_view last = trim(text.substr(begin));
  if (!last.empty()) out.push_back(last);
  return out;
}

u64 parse_integer(std::string_view text, int line) {
  std::string_view t = text;
  const bool negative = !t.empty() && t[0] == '-';
  if (!t.empty() && (t[0] == '-' || t[0] == '+')) t.remove_prefix(1);
  if (!t.empty() && (t.back() == 'U' || t.back() == 'u')) t.remove_suffix(1);
  int base = 10;
  if (t.size() > 1 && t[0] == '0') {
    const char c = t[1];
    base = c == 'x' || c == 'X' ? 16 : c == 'b' || c == 'B' ? 2 : 8;
    t.remove_prefix(base == 8 ? 1 : 2);
  }
  u64 value = 0;
  const auto [end, error] = std::from_chars(t.data(), t.data() + t.size(), value, base);
  if (error != std::errc{} || end != t.data() + t.size() || t.empty())
    throw SyntaxError{line, fmt::format("cannot read the number '{}'", text)};
  return negative ? u64{0} - value : value;
}

Operand parse_operand(std::string_view text, int line) {
  const std::string_view t = trim(text);
  Operand o;
  if (t.empty()) throw SyntaxError{line, "an operand is missing"};
  if (t == "_") return o;
  if (t[0] == '{' || t[0] == '(' || t[0] == '[') {
    o.kind = t[0] == '[' ? Operand::Kind::memory : Operand::Kind::list;
    for (const std::string_view item : split_list(t.substr(1, t.size() - 2)))
      o.items.push_back(parse_operand(item, line));
    return o;
  }
  if (t[0] == '!') {
    o = parse_operand(t.substr(1), line);
    o.inverted = !o.inverted;
    return o;
  }
  if (const size_t bar = t.find('|'); bar != t.npos) {
    o.kind = Operand::Kind::pair;
    o.items = {parse_operand(t.substr(0, bar), line), parse_operand(t.substr(bar + 1), line)};
    return o;
  }
  return starts_number(t) ? parse_number(t, line) : parse_name(t, line);
}

std::vector<Declaration> parse_declarations(std::string_view statement, int line) {
  Declaration base;
  base.line = line;
  Cursor c{statement, 0, line};
  bool pointer = false;
  for (c.blanks(); c.peek() == '.'; c.blanks()) {
    const std::string_view word = c.word().substr(1);
    if (word == "align") {
      c.blanks();
      const int value = to_int(c.word());
      if (!pointer) base.alignment = value;  // ".ptr .align 16" speaks of what the pointer points to
    } else if (word == "ptr") {
      pointer = true;
    } else if (word == "extern") {
      base.external = true;
    } else if (const Type t = parse_type(word); t != Type::none) {
      base.type = t;
    } else if (word == "reg" || word == "local" || word == "shared" || word == "param" || word == "global" ||
               word == "const") {
      if (!pointer) base.space = word;
    } else if (word != "visible" && word != "weak" && word != "common" && word != "attribute") {
      throw SyntaxError{line, fmt::format("unknown word '.{}' in '{}'", word, trim(statement))};
    } else if (word == "attribute") {
      c.blanks();
      if (c.peek() == '(') c.block('(', ')');  // .managed: memory is one anyway
    }
  }
  std::string_view names = statement.substr(c.at);
  std::string_view initialiser;
  if (const size_t equals = names.find('='); equals != names.npos) {
    initialiser = trim(names.substr(equals + 1));
    names = names.substr(0, equals);
  }
  std::vector<Declaration> out;
  for (const std::string_view item : split_list(names)) {
    Declaration d = base;
    const size_t end = item.find_first_of("[< \t");
    d.name = item.substr(0, end);
    d.initialiser = initialiser;
    std::string_view rest = end == item.npos ? std::string_view{} : trim(item.substr(end));
    while (!rest.empty()) {
      const size_t close = rest.find(rest[0] == '<' ? '>' : ']');
      if ((rest[0] != '<' && rest[0] != '[') || close == rest.npos)
        throw SyntaxError{line, fmt::format("cannot read the declaration '{}'", trim(statement))};
      d.range = d.range || rest[0] == '<';
      const std::string_view digits = trim(rest.substr(1, close - 1));
      d.count = digits.empty() ? -1 : d.count * static_cast<i64>(parse_integer(digits, line));
      rest = trim(rest.substr(close + 1));
    }
    if (d.name.empty() || d.type == Type::none)
      throw SyntaxError{line, fmt::format("cannot read the declaration '{}'", trim(statement))};
    out.push_back(d);
  }
  return out;
}

Unit parse_unit(std::string_view text) {
  Unit unit;
  Cursor c{text, 0, 1};
  for (c.blanks(); !c.done(); c.blanks()) {
    if (c.peek() == '\0') break;  // fat binaries pad the text with zeros
    if (c.peek() != '.')
      throw SyntaxError{c.line, fmt::format("a directive is expected but there is '{}'", trim(c.line_rest()))};
    parse_directive(c, unit);
  }
  return unit;
}

Statement BodyReader::next() {
  Cursor c{text_, at_, line_};
  c.blanks();
  Statement s;
  s.line = c.line;
  if (c.done()) {
    s.kind = Statement::Kind::end;
  } else if (c.peek() == '{' || c.peek() == '}') {
    s.kind = c.peek() == '{' ? Statement::Kind::open : Statement::Kind::close;
    c.advance();
  } else if (c.peek() == ';') {
    c.advance();
    at_ = c.at;
    line_ = c.line;
    return next();
  } else if (c.peek() == '.') {
    const size_t begin = c.at;
    s.opcode = c.word();
    s.kind = directive_kind(s.opcode);
    if (s.kind == Statement::Kind::location) {
      c.line_rest();
    } else {
      c.until(";");
    }
    s.text = trim(text_.substr(begin, c.at - begin));
    if (!c.done()) c.advance();
  } else {
    const size_t begin = c.at;
    size_t end = begin;
    while (end < text_.size() && is_word(text_[end])) end++;
    const size_t colon = text_.find_first_not_of(" \t", end);
    if (end > begin && colon != text_.npos && text_[colon] == ':') {
      s.kind = Statement::Kind::label;
      s.opcode = text_.substr(begin, end - begin);
      c.skip_to(colon + 1);
    } else {
      s.kind = Statement::Kind::instruction;
      s.text = trim(c.until(";"));
      if (!c.done()) c.advance();
      parse_instruction(s);
    }
  }
  at_ = c.at;
  line_ = c.line;
  return s;
}

}  // namespace vgpu
