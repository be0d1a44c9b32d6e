// A file that appears whole or not at all: written to a temporary name in the same folder, made durable, then renamed.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace weft {

/// A text from outside as one short printable line in quotes: control characters escaped, cut after 80 bytes.
std::string quote(std::string_view text);

/// Errors (std::runtime_error) name the file and the system's reason. Whatever goes wrong, the temporary is removed and
/// a file that was there before stays as it was. After a crash the temporary `.NAME.tmp` may be left; the next writer
/// of NAME takes it over.
class AtomicFile {
 public:
  /// Locks the temporary, so that a second writer of the same file gets an error.
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;

  void write(const void* bytes, size_t count);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Makes the bytes durable and gives the file its name. Without it the destructor drops what was written.
  void commit();

 private:
  [[noreturn]] void failed(const char* what);
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

/// The whole file in one go.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace weft
