#include "tensor/dtype.h"

#ifdef WEFT_HAS_CUDA
#include "tensor/cuda.h"
#endif
#include "tensor/device.h"
#include "tensor/shape.h"

namespace weft {

namespace {
struct DTypeRow {
  std::string_view name;
  int64_t bytes;
};
// In the order of the enumeration.
constexpr DTypeRow rows[] = {{"f32", 4}, {"bf16", 2}, {"f16", 2}, {"f64", 8}, {"i32", 4}, {"i64", 8}, {"u8", 1}, {"bool", 1}};
}  // namespace

int64_t size_of(DType dtype) { return rows[static_cast<int>(dtype)].bytes; }
std::string_view name_of(DType dtype) { return rows[static_cast<int>(dtype)].name; }

DType dtype_from_name(std::string_view name) {
  for (int i = 0; i < static_cast<int>(std::size(rows)); ++i) {
    if (rows[i].name == name) return static_cast<DType>(i);
  }
  check(false, "[dtype] the name must be one of f32 bf16 f16 f64 i32 i64 u8 bool but is '{}'", name);
  return DType::f32;
}

Device device_from_name(std::string_view name) {
  check(name == "cpu" || name == "cuda", "[device] the name must be cpu or cuda but is '{}'", name);
  if (name == "cpu") return Device::cpu;
#ifdef WEFT_HAS_CUDA
  cuda::properties();
  return Device::cuda;
#else
  fail("this build of weft has no cuda device: it was built without nvcc; install the CUDA toolkit and build again, or use --device cpu");
#endif
}

void Shape::bad_axis(int axis) const {
  check(false, "[shape] the axis must lie in [-{0}, {0}) but is {1} for shape {2}", rank_, axis, *this);
  __builtin_unreachable();
}

}  // namespace weft
