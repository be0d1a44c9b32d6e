#include "kernels/matmul.h"

#include <cstring>
#include <tuple>
#include <unordered_map>

#include "kernels/cast.h"
#include "kernels/device/onednn.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

const char* name_of_activation(Activation a) {
  switch (a) {
    case Activation::none: return "none";
    case Activation::relu: return "relu";
    case Activation::gelu: return "gelu";
    case Activation::gelu_tanh: return "gelu_tanh";
    case Activation::silu: return "silu";
  }
  return "";
}

constexpr Activation activations[] = {Activation::relu, Activation::gelu, Activation::gelu_tanh, Activation::silu};

// oneDNN's matmul with the weights packed beforehand: what matmul and linear are measured against.
std::function<void()> plain_matmul(DType dtype, int64_t batch, int64_t m, int64_t n, int64_t k, bool backward) {
  struct Call {
    dnnl::matmul primitive;
    std::unordered_map<int, dnnl::memory> arguments;
  };
  auto calls = std::make_shared<std::vector<Call>>();
  const auto add = [&](int64_t rows, int64_t cols, int64_t inner, bool turned) {
    using dnnl::memory;
    const auto type = onednn::type_of(onednn::computes(dtype) ? dtype : DType::f32);
    const memory::desc a =
        batch > 1 ? memory::desc({batch, rows, inner}, type, turned ? memory::format_tag::acb : memory::format_tag::abc)
                  : memory::desc({rows, inner}, type, turned ? memory::format_tag::ba : memory::format_tag::ab);
    const memory::desc b =
        batch > 1 ? memory::desc({batch, inner, cols}, type, memory::format_tag::abc)
                  : memory::desc({inner, cols}, type, turned ? memory::format_tag::ab : memory::format_tag::any);
    const memory::desc y = batch > 1 ? memory::desc({batch, rows, cols}, type, memory::format_tag::abc)
                                     : memory::desc({rows, cols}, type, memory::format_tag::ab);
    const dnnl::matmul::primitive_desc pd({a, b, y}, onednn::engine());
    Call call{dnnl::matmul(pd), {}};
    for (const auto& [argument, desc] :
         {std::pair{DNNL_ARG_SRC, a}, std::pair{DNNL_ARG_WEIGHTS, pd.weights_desc()}, std::pair{DNNL_ARG_DST, y}}) {
      const memory memory(desc, onednn::engine());
      std::memset(memory.get_data_handle(), 0, desc.get_size());
      call.arguments.emplace(argument, memory);
    }
    calls->push_back(std::move(call));
  };
  add(m, n, k, false);
  if (backward) {
    add(m, k, n, false);
    add(n, k, m, true);
  }
  return [calls] {
    static dnnl::stream stream(onednn::engine());
    for (const auto& call : *calls) call.primitive.execute(stream, call.arguments);
  };
}

