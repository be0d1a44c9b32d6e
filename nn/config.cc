#include "nn/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tensor/check.h"

namespace weft {

using nlohmann::json;

std::string shown(const json& value) {
  std::string text = value.dump();
  if (text.size() <= 80) return text;
  size_t end = 80;
  while ((text[end] & 0xc0) == 0x80) --end;  // not within a character
  return text.substr(0, end) + "...";
}

ConfigReader::ConfigReader(const json& object, std::string file) : json_(object), file_(std::move(file)) {
  check_input(json_.is_object(), "{}: a JSON object was expected but a {} was found", file_, json_.type_name());
}

const json* ConfigReader::find(const char* key, bool optional) const {
  const auto found = json_.find(key);
  if (found == json_.end() || (optional && found->is_null())) {
    check_input(optional, "{}: the key \"{}\" is missing", file_, key);
    return nullptr;
  }
  return &*found;
}

int64_t ConfigReader::integer(const char* key, int64_t low, int64_t high, std::optional<int64_t> otherwise) const {
  const json* value = find(key, otherwise.has_value());
  if (!value) return *otherwise;
  const bool fits = value->is_number_integer() && !(value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX);
  check_input(fits && value->get<int64_t>() >= low && value->get<int64_t>() <= high,
              "{}: {} must be a whole number in [{}, {}] but is {}", file_, key, low, high, shown(*value));
  return value->get<int64_t>();
}

double ConfigReader::number(const char* key, double low, double high, std::optional<double> otherwise) const {
  const json* value = find(key, otherwise.has_value());
  if (!value) return *otherwise;
  check_input(value->is_number() && value->get<double>() >= low && value->get<double>() <= high,
              "{}: {} must be a number in [{}, {}] but is {}", file_, key, low, high, shown(*value));
  return value->get<double>();
}

std::string ConfigReader::text(const char* key, std::optional<std::string> otherwise) const {
  const json* value = find(key, otherwise.has_value());
  if (!value) return *otherwise;
  check_input(value->is_string(), "{}: {} must be a text but is {}", file_, key, shown(*value));
  return value->get<std::string>();
}

std::string ConfigReader::choice(const char* key, const std::vector<std::string>& allowed, std::optional<std::string> otherwise) const {
  const std::string found = text(key, std::move(otherwise));
  check_input(std::find(allowed.begin(), allowed.end(), found) != allowed.end(), "{}: {} must be \"{}\" but is {}", file_, key,
              fmt::format("{}", fmt::join(allowed, "\" or \"")), shown(found));
  return found;
}

bool ConfigReader::flag(const char* key, std::optional<bool> otherwise) const {
  const json* value = find(key, otherwise.has_value());
  if (!value) return *otherwise;
  check_input(value->is_boolean(), "{}: {} must be true or false but is {}", file_, key, shown(*value));
  return value->get<bool>();
}

std::vector<int64_t> ConfigReader::integers(const char* key, size_t count, int64_t low, int64_t high) const {
  const json* value = find(key, false);
  check_input(value->is_array() && value->size() == count, "{}: {} must be {} whole numbers but is {}", file_, key, count, shown(*value));
  std::vector<int64_t> numbers;
  for (const json& element : *value) {
    check_input(element.is_number_integer() && element >= low && element <= high,
                "{}: {} must be whole numbers in [{}, {}] but has {}", file_, key, low, high, shown(element));
    numbers.push_back(element.get<int64_t>());
  }
  return numbers;
}

std::vector<std::string> ConfigReader::texts(const char* key) const {
  const json* value = find(key, false);
  check_input(value->is_array(), "{}: {} must be a list of texts but is a {}", file_, key, value->type_name());
  std::vector<std::string> result;
  for (const json& element : *value) {
    check_input(element.is_string(), "{}: {} must be a list of texts but has {}", file_, key, shown(element));
    result.push_back(element.get<std::string>());
  }
  return result;
}

std::vector<std::string> ConfigReader::sorted_texts(const char* key) const {
  std::vector<std::string> result = texts(key);
  for (size_t i = 1; i < result.size(); ++i) {
    check_input(result[i - 1] < result[i],
                "{}: {} must be distinct and sorted by their bytes but {} comes before {}", file_, key,
                shown(result[i - 1]), shown(result[i]));
  }
  return result;
}

const json& ConfigReader::object(const char* key) const {
  const json* value = find(key, false);
  check_input(value->is_object(), "{}: {} must be an object but is a {}", file_, key, value->type_name());
  return *value;
}

}  // namespace weft
