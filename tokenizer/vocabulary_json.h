// vocab.json of a Hugging Face tokenizer: one JSON object from text to id.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

namespace weft {

/// Reads the object; every id from 0 to the number of entries - 1 must occur once. `file` names it in errors. Throws
/// std::runtime_error in one line when it is anything else. Nothing but the entries is kept while reading.
std::unordered_map<std::string, int> read_vocabulary_json(std::string_view json, std::string_view file);

}  // namespace weft
