#include "tensor/json_file.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "tensor/atomic_file.h"
#include "tensor/check.h"

namespace weft {

using nlohmann::json;

json read_json_file(const std::filesystem::path& file) {
  constexpr uintmax_t limit = 16 << 20;
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(file, error);
  check_input(!error, "{}: cannot be read: {}", file.string(), error.message());
  check_input(bytes <= limit, "{}: a JSON file of at most {} bytes was expected but it has {}", file.string(), limit, bytes);
  std::ifstream in(file, std::ios::binary);
  std::string text(bytes, '\0');
  check_input(static_cast<bool>(in.read(text.data(), static_cast<std::streamsize>(bytes))), "{}: cannot be read", file.string());
  return parse_json(text, file.string());
}

json parse_json(std::string_view text, std::string_view name) {
  check_json_tokens(text, name);
  // A member of an object takes 96 bytes beside its text, an element of an array up to 48 while the array grows.
  uint64_t values = (memory_slack + text.size()) / 128;
  const auto bounded = [&](int depth, json::parse_event_t event, json&) {
    check_input(depth <= 64, "{}: JSON of at most 64 levels was expected", name);
    if (event == json::parse_event_t::value || event == json::parse_event_t::object_start ||
        event == json::parse_event_t::array_start) {
      check_input(values-- > 0, "{}: JSON of {} bytes has more values than {} bytes of memory hold", name, text.size(),
                  memory_slack + text.size());
    }
    return true;
  };
  try {
    return json::parse(text, bounded);
  } catch (const json::parse_error& e) {
    fail("{}: byte {}: valid JSON was expected", name, e.byte);
  } catch (const json::out_of_range&) {
    fail("{}: numbers that fit into 64 bits were expected", name);
  }
}

void write_json_file(const std::filesystem::path& file, const json& value) { write_file_atomically(file, value.dump(2) + "\n"); }

void check_json_tokens(std::string_view text, std::string_view name) {
  constexpr size_t limit = 4 << 20;
  bool quoted = false;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') {
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
      begin = i;
    } else if (!quoted && (c == ',' || c == ':' || c == '{' || c == '}' || c == '[' || c == ']')) {
      begin = i;
    }
    check_input(i - begin <= limit, "{}: byte {}: no text, number or run of spaces may have more than {} bytes", name, begin,
                limit);
  }
}

}  // namespace weft