Op matmul_cases() {
  Op room{"matmul"};
  const auto add = [&](const Shape& a, const Shape& b, bool transpose_a, bool transpose_b, bool bias,
                       double f32 = 1e-5) {
    std::vector<Input> inputs{activation(a), activation(b)};
    if (bias) inputs.push_back(activation({b[transpose_b ? -2 : -1]}));
    const std::string name =
        fmt::format("{}{} {}{}{}", a, transpose_a ? "'" : "", b, transpose_b ? "'" : "", bias ? " bias" : "");
    room.cases.push_back({name, inputs,
                          [=](const Tensors& x) {
                            return matmul(x[0], x[1], bias ? x[2] : Tensor(), {transpose_a, transpose_b});
                          },
                          f32});
  };
  for (bool ta : {false, true}) {
    for (bool tb : {false, true}) {
      const auto turn = [](bool turned, Shape s) {
        if (turned) std::swap(s[-2], s[-1]);
        return s;
      };
      add(turn(ta, {1, 1}), turn(tb, {1, 1}), ta, tb, false);
      add(turn(ta, {31, 33}), turn(tb, {33, 32}), ta, tb, true);
      add(turn(ta, {3, 7, 32}), turn(tb, {32, 5}), ta, tb, true);
      add(turn(ta, {3, 7, 32}), turn(tb, {3, 32, 5}), ta, tb, true);
      add(turn(ta, {2, 2, 9, 4}), turn(tb, {2, 2, 4, 6}), ta, tb, false);
      add(turn(ta, {1, 5, 4}), turn(tb, {1, 4, 6}), ta, tb, false);
      add(turn(ta, {29, 531}), turn(tb, {531, 41}), ta, tb, true);    // chunks of the inner axis, rests of every axis
      add(turn(ta, {401, 260}), turn(tb, {260, 24}), ta, tb, false);  // blocks of rows
      add(turn(ta, {0, 5, 4}), turn(tb, {4, 6}), ta, tb, true);
      add(turn(ta, {0, 5, 4}), turn(tb, {0, 4, 6}), ta, tb, false);
    }
  }
  add({129, 127}, {127, 128}, false, false, true);
  add({5, 0}, {0, 4}, false, false, true);
  add({0, 5}, {5, 4}, false, false, true);
  add({2, 4099}, {4099, 3}, false, false, true, 1e-4);  // sums of 4099 products
  add({4099, 3}, {3, 2}, false, false, true, 1e-4);
  for (Activation a : activations) {
    std::vector<Input> inputs{activation({17, 40}, -0.5, 0.5), activation({40, 33}, -0.5, 0.5), activation({33})};
    // bf16: z is rounded before the slope is taken.
    room.cases.push_back({name_of_activation(a), inputs, [a](const Tensors& x) {
                            return matmul(x[0], x[1], x[2], {false, false, a});
                          }});
  }
  const Run run = [](const Tensors& x) { return matmul(x[0], x[1]); };
  const Run turned = [](const Tensors& x) { return matmul(x[0], x[1], {}, {false, true}); };
  room.benches.push_back({"scores [192, 32, 64] [192, 32, 64]'",
                          {activation({192, 32, 64}), activation({192, 32, 64})},
                          turned,
                          0,
                          2.0 * 192 * 32 * 32 * 64,
                          false,
                          [](DType t) { return plain_matmul(t, 192, 32, 32, 64, false); }});
  room.benches.push_back({"values [192, 32, 32] [192, 32, 64]",
                          {activation({192, 32, 32}), activation({192, 32, 64})},
                          run,
                          0,
                          2.0 * 192 * 32 * 32 * 64,
                          false,
                          [](DType t) { return plain_matmul(t, 192, 32, 64, 32, false); }});
  room.benches.push_back({"1024^3",
                          {activation({1024, 1024}), activation({1024, 1024})},
                          run,
                          0,
                          2.0 * 1024 * 1024 * 1024,
                          false,
                          [](DType t) { return plain_matmul(t, 1, 1024, 1024, 1024, false); }});

  const auto misuse = [&](const std::string& name, const Shape& a, const Shape& b, const Tensor& bias,
                          MatmulOptions options, const std::string& message) {
    room.misuses.push_back({name, [=] { matmul(Tensor::zeros(a), Tensor::zeros(b), bias, options); }, message});
  };
  misuse("one axis", {3}, {3, 4}, {}, {}, "[matmul] a and b must have at least 2 axes but have shapes [3] and [3, 4]");
  misuse("inner", {2, 3}, {4, 3}, {}, {true, false},
         "[matmul] the inner extents must be equal but are 2 and 4 (shapes [2, 3] transposed and [4, 3])");
  misuse("leading", {5, 2, 3}, {4, 3, 6}, {}, {},
         "[matmul] b must have 2 axes or a's leading axes but the shapes are [5, 2, 3] and [4, 3, 6]");
  misuse("bias", {2, 3}, {3, 6}, Tensor::zeros({3}), {}, "[matmul] bias must have shape [6] but has [3]");
  room.misuses.push_back({"integers",
                          [] {
                            matmul(Tensor::zeros({2, 2}, DType::i64), Tensor::zeros({2, 2}, DType::i64));
                          },
                          "[matmul] the dtype must be f32, bf16 or f64 but is i64"});
  room.misuses.push_back({"two dtypes",
                          [] {
                            matmul(Tensor::zeros({2, 2}), Tensor::zeros({2, 2}, DType::bf16));
                          },
                          "[matmul] the dtypes must be equal but are f32 and bf16"});
  return room;
}

