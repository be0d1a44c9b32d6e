#include "kernels/cast.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

// There and back, so that the result can be compared with f64 truth.
Run through(DType dtype) {
  return [dtype](const Tensors& x) { return cast(cast(x[0], dtype), x[0].dtype()); };
}

Op cast_cases() {
  Op room{"cast"};
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{3, 31}, Shape{0, 7}, Shape{4099}, Shape{33, 1000}}) {
    room.cases.push_back({fmt::format("through f64 {}", shape), {activation(shape)}, through(DType::f64)});
  }
  // Central differences see the steps of the narrower type, so these are compared only.
  for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    room.cases.push_back({fmt::format("through {}", dtype),
                          {activation({5, 129})},
                          [dtype](const Tensors& x) { return cast(cast(x[0].detach(), dtype), x[0].dtype()); },
                          1e-5,
                          0x1p-7,
                          1e-6,
                          false});
  }
  for (DType dtype : {DType::i32, DType::i64, DType::u8, DType::boolean}) {
    room.cases.push_back(
        {fmt::format("through {}", dtype), {activation({5, 129}, 0, 200)}, through(dtype), 1e-5, 0x1p-7, 1e-6, false});
  }
  room.cases.push_back({"from integers",
                        {indices({1000}, 256)},
                        [](const Tensors& x) { return cast(x[0], DType::bf16); },
                        1e-5,
                        0x1p-7,
                        1e-6,
                        false});
  // f32 to f64 and bf16 to f32 move as many times their own size, and so does the way back.
  const Run wider = [](const Tensors& x) { return cast(x[0], x[0].dtype() == DType::f32 ? DType::f64 : DType::f32); };
  const Shape large{1 << 25};
  room.benches.push_back({"to twice the bytes", {activation(large)}, wider, 3.0 * large.numel()});
  room.benches.push_back({"to twice the bytes and back", {activation(large)}, wider, 6.0 * large.numel(), 0, true});
  room.misuses.push_back({"undefined", [] { cast(Tensor(), DType::f32); }, "[cast] x is undefined"});
  return room;
}

const Register cast_room(cast_cases());

}  // namespace

}  // namespace weft::op_check
