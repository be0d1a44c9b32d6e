// Zip archives as PyTorch and NumPy write them (PKWARE's APPNOTE 6.3): members are found through the central directory,
// their bytes through their local headers, zip64 included. Only stored members can be read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/files/mapped_file.h"

namespace weft {

/// An open archive. Names and bytes are views of the mapping, so that opening costs 48 bytes a member.
class ZipArchive {
 public:
  struct Member {
    std::string_view name;
    uint64_t begin = 0, size = 0;  // the bytes of a stored member, in the file
    bool stored = false;
  };

  /// Checks the whole directory: every field lies in the file, no two members share a byte or a name, nothing is
  /// encrypted or split over disks. Checksums are not looked at. Errors (std::runtime_error) are one line with file and
  /// offset or member.
  explicit ZipArchive(std::shared_ptr<const MappedFile> file);
  /// Whether the bytes begin as an archive's.
  static bool is_zip(std::string_view bytes) { return bytes.starts_with("PK\3\4") || bytes.starts_with("PK\5\6"); }

  const std::string& path() const { return file_->path(); }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }
  /// Sorted by name.
  const std::vector<Member>& members() const { return members_; }
  /// Null if there is none of that name.
  const Member* find(std::string_view name) const;
  /// Whether there are members and all their names end so.
  bool holds_only(std::string_view ending) const;
  /// A stored member's bytes; an error if it is compressed.
  std::string_view bytes(const Member& member) const;

 private:
  struct Directory {
    uint64_t begin, size, count;
  };
  Directory find_directory() const;
  void read_directory(const Directory& directory);

  std::shared_ptr<const MappedFile> file_;
  std::vector<Member> members_;
};

}  // namespace weft
