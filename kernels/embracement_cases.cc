#include "kernels/embracement.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

// Row b leaves out modality b % K where there are several.
Tensor availabilities(int64_t B, int64_t K) {
  const Tensor w = Tensor::empty({B, K}, DType::f32);
  for (int64_t i = 0; i < B * K; ++i)
    w.data<float>()[i] = K > 1 && i % K == i / K % K ? 0.0f : 0.5f + static_cast<float>(i % 3);
  return w;
}

Op embracement_cases() {
  Op room{"embracement"};
  struct Size {
    int64_t B, K, C;
  };
  for (const Size& s :
       {Size{1, 1, 1}, Size{3, 2, 33}, Size{5, 3, 128}, Size{4, 3, 1000}, Size{0, 3, 7}, Size{2, 2, 4099}}) {
    const Tensor weights = availabilities(s.B, s.K);
    for (bool expected : {false, true}) {
      room.cases.push_back({fmt::format("{}x{}x{} {}", s.B, s.K, s.C, expected ? "expected" : "sampled"),
                            {activation({s.B, s.K, s.C})},
                            [=](const Tensors& x) {
                              Random random{7};
                              return embracement(x[0], weights, &random, {expected});
                            }});
    }
    room.cases.push_back({fmt::format("{}x{}x{} drawn", s.B, s.K, s.C),
                          {activation({s.B, s.K, s.C}), indices({s.B, s.C}, s.K)},
                          [](const Tensors& x) { return embracement(x[0], x[1]); }});
  }
  for (const Size& s : {Size{128, 2, 256}, Size{1 << 14, 3, 512}}) {
    for (bool expected : {false, true}) {
      const Tensor weights = availabilities(s.B, s.K);
      const double once = static_cast<double>(s.B) * s.C, all = once * s.K;
      // A draw may read any of the K values of a position; lines of memory are read whole.
      room.benches.push_back({fmt::format("{}x{}x{} {}", s.B, s.K, s.C, expected ? "expected" : "sampled"),
                              {activation({s.B, s.K, s.C})},
                              [=](const Tensors& x) {
                                Random random{7};
                                return embracement(x[0], weights, &random, {expected});
                              },
                              2 * all + 2 * once,
                              0,
                              true});
    }
  }
  const auto misuse = [&](const std::string& name, const std::string& message, std::function<void()> run) {
    room.misuses.push_back({name, std::move(run), "[embracement] " + message});
  };
  const Tensor x = Tensor::zeros({2, 3, 4});
  misuse("two axes", "docked must be [B, K, C] but has shape [2, 3]", [] {
    embracement(Tensor::zeros({2, 3}), Tensor::zeros({2, 3}), nullptr, {true});
  });
  misuse("weights", "weights must be f32 [2, 3] but is f32 [3, 2]", [=] {
    embracement(x, Tensor::zeros({3, 2}), nullptr, {true});
  });
  misuse("no weight", "every row needs a positive weight but row 1 has none", [=] {
    embracement(x, Tensor::from(std::vector<float>{1, 0, 0, 0, 0, 0}, {2, 3}), nullptr, {true});
  });
  misuse("negative weight", "weights must be at least 0 but row 1 has -1 for modality 2", [=] {
    embracement(x, Tensor::from(std::vector<float>{1, 0, 0, 1, 1, -1}, {2, 3}), nullptr, {true});
  });
  misuse("no generator", "a draw needs a random generator but none was given", [=] {
    embracement(x, Tensor::full({2, 3}, 1), nullptr);
  });
  misuse("drawn", "drawn must be in [0, 3) but element 7 is 3", [=] {
    embracement(x, Tensor::from(std::vector<int64_t>{0, 1, 2, 0, 0, 0, 0, 3}, {2, 4}));
  });
  misuse("drawn shape", "drawn must be i64 [2, 4] but is f32 [2, 4]", [=] { embracement(x, Tensor::zeros({2, 4})); });
  return room;
}

const Register embracement_room(embracement_cases());

}  // namespace

}  // namespace weft::op_check
