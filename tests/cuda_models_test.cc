// Every model's golden on the cuda device: outputs and gradients in f32, outputs in bf16.
#include <doctest/doctest.h>

#include "models/clip.h"
#include "tests/model_goldens.h"

using namespace weft;

namespace {

constexpr Place f32{DType::f32, Device::cuda}, bf16_place{DType::bf16, Device::cuda};
// Gradients in bf16 are checked op by op (op_check): here they only must be there and finite.
constexpr double any = 1e30;

}  // namespace

TEST_CASE("resnext") {
  check_resnext(true, f32, {1e-5, 3e-5});
  check_resnext(false, f32, {1e-5, 1e-5});
  check_resnext(false, bf16_place, {2e-2, any});
}

TEST_CASE("t5") {
  check_t5("short", f32, {1e-5, 1e-5});
  check_t5("short", bf16_place, {2e-2, any});
  check_t5("long", f32, {1e-5, 1e-5});
}

TEST_CASE("embracenet") {
  check_embracenet("sampled", f32, {1e-5, 3e-5});
  check_embracenet("expected", f32, {1e-5, 1e-5});
  check_embracenet("weighted", bf16_place, {2e-2, any});
}

TEST_CASE("clip") {
  check_clip(f32, {1e-5, 1e-5});
  check_clip(bf16_place, {2e-2, any});
}

TEST_CASE("xlm-roberta") {
  check_xlm_roberta(f32, {1e-5, 1e-5});
  check_xlm_roberta(bf16_place, {2e-2, any});
}
