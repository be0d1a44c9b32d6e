// A file's bytes in memory without reading them: pages come when they are looked at. What every reader starts from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tensor/tensor.h"

namespace weft {

/// A regular file mapped read-only and privately. It must not be shortened while it is mapped: the system then ends the
/// program. Replacing it, as AtomicFile does, is safe.
class MappedFile {
 public:
  /// Throws std::runtime_error naming the file and the system's reason.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::string_view bytes() const { return {bytes_, size_}; }
  /// Gives the pages that lie wholly within `part` back; they are read again when looked at again.
  void forget(std::string_view part) const;

 private:
  MappedFile() = default;
  std::string path_;
  const char* bytes_ = nullptr;
  size_t size_ = 0;
};

/// Bytes of a dense tensor of that shape; nothing if an extent is negative or the extents' product cannot be counted,
/// even where one of them is zero (views multiply some of them).
std::optional<int64_t> tensor_bytes(const Shape& shape, DType dtype);

/// The elements at the begin of `bytes`, which must be enough: a view that keeps `owner` alive, or a copy where they are
/// not aligned for the dtype. Throws std::runtime_error, begun with `label`, if a bool is neither 0 nor 1.
Tensor tensor_at(std::string_view bytes, const Shape& shape, DType dtype, std::shared_ptr<const void> owner,
                 const std::string& label);

/// A copy, in row-major order, of elements that lie `strides` elements apart from the begin of `bytes` on. The last of
/// them must lie in the bytes; shape and strides have equally many axes, at least one.
Tensor strided_tensor_at(std::string_view bytes, const Shape& shape, const Shape& strides, DType dtype,
                         const std::string& label);

}  // namespace weft
