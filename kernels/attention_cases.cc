#include "kernels/attention.h"
#include "kernels/device/onednn.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

struct Size {
  int64_t B, Tq, Tk, H, D;
};

std::vector<Input> inputs(const Size& s, bool bias = false) {
  std::vector<Input> all{activation({s.B, s.Tq, s.H, s.D}, -1, 1), activation({s.B, s.Tk, s.H, s.D}, -1, 1),
                         activation({s.B, s.Tk, s.H, s.D})};
  if (bias) all.push_back(activation({s.H, s.Tq, s.Tk}));
  return all;
}

AttentionOptions scaled(const Size& s) {
  return {.scale = 1 / std::sqrt(static_cast<double>(s.D)), .causal = false, .mask = {}, .bias = {}};
}

// The first lengths[b % size] keys of every batch element.
Tensor prefix_mask(const Size& s, const std::vector<int64_t>& lengths) {
  const Tensor mask = Tensor::zeros({s.B, s.Tk}, DType::boolean);
  for (int64_t b = 0; b < s.B; ++b) std::fill_n(mask.data<bool>() + b * s.Tk, lengths[b % lengths.size()], true);
  return mask;
}

// The plain primitives of the same work, batched over B * H with contiguous matrices: q k^T, softmax and p v, and with
// `backward` the gradients of the three.
std::function<void()> plain_primitives(const Size& s, DType dtype, bool backward) {
  using namespace dnnl;
  using Dims = memory::dims;
  const auto type = onednn::type_of(onednn::computes(dtype) ? dtype : DType::f32);
  const auto cpu = std::make_shared<engine>(engine::kind::cpu, 0);
  const auto queue = std::make_shared<stream>(*cpu);
  const int64_t n = s.B * s.H;
  const auto matrix = [&](int64_t r, int64_t c) { return memory::desc(Dims{n, r, c}, type, memory::format_tag::abc); };
  const auto zeros = [&](const memory::desc& d) {
    const memory m(d, *cpu);
    std::memset(m.get_data_handle(), 0, d.get_size());
    return m;
  };
  std::vector<std::pair<primitive, std::unordered_map<int, memory>>> calls;
  const auto product = [&](int64_t rows, int64_t cols, int64_t depth) {
    const auto a = matrix(rows, depth), b = matrix(depth, cols), c = matrix(rows, cols);
    calls.emplace_back(dnnl::matmul(dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), *cpu)),
                       std::unordered_map<int, memory>{
                           {DNNL_ARG_SRC, zeros(a)}, {DNNL_ARG_WEIGHTS, zeros(b)}, {DNNL_ARG_DST, zeros(c)}});
  };
  const auto scores = matrix(s.Tq, s.Tk);
  const softmax_forward::primitive_desc weights({prop_kind::forward_training, scores, 2}, *cpu);
  product(s.Tq, s.Tk, s.D);
  calls.emplace_back(softmax_forward(weights),
                     std::unordered_map<int, memory>{{DNNL_ARG_SRC, zeros(scores)}, {DNNL_ARG_DST, zeros(scores)}});
  product(s.Tq, s.D, s.Tk);
  if (backward) {
    product(s.Tq, s.Tk, s.D);
    calls.emplace_back(
        softmax_backward(softmax_backward::primitive_desc({scores, scores, 2}, *cpu, weights)),
        std::unordered_map<int, memory>{
            {DNNL_ARG_DST, zeros(scores)}, {DNNL_ARG_DIFF_DST, zeros(scores)}, {DNNL_ARG_DIFF_SRC, zeros(scores)}});
    product(s.Tq, s.D, s.Tk);
    product(s.Tk, s.D, s.Tq);
    product(s.Tk, s.D, s.Tq);
  }
  return [calls, cpu, queue] {
    for (const auto& [call, arguments] : calls) call.execute(*queue, arguments);
    queue->wait();
  };
}

