#include "tensor/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tensor/check.h"

namespace weft {

std::string quote(std::string_view text) {
  std::string line = "'";
  for (const char c : text.substr(0, 80)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += c;
    }
  }
  line += text.size() > 80 ? "...'" : "'";
  return line;
}

AtomicFile::AtomicFile(const std::filesystem::path& path)
    : path_(path), temporary_(path.parent_path() / fmt::format(".{}.tmp", path.filename().string())) {
  check(path.has_filename(), "[atomic_file] the path must end in a file name but is {}", path.string());
  for (;;) {
    descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    check_input(descriptor_ >= 0, "{}: cannot be created: {}", path_.string(), std::strerror(errno));
    if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      close(descriptor_);
      fail("{}: another process is writing this file", path_.string());
    }
    // Between open and lock another writer may have renamed this very file to its final name.
    struct stat locked, named;
    if (fstat(descriptor_, &locked) == 0 && stat(temporary_.c_str(), &named) == 0 && locked.st_ino == named.st_ino)
      break;
    close(descriptor_);
  }
  if (ftruncate(descriptor_, 0) != 0) failed("written");
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  unlink(temporary_.c_str());
  close(descriptor_);
}

void AtomicFile::failed(const char* what) {
  const int reason = errno;
  unlink(temporary_.c_str());
  close(descriptor_);
  descriptor_ = -1;
  fail("{}: cannot be {}: {}", path_.string(), what, std::strerror(reason));
}

void AtomicFile::write(const void* bytes, size_t count) {
  const char* next = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t written = ::write(descriptor_, next, std::min<size_t>(count, 1 << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) failed("written");
    next += written;
    count -= static_cast<size_t>(written);
  }
}

void AtomicFile::commit() {
  if (fsync(descriptor_) != 0) failed("written");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) failed("renamed into place");
  close(descriptor_);
  descriptor_ = -1;
  // The rename itself is durable once the folder is.
  const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
  const int directory = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool durable = directory >= 0 && fsync(directory) == 0;
  const int reason = errno;
  if (directory >= 0) close(directory);
  check_input(durable, "{}: its folder cannot be synced: {}", path_.string(), std::strerror(reason));
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace weft
