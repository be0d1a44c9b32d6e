#include "tokenizer/vocabulary_json.h"

#include "tensor/atomic_file.h"
#include "tensor/check.h"

#include <nlohmann/json.hpp>

#include <vector>

namespace weft {
namespace {

using Json = nlohmann::json;

// Takes what the parser reads as it comes, so that nested or foreign values never become objects in memory.
class Reader : public nlohmann::json_sax<Json> {
 public:
  explicit Reader(std::string_view file) : file_(file) {}

  std::unordered_map<std::string, int> entries;

  bool start_object(std::size_t) override { return inside_ ? wrong("an object") : (inside_ = true); }
  bool key(std::string& text) override {
    key_ = std::move(text);
    return true;
  }
  bool number_unsigned(std::uint64_t id) override {
    if (!inside_) return wrong("a number");
    check_input(id < max_entries, "{}: expected an id below {} for {}, found {}", file_, max_entries, quote(key_),
                id);
    check_input(entries.emplace(key_, static_cast<int>(id)).second, "{}: expected {} once, found it again", file_,
                quote(key_));
    return true;
  }
  bool end_object() override { return true; }
  bool null() override { return wrong("null"); }
  bool boolean(bool) override { return wrong("a boolean"); }
  bool number_integer(std::int64_t) override { return wrong("a negative number"); }
  bool number_float(double, const std::string&) override { return wrong("a fraction"); }
  bool string(std::string&) override { return wrong("a string"); }
  bool binary(Json::binary_t&) override { return wrong("bytes"); }
  bool start_array(std::size_t) override { return wrong("an array"); }
  bool end_array() override { return wrong("an array"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail("{}: byte {}: expected JSON, found something else", file_, position);
  }

 private:
  static constexpr std::uint64_t max_entries = 1 << 24;

  [[noreturn]] bool wrong(const char* found) const {
    if (!inside_) fail("{}: expected a JSON object from text to id, found {}", file_, found);
    fail("{}: expected an id for {}, found {}", file_, quote(key_), found);
  }

  std::string_view file_;
  std::string key_;
  bool inside_ = false;
};

}  // namespace

std::unordered_map<std::string, int> read_vocabulary_json(std::string_view json, std::string_view file) {
  Reader reader(file);
  Json::sax_parse(json, &reader);
  check_input(!reader.entries.empty(), "{}: expected entries, found none", file);
  std::vector<bool> taken(reader.entries.size());
  for (const auto& [text, id] : reader.entries) {
    check_input(static_cast<std::size_t>(id) < taken.size() && !taken[id],
                "{}: expected every id from 0 to {} once, found {} for {}", file, taken.size() - 1, id, quote(text));
    taken[id] = true;
  }
  return std::move(reader.entries);
}

}  // namespace weft