Op attention_cases() {
  Op room{"attention"};
  const auto add = [&](const std::string& name, const Size& s, const AttentionOptions& options, bool bias = false) {
    room.cases.push_back({name, inputs(s, bias), [options](const Tensors& x) {
                            AttentionOptions all = options;
                            if (x.size() > 3) all.bias = x[3];
                            if (all.mask) all.mask = all.mask.to(x[0].device());
                            return attention(x[0], x[1], x[2], all);
                          }});
  };
  for (const Size& s : {Size{1, 1, 1, 1, 1}, Size{2, 3, 5, 2, 7}, Size{2, 32, 32, 3, 64}, Size{1, 31, 33, 2, 32},
                        Size{1, 50, 77, 1, 64}, Size{0, 4, 4, 2, 8}, Size{1, 127, 129, 1, 17}}) {
    const bool bias = s.B != 2;
    add(fmt::format("{}x{}x{} H {} D {}{}", s.B, s.Tq, s.Tk, s.H, s.D, bias ? " with bias" : ""), s, scaled(s), bias);
  }
  const Size wide{1, 9, 520, 1, 128}, square{2, 70, 70, 2, 32}, long_square{1, 260, 260, 1, 8},
      masked{5, 21, 40, 2, 32};
  add("several blocks of keys", wide, scaled(wide), true);
  AttentionOptions options = scaled(square);
  options.causal = true;
  add("causal", square, options, true);
  options = scaled(long_square);
  options.causal = true;
  add("causal, several blocks of keys", long_square, options);
  options = scaled(masked);
  options.mask = prefix_mask(masked, {40, 1, 0, 17, 32});
  add("padding, one element without keys", masked, options, true);
  options.mask = options.mask.clone();
  for (int64_t j = 0; j < 40; j += 3) options.mask.data<bool>()[j] = false;
  add("mask with holes", masked, options, true);

  const auto time = [&](const std::string& name, const Size& s, bool bias, std::vector<int64_t> lengths = {}) {
    AttentionOptions timed = scaled(s);
    double pairs = static_cast<double>(s.Tq) * s.Tk * s.B;
    if (!lengths.empty()) timed.mask = prefix_mask(s, lengths);
    const Run run = [timed](const Tensors& x) {
      AttentionOptions all = timed;
      if (x.size() > 3) all.bias = x[3];
      return attention(x[0], x[1], x[2], all);
    };
    for (bool backward : {false, true}) {
      room.benches.push_back({name + (backward ? " with backward" : ""), inputs(s, bias), run, 0,
                              (backward ? 12.0 : 4.0) * pairs * s.H * s.D, backward,
                              [s, backward](DType dtype) { return plain_primitives(s, dtype, backward); }});
    }
  };
  time("mT5 64x32", {64, 32, 32, 6, 64}, true);
  time("mT5 64x32 half padding", {64, 32, 32, 6, 64}, true, {8, 12, 16, 20, 24});
  time("mT5 16x128", {16, 128, 128, 6, 64}, true);
  time("mT5 4x512", {4, 512, 512, 6, 64}, true);
  time("emoji13 text 128x32", {128, 32, 32, 4, 32}, false);
  time("ViT-B/32 64x50", {64, 50, 50, 12, 64}, false);
  time("CLIP text 64x77", {64, 77, 77, 8, 64}, false);
  time("XLM-R 64x32", {64, 32, 32, 16, 64}, false);

  const auto zeros = [](Shape shape, DType dtype = DType::f32) { return Tensor::zeros(shape, dtype); };
  const auto misuse = [&](const std::string& name, const std::string& message, std::function<void()> run) {
    room.misuses.push_back({name, std::move(run), "[attention] " + message});
  };
  misuse("three axes", "q must be [B, Tq, H, D] but has shape [2, 3, 4]", [=] {
    attention(zeros({2, 3, 4}), zeros({2, 3, 4}), zeros({2, 3, 4}));
  });
  misuse("other heads", "k must be [B, Tk, H, D] for q [2, 3, 4, 5] but has shape [2, 3, 1, 5]", [=] {
    attention(zeros({2, 3, 4, 5}), zeros({2, 3, 1, 5}), zeros({2, 3, 1, 5}));
  });
  misuse("other values", "v must have k's shape [2, 3, 4, 5] but has shape [2, 6, 4, 5]", [=] {
    attention(zeros({2, 3, 4, 5}), zeros({2, 3, 4, 5}), zeros({2, 6, 4, 5}));
  });
  misuse("dtypes", "the dtypes must be equal but are f32 and f64", [=] {
    attention(zeros({2, 3, 4, 5}), zeros({2, 3, 4, 5}, DType::f64), zeros({2, 3, 4, 5}));
  });
  misuse("causal", "causal needs as many queries as keys but there are 3 and 2", [=] {
    attention(zeros({2, 3, 4, 5}), zeros({2, 2, 4, 5}), zeros({2, 2, 4, 5}),
              {.scale = 1, .causal = true, .mask = {}, .bias = {}});
  });
  misuse("mask", "mask must be bool [2, 3] but is f32 [2, 3]", [=] {
    attention(zeros({2, 3, 4, 5}), zeros({2, 3, 4, 5}), zeros({2, 3, 4, 5}),
              {.scale = 1, .causal = false, .mask = zeros({2, 3}), .bias = {}});
  });
  misuse("bias", "bias must be f32 [4, 3, 3] but is f32 [2, 4, 3, 3]", [=] {
    attention(zeros({2, 3, 4, 5}), zeros({2, 3, 4, 5}), zeros({2, 3, 4, 5}),
              {.scale = 1, .causal = false, .mask = {}, .bias = zeros({2, 4, 3, 3})});
  });
  return room;
}

Tensor offsets_of(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> offsets{0};
  for (const int64_t length : lengths) offsets.push_back(offsets.back() + length);
  return Tensor::from(offsets, {static_cast<int64_t>(offsets.size())});
}

