#include "kernels/arithmetic.h"
#include "kernels/arrange.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

const Shape large{1 << 14, 8, 4, 64};  // 128 MiB in f32

Op concat_cases() {
  Op room{"concat"};
  struct Row {
    std::vector<Shape> shapes;
    int axis;
  };
  for (const Row& row : {Row{{{3}, {5}}, 0}, Row{{{2, 31}, {2, 1}, {2, 33}}, 1}, Row{{{1, 4}, {0, 4}, {3, 4}}, 0},
                         Row{{{2, 3, 5}, {2, 4, 5}}, -2}, Row{{{7, 129}}, 1}, Row{{{0, 2}, {0, 3}}, 1}}) {
    std::vector<Input> inputs;
    for (const Shape& shape : row.shapes) inputs.push_back(activation(shape));
    room.cases.push_back({fmt::format("{} axis {}", fmt::join(row.shapes, " "), row.axis), inputs,
                          [axis = row.axis](const Tensors& x) { return concat(x, axis); }});
  }
  room.cases.push_back({"one tensor twice", {activation({3, 4})}, [](const Tensors& x) {
                          return concat({x[0], x[0]}, 1);
                        }});
  for (int axis : {0, 3}) {
    room.benches.push_back({fmt::format("{} twice, axis {}", large, axis),
                            {activation(large), activation(large)},
                            [axis](const Tensors& x) { return concat(x, axis); },
                            4.0 * large.numel()});
  }
  room.misuses.push_back({"nothing", [] { concat({}, 0); }, "[concat] at least 1 tensor must be given"});
  room.misuses.push_back({"shapes",
                          [] {
                            concat({Tensor::zeros({2, 3}), Tensor::zeros({3, 3})}, 1);
                          },
                          "[concat] the shapes must be equal but for axis 1 but are [2, 3] and [3, 3]"});
  room.misuses.push_back({"ranks",
                          [] {
                            concat({Tensor::zeros({2, 3}), Tensor::zeros({3})}, 0);
                          },
                          "[concat] the shapes must be equal but for axis 0 but are [2, 3] and [3]"});
  room.misuses.push_back({"dtypes",
                          [] {
                            concat({Tensor::zeros({2}), Tensor::zeros({2}, DType::i64)}, 0);
                          },
                          "[concat] the dtypes must be equal but are f32 and i64"});
  room.misuses.push_back({"axis", [] { concat({Tensor::zeros({2})}, 1); },
                          "[concat] the axis must lie in [-1, 1) but is 1 for shape [2]"});
  return room;
}

Op slice_cases() {
  Op room{"slice"};
  struct Row {
    Shape shape;
    int axis;
    int64_t begin, end;
  };
  for (const Row& r : {Row{{5}, 0, 1, 4}, Row{{3, 33}, 1, 0, 32}, Row{{3, 33}, -2, 2, 3}, Row{{2, 7, 5}, 1, 3, 3},
                       Row{{4, 6, 129}, 1, 1, 5}, Row{{0, 3}, 1, 1, 2}}) {
    room.cases.push_back({fmt::format("{} axis {} [{}, {})", r.shape, r.axis, r.begin, r.end),
                          {activation(r.shape)},
                          [r](const Tensors& x) { return slice(x[0], r.axis, r.begin, r.end); }});
  }
  room.benches.push_back({fmt::format("half of {}, axis 3", large),
                          {activation(large)},
                          [](const Tensors& x) { return slice(x[0], 3, 0, 32); },
                          1.0 * large.numel()});
  room.misuses.push_back({"end",
                          [] {
                            slice(Tensor::zeros({2, 3}), 1, 1, 4);
                          },
                          "[slice] 0 <= begin <= end <= 3 must hold but begin is 1 and end is 4"});
  room.misuses.push_back({"begin",
                          [] {
                            slice(Tensor::zeros({2, 3}), 1, -1, 2);
                          },
                          "[slice] 0 <= begin <= end <= 3 must hold but begin is -1 and end is 2"});
  return room;
}

