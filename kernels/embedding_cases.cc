#include "kernels/embedding.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Op embedding_cases() {
  Op room{"embedding"};
  const Run run = [](const Tensors& x) { return embedding(x[0], x[1]); };
  const std::pair<Shape, Shape> sizes[] = {{{1, 1}, {1}},           {{7, 31}, {5}}, {{3, 33}, {2, 129}},
                                           {{100, 128}, {4, 5, 3}}, {{9, 65}, {0}}, {{5, 8}, {}}};
  for (const auto& [table, ids] : sizes) {
    room.cases.push_back({fmt::format("{} {}", table, ids), {activation(table), indices(ids, table[0])}, run});
  }
  // A row used a thousand times: its gradient is one long sum.
  room.cases.push_back({"one row", {activation({1, 40}), indices({1000}, 1)}, run, 1e-4});
  const Shape mt5{64, 512}, table{8000, 512};
  room.benches.push_back(
      {"[250112, 512] [64, 512]", {activation({250112, 512}), indices(mt5, 250112)}, run, 2.0 * mt5.numel() * 512});
  room.benches.push_back(
      {"[8000, 512] [64, 512]", {activation(table), indices(mt5, 8000)}, run, 2.0 * mt5.numel() * 512});
  // The table's gradient is cleared and then holds one sum a row in use.
  room.benches.push_back({"[8000, 512] [64, 512] with backward",
                          {activation(table), indices(mt5, 8000)},
                          run,
                          3.0 * mt5.numel() * 512 + 2.0 * table.numel(),
                          0,
                          true});
  room.misuses.push_back({"id out of range",
                          [] {
                            embedding(Tensor::zeros({5, 2}), Tensor::from(std::vector<int64_t>{4, 5}, {2}));
                          },
                          "[embedding] every id must lie in [0, 5) but number 1 is 5"});
  room.misuses.push_back({"negative id",
                          [] {
                            embedding(Tensor::zeros({5, 2}), Tensor::from(std::vector<int64_t>{-1}, {1}));
                          },
                          "[embedding] every id must lie in [0, 5) but number 0 is -1"});
  room.misuses.push_back({"weight", [] { embedding(Tensor::zeros({5}), Tensor::zeros({2}, DType::i64)); },
                          "[embedding] weight must have 2 axes but has shape [5]"});
  room.misuses.push_back({"dtype of the ids",
                          [] {
                            embedding(Tensor::zeros({5, 2}), Tensor::zeros({2}));
                          },
                          "[embedding] the ids must be i64 but are f32"});
  return room;
}

const Register embedding_room(embedding_cases());

}  // namespace

}  // namespace weft::op_check