Op linear_cases() {
  Op room{"linear"};
  const Run plain = [](const Tensors& x) { return linear(x[0], x[1]); };
  const Run with_bias = [](const Tensors& x) { return linear(x[0], x[1], x[2]); };
  for (const Shape& shape : {Shape{1}, Shape{5, 31}, Shape{2, 3, 33}, Shape{128, 129}, Shape{0, 7}}) {
    room.cases.push_back(
        {fmt::format("{}", shape), {activation(shape), activation({9, shape[-1]}), activation({9})}, with_bias});
  }
  room.cases.push_back({"no bias", {activation({4, 33}), activation({32, 33})}, plain});
  Input frozen = activation({32, 33});
  frozen.gradient = false;
  room.cases.push_back({"frozen weight", {activation({40, 33}), frozen, activation({32})}, with_bias});
  room.cases.push_back({"frozen weight, gelu",
                        {activation({40, 33}, -0.5, 0.5), frozen, activation({32})},
                        [](const Tensors& x) { return linear(x[0], x[1], x[2], Activation::gelu); }});
  Input master = parameter({32, 33});  // f32 also beside bf16
  master.gradient = false;
  room.cases.push_back({"frozen master", {activation({40, 33}), master, activation({32})}, [](const Tensors& x) {
                          return linear(x[0], linear_takes(x[0], x[1]) ? x[1] : cast(x[1], x[0].dtype()), x[2]);
                        }});
  Input data = activation({40, 33});
  data.gradient = false;
  room.cases.push_back({"no dx", {data, activation({32, 33}), activation({32})}, with_bias});
  // The weight is packed while it holds ones; the packed copy must not outlive the change.
  room.cases.push_back({"modified weight", {activation({8, 32})}, [](const Tensors& x) {
                          const Tensor w = Tensor::full({16, 32}, 1, x[0].dtype(), x[0].device());
                          linear(x[0].detach(), w);
                          w.fill(0.5);
                          return linear(x[0], w);
                        }});
  for (Activation a : activations) {
    room.cases.push_back({name_of_activation(a),
                          {activation({17, 40}, -0.5, 0.5), activation({33, 40}, -0.5, 0.5), activation({33})},
                          [a](const Tensors& x) { return linear(x[0], x[1], x[2], a); }});
  }
  const std::tuple<const char*, int64_t, int64_t, int64_t> sizes[] = {
      {"mT5 32 x 32 tokens, 512 -> 384", 1024, 384, 512},   {"mT5 32 x 32 tokens, 512 -> 1024", 1024, 1024, 512},
      {"mT5 32 x 32 tokens, 1024 -> 512", 1024, 512, 1024}, {"mT5 1 x 32 tokens, 512 -> 1024", 32, 1024, 512},
      {"classifier 32, 2048 -> 191", 32, 191, 2048},        {"1 row, 512 -> 512", 1, 512, 512}};
  for (const auto& [name, m, n, k] : sizes) {
    const std::vector<Input> inputs{activation({m, k}), activation({n, k})};
    const double flops = 2.0 * m * n * k;
    room.benches.push_back(
        {name, inputs, plain, 0, flops, false, [=](DType t) { return plain_matmul(t, 1, m, n, k, false); }});
    room.benches.push_back({fmt::format("{}, backward", name), inputs, plain, 0, 3 * flops, true,
                            [=](DType t) { return plain_matmul(t, 1, m, n, k, true); }});
  }
  room.misuses.push_back(
      {"in",
       [] {
         linear(Tensor::zeros({2, 3}), Tensor::zeros({4, 2}));
       },
       "[linear] weight must be [out, in] with in the last extent of x, but the shapes are [4, 2] and x [2, 3]"});
  room.misuses.push_back({"bias",
                          [] {
                            linear(Tensor::zeros({2, 3}), Tensor::zeros({4, 3}), Tensor::zeros({3}));
                          },
                          "[linear] bias must have shape [4] but has [3]"});
  return room;
}

const Register matmul_room(matmul_cases());
const Register linear_room(linear_cases());

}  // namespace

}  // namespace weft::op_check
