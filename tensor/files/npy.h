// NumPy's arrays (numpy.org/doc/stable/reference/generated/numpy.lib.format.html): .npy files of versions 1 to 3, and
// .npz archives of them as numpy.savez writes them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/files/zip.h"

namespace weft {

/// What the header of a .npy says, and the array's bytes behind it.
struct NpyArray {
  DType dtype = DType::f32;
  Shape shape;
  bool fortran_order = false;  // the first axis runs fastest
  std::string_view bytes;
};

/// Reads the header and checks it against the bytes that follow, which must be exactly those of the array. Little-endian
/// f2, f4, f8, i4, i8, u1 and bool. Errors (std::runtime_error) begin with `label`.
NpyArray parse_npy(std::string_view file, const std::string& label);
inline bool is_npy(std::string_view bytes) { return bytes.starts_with("\x93NUMPY"); }

/// The array as a tensor: a view that keeps `owner` alive where it is aligned and in C order, a copy otherwise.
Tensor npy_tensor(const NpyArray& array, std::shared_ptr<const void> owner, const std::string& label);

/// The header of a file of version 1 in C order, byte for byte NumPy's; the array's bytes follow it. f16, f32, f64,
/// i32, i64, u8 or bool.
std::string npy_header(DType dtype, const Shape& shape);
/// A tensor on the cpu as a file, whole or not at all.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

struct NamedArray {
  std::string name;  // without ".npy"
  NpyArray array;
};
/// Every array of a .npz. Compressed archives (numpy.savez_compressed) are refused by name.
std::vector<NamedArray> parse_npz(const ZipArchive& archive);

}  // namespace weft
