// Small JSON files: configurations, vocabularies, lists of shards.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace weft {

/// What reading a file may take beyond twice its size.
inline constexpr uint64_t memory_slack = 48 << 20;

/// The whole file as JSON: at most 16 MiB, at most 64 levels deep, and no more values than fit into the file's size and
/// `memory_slack`. Throws std::runtime_error naming the file and the byte.
nlohmann::json read_json_file(const std::filesystem::path& file);
/// The same from text in memory; `name` begins the errors.
nlohmann::json parse_json(std::string_view text, std::string_view name);
/// Writes it whole or not at all.
void write_json_file(const std::filesystem::path& file, const nlohmann::json& json);

/// Refuses JSON with a text, number or run of spaces of more than 4 MiB, which parsers copy more than once.
void check_json_tokens(std::string_view text, std::string_view name);

}  // namespace weft