Op permute_cases() {
  Op room{"permute"};
  struct Row {
    Shape shape;
    std::vector<int> axes;
  };
  for (const Row& r :
       {Row{{}, {}}, Row{{7}, {0}}, Row{{3, 5}, {1, 0}}, Row{{127, 129}, {1, 0}}, Row{{2, 33, 31}, {0, 2, 1}},
        Row{{2, 3, 5, 7}, {0, 2, 1, 3}}, Row{{2, 3, 5, 7}, {3, 1, 0, 2}}, Row{{2, 3, 5, 7}, {-1, -2, -3, -4}},
        Row{{3, 1, 4, 1, 5, 2}, {4, 0, 5, 3, 2, 1}}, Row{{0, 3}, {1, 0}}, Row{{1, 40, 40, 1}, {2, 0, 3, 1}}}) {
    room.cases.push_back({fmt::format("{} -> [{}]", r.shape, fmt::join(r.axes, ", ")),
                          {activation(r.shape)},
                          [axes = r.axes](const Tensors& x) { return permute(x[0], axes); }});
  }
  room.cases.push_back({"transpose", {activation({4, 5, 6})}, [](const Tensors& x) { return transpose(x[0], 0, -1); }});
  const auto add_bench = [&](const Shape& shape, const std::vector<int>& axes) {
    room.benches.push_back({fmt::format("{} -> [{}]", shape, fmt::join(axes, ", ")),
                            {activation(shape)},
                            [axes](const Tensors& x) { return permute(x[0], axes); },
                            2.0 * shape.numel()});
  };
  add_bench({1 << 13, 1 << 12}, {1, 0});
  add_bench({128, 3, 224, 224}, {0, 2, 3, 1});
  add_bench({128, 28, 28, 256}, {0, 3, 1, 2});
  add_bench({64, 512, 6, 64}, {0, 2, 1, 3});
  room.misuses.push_back({"axes",
                          [] {
                            permute(Tensor::zeros({2, 3}), {0, 0});
                          },
                          "[permute] the axes must name each of the 2 axes once but are [0, 0]"});
  room.misuses.push_back({"number of axes",
                          [] {
                            permute(Tensor::zeros({2, 3}), {0});
                          },
                          "[permute] the axes must name each of the 2 axes once but are [0]"});
  room.misuses.push_back({"axis",
                          [] {
                            transpose(Tensor::zeros({2, 3}), 0, 2);
                          },
                          "[transpose] the axis must lie in [-2, 2) but is 2 for shape [2, 3]"});
  return room;
}

Op gather_cases() {
  Op room{"gather"};
  struct Row {
    Shape shape;
    int axis;
    int64_t count;
  };
  for (const Row& r : {Row{{5}, 0, 3}, Row{{3, 33}, 1, 5}, Row{{3, 33}, 0, 7}, Row{{2, 4, 129}, -2, 6},
                       Row{{0, 3}, 1, 2}, Row{{4, 1}, 1, 31}}) {
    Shape index = r.shape;
    index[r.axis] = r.count;
    room.cases.push_back({fmt::format("{} axis {} count {}", r.shape, r.axis, r.count),
                          {activation(r.shape), indices(index, r.shape[r.axis])},
                          [axis = r.axis](const Tensors& x) { return gather(x[0], axis, x[1]); }});
  }
  room.misuses.push_back({"range",
                          [] {
                            gather(Tensor::zeros({2, 3}), 1, Tensor::full({2, 1}, 3, DType::i64));
                          },
                          "[gather] every id must lie in [0, 3) but number 0 is 3"});
  room.misuses.push_back(
      {"shape",
       [] {
         gather(Tensor::zeros({2, 3}), 1, Tensor::zeros({1, 3}, DType::i64));
       },
       "[gather] the index must have x's shape but for axis 1 but the shapes are [1, 3] and [2, 3]"});
  return room;
}

Op index_select_cases() {
  Op room{"index_select"};
  const Run run = [](const Tensors& x) { return index_select(x[0], x[1]); };
  for (const auto& [shape, n] : {std::pair<Shape, int64_t>{{5}, 3}, {{7, 33}, 40}, {{3, 2, 5}, 4}, {{4, 9}, 0}}) {
    room.cases.push_back({fmt::format("{} of {}", n, shape), {activation(shape), indices({n}, shape[0])}, run});
  }
  room.misuses.push_back({"range",
                          [] {
                            index_select(Tensor::zeros({2, 3}), Tensor::full({1}, 2, DType::i64));
                          },
                          "[index_select] every id must lie in [0, 2) but number 0 is 2"});
  room.misuses.push_back({"axes of ids",
                          [] {
                            index_select(Tensor::zeros({2, 3}), Tensor::zeros({1, 1}, DType::i64));
                          },
                          "[index_select] ids must have 1 axis but has shape [1, 1]"});
  return room;
}

Op one_hot_cases() {
  Op room{"one_hot"};
  for (const auto& [shape, classes] : {std::pair<Shape, int64_t>{{}, 3}, {{5}, 1}, {{3, 4}, 33}, {{0}, 7}}) {
    room.cases.push_back({fmt::format("{} of {}", shape, classes),
                          {indices(shape, classes)},
                          [classes = classes](const Tensors& x) { return one_hot(x[0], classes, DType::bf16); },
                          0,
                          0,
                          1e-6,
                          false});
  }
  // The place of the 1, through arithmetic that does not know one_hot.
  room.cases.push_back({"times a table", {activation({6, 5}), indices({6}, 5)}, [](const Tensors& x) {
                          return x[0] * one_hot(x[1], 5, x[0].dtype());
                        }});
  room.misuses.push_back({"range", [] { one_hot(Tensor::full({1}, 2, DType::i64), 2); },
                          "[one_hot] every id must lie in [0, 2) but number 0 is 2"});
  room.misuses.push_back(
      {"classes", [] { one_hot(Tensor::zeros({1}, DType::i64), 0); }, "[one_hot] classes must be at least 1 but is 0"});
  return room;
}

const Register concat_room(concat_cases());
const Register slice_room(slice_cases());
const Register permute_room(permute_cases());
const Register gather_room(gather_cases());
const Register index_select_room(index_select_cases());
const Register one_hot_room(one_hot_cases());

}  // namespace

}  // namespace weft::op_check
