// Reading a model's config.json: every value is checked against its bounds, every error names the file and the key.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tensor/json_file.h"

namespace weft {

/// A JSON value for an error: one line, control characters escaped, cut after some 80 bytes.
std::string shown(const nlohmann::json& value);

/// Takes typed values from one JSON object. With a default, the key may be missing. The object must outlive the reader.
class ConfigReader {
 public:
  /// `file` begins every error.
  ConfigReader(const nlohmann::json& object, std::string file);

  int64_t integer(const char* key, int64_t low, int64_t high, std::optional<int64_t> otherwise = std::nullopt) const;
  double number(const char* key, double low, double high, std::optional<double> otherwise = std::nullopt) const;
  std::string text(const char* key, std::optional<std::string> otherwise = std::nullopt) const;
  /// A text that is one of `allowed`.
  std::string choice(const char* key, const std::vector<std::string>& allowed, std::optional<std::string> otherwise = std::nullopt) const;
  bool flag(const char* key, std::optional<bool> otherwise = std::nullopt) const;
  std::vector<int64_t> integers(const char* key, size_t count, int64_t low, int64_t high) const;
  std::vector<std::string> texts(const char* key) const;
  /// Texts that are distinct and sorted by their bytes.
  std::vector<std::string> sorted_texts(const char* key) const;
  /// The object under a key.
  const nlohmann::json& object(const char* key) const;

 private:
  const nlohmann::json* find(const char* key, bool optional) const;
  const nlohmann::json& json_;
  std::string file_;
};

}  // namespace weft
