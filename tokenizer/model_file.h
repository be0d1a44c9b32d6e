// Files that tokenizers are made of, read whole.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace weft {

/// The bytes of a file of at most 256 MiB; `what` says what was expected there. Throws std::runtime_error naming the
/// file when it is missing, no regular file, too large or cannot be read.
std::string read_model_file(const std::filesystem::path& path, std::string_view what);

}  // namespace weft
