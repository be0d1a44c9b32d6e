#include "tensor/dtype.h"

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
  check_input(name == "cpu", "this build of weft has no cuda device: it was built without nvcc");
  return Device::cpu;
}

void Shape::bad_axis(int axis) const {
  check(false, "[shape] the axis must lie in [-{0}, {0}) but is {1} for shape {2}", rank_, axis, *this);
  __builtin_unreachable();
}

}  // namespace weft