// Tokens of every 72nd text of emoji13's test set, the end of sentence included, cut to 32.
const std::vector<int64_t> real_lengths{18, 14, 20, 6,  14, 27, 6,  19, 11, 9,  22, 29, 18, 29, 19, 16, 9,  13, 7,  20, 27, 11,
                                        15, 11, 24, 13, 17, 32, 5,  8,  10, 19, 26, 9,  12, 23, 19, 32, 26, 32, 8,  13, 13, 25,
                                        11, 27, 11, 32, 21, 16, 21, 16, 7,  25, 17, 6,  7,  7,  11, 7,  26, 9,  7,  15};

Op attention_packed_cases() {
  Op room{"attention_packed"};
  // The gradients of q and k are differences of rounded y dy and sums of it: measured 0.0084.
  constexpr double bf16 = 0x1p-6;
  const auto add = [&](const std::string& name, const std::vector<int64_t>& lengths, int64_t H, int64_t D,
                       int64_t bias = 0, bool causal = false) {
    const Tensor offsets = offsets_of(lengths);
    const Shape rows{offsets.data<int64_t>()[lengths.size()], H, D};
    std::vector<Input> all{activation(rows, -1, 1), activation(rows, -1, 1), activation(rows)};
    if (bias) all.push_back(activation({H, bias, bias}));
    const double scale = 1 / std::sqrt(static_cast<double>(D));
    room.cases.push_back({name, all, [=](const Tensors& x) {
                            return attention_packed(x[0], x[1], x[2], offsets,
                                                    {.scale = scale, .causal = causal, .mask = {},
                                                     .bias = x.size() > 3 ? x[3] : Tensor()});
                          }, 1e-5, bf16});
  };
  add("one text", {5}, 2, 8);
  add("a text of one token", {1, 12}, 2, 16);  // alone, its gradients of q and k would be 0 on paper
  add("texts of other lengths", {3, 33, 1, 17}, 3, 16);
  add("with a bias", {4, 9, 31}, 2, 32, 31);
  add("with a bias for longer texts", {6, 2}, 2, 7, 9);
  add("an empty text", {5, 0, 12}, 2, 8, 12);
  add("causal", {40, 7, 66}, 2, 32, 0, true);
  add("several blocks of keys", {130, 3, 260}, 1, 8);

  for (const bool packed : {true, false}) {
    for (const auto& [name, H] : {std::pair{"mT5", int64_t{6}}, {"XLM-R", int64_t{16}}}) {
      const Tensor offsets = offsets_of(real_lengths);
      const int64_t N = offsets.data<int64_t>()[64], T = 32;
      double pairs = 0;
      for (const int64_t length : real_lengths) pairs += static_cast<double>(length * length);
      const Size padded{64, T, T, H, 64};
      const Shape rows = packed ? Shape{N, H, 64} : Shape{64, T, H, 64};
      const AttentionOptions options{.scale = 0.125, .causal = false,
                                     .mask = packed ? Tensor() : prefix_mask(padded, real_lengths), .bias = {}};
      const Run run = [=](const Tensors& x) {
        return packed ? attention_packed(x[0], x[1], x[2], offsets, options) : attention(x[0], x[1], x[2], options);
      };
      room.benches.push_back({fmt::format("{} 64 texts, {}", name, packed ? "packed" : "padded to 32"),
                              {activation(rows), activation(rows), activation(rows)}, run, 0, 4 * pairs * H * 64});
    }
  }

  const auto zeros = [](Shape shape, DType dtype = DType::f32) { return Tensor::zeros(shape, dtype); };
  const auto misuse = [&](const std::string& name, const std::string& message, std::function<void()> run) {
    room.misuses.push_back({name, std::move(run), "[attention_packed] " + message});
  };
  const Tensor x = zeros({5, 2, 4});
  misuse("axes", "q must be [N, H, D] but has shape [5, 2]", [=] {
    attention_packed(zeros({5, 2}), zeros({5, 2}), zeros({5, 2}), offsets_of({5}));
  });
  misuse("shapes", "k and v must have q's shape [5, 2, 4] but have shapes [5, 2, 4] and [5, 1, 4]", [=] {
    attention_packed(x, x, zeros({5, 1, 4}), offsets_of({5}));
  });
  misuse("offsets", "offsets must rise from 0 to the 5 rows but go from 0 to 6", [=] {
    attention_packed(x, x, x, offsets_of({2, 4}));
  });
  misuse("offsets' dtype", "offsets must be i64 [B + 1] on the cpu", [=] {
    attention_packed(x, x, x, zeros({2}));
  });
  misuse("bias", "bias must be f32 [2, T, T] with T at least 3 but is f32 [2, 2, 2]", [=] {
    attention_packed(x, x, x, offsets_of({2, 3}), {.scale = 1, .causal = false, .mask = {}, .bias = zeros({2, 2, 2})});
  });
  misuse("mask", "a mask has no place here: the offsets say where texts end", [=] {
    attention_packed(x, x, x, offsets_of({5}),
                     {.scale = 1, .causal = false, .mask = zeros({1, 5}, DType::boolean), .bias = {}});
  });
  return room;
}

const Register attention_room(attention_cases());
const Register attention_packed_room(attention_packed_cases());

}  // namespace

}  // namespace weft::op_check
