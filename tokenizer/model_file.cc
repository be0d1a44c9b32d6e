#include "tokenizer/model_file.h"

#include "tensor/check.h"

#include <cstdint>
#include <fstream>

namespace weft {

std::string read_model_file(const std::filesystem::path& path, std::string_view what) {
  constexpr std::uintmax_t max_size = std::uintmax_t{1} << 28;
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  check_input(std::filesystem::exists(status), "{}: expected {}, found no such file", path.string(), what);
  check_input(std::filesystem::is_regular_file(status), "{}: expected {}, found something that is no file",
              path.string(), what);
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  check_input(!error && size <= max_size, "{}: expected {} of at most {} bytes, found {}", path.string(), what,
              max_size, error ? error.message() : fmt::format("{}", size));
  std::string bytes(size, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(bytes.data(), static_cast<std::streamsize>(size));
  check_input(in.gcount() == static_cast<std::streamsize>(size), "{}: byte {}: expected {} bytes, found the end",
              path.string(), in.gcount(), size);
  return bytes;
}

}  // namespace weft
