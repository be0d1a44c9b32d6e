#include "kernels/conv2d.h"

#include <cstring>
#include <unordered_map>

#include "kernels/arithmetic.h"
#include "kernels/cast.h"
#include "kernels/device/onednn.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

struct Bench2d {
  const char* name;
  int64_t n, h, w, c, o, kernel;
  int stride, padding, groups;
  int64_t oh() const { return (h + 2 * padding - kernel) / stride + 1; }
  int64_t ow() const { return (w + 2 * padding - kernel) / stride + 1; }
  double flops() const { return 2.0 * n * oh() * ow() * o * (c / groups) * kernel * kernel; }
};

// oneDNN's convolution in the layouts that it likes best, activations included: what conv2d is measured against.
std::function<void()> plain_conv2d(const Bench2d& s, DType dtype, bool backward) {
  using dnnl::memory;
  using Tag = memory::format_tag;
  struct Call {
    dnnl::primitive primitive;
    std::unordered_map<int, memory> arguments;
  };
  auto calls = std::make_shared<std::vector<Call>>();
  const auto type = onednn::type_of(onednn::computes(dtype) ? dtype : DType::f32);
  const memory::desc x({s.n, s.c, s.h, s.w}, type, Tag::any), y({s.n, s.o, s.oh(), s.ow()}, type, Tag::any);
  const memory::desc w =
      s.groups > 1 ? memory::desc({s.groups, s.o / s.groups, s.c / s.groups, s.kernel, s.kernel}, type, Tag::any)
                   : memory::desc({s.o, s.c, s.kernel, s.kernel}, type, Tag::any);
  const memory::dims strides{s.stride, s.stride}, padding{s.padding, s.padding};
  const auto direct = dnnl::algorithm::convolution_direct;
  const dnnl::convolution_forward::primitive_desc forward(
      {dnnl::prop_kind::forward_training, direct, x, w, y, strides, padding, padding}, onednn::engine());
  const auto add = [&](const dnnl::primitive& primitive,
                       std::initializer_list<std::pair<int, memory::desc>> arguments) {
    Call call{primitive, {}};
    for (const auto& [argument, desc] : arguments) {
      const memory m(desc, onednn::engine());
      std::memset(m.get_data_handle(), 0, desc.get_size());
      call.arguments.emplace(argument, m);
    }
    calls->push_back(std::move(call));
  };
  add(dnnl::convolution_forward(forward), {{DNNL_ARG_SRC, forward.src_desc()},
                                           {DNNL_ARG_WEIGHTS, forward.weights_desc()},
                                           {DNNL_ARG_DST, forward.dst_desc()}});
  if (backward) {
    if (s.c > 3) {
      const dnnl::convolution_backward_data::primitive_desc data({direct, x, w, y, strides, padding, padding},
                                                                 onednn::engine(), forward);
      add(dnnl::convolution_backward_data(data), {{DNNL_ARG_DIFF_DST, data.diff_dst_desc()},
                                                  {DNNL_ARG_WEIGHTS, data.weights_desc()},
                                                  {DNNL_ARG_DIFF_SRC, data.diff_src_desc()}});
    }
    const dnnl::convolution_backward_weights::primitive_desc weights({direct, x, w, y, strides, padding, padding},
                                                                     onednn::engine(), forward);
    add(dnnl::convolution_backward_weights(weights), {{DNNL_ARG_SRC, weights.src_desc()},
                                                      {DNNL_ARG_DIFF_DST, weights.diff_dst_desc()},
                                                      {DNNL_ARG_DIFF_WEIGHTS, weights.diff_weights_desc()}});
  }
  return [calls] {
    static dnnl::stream stream(onednn::engine());
    for (const auto& call : *calls) call.primitive.execute(stream, call.arguments);
  };
}

Op conv2d_cases() {
  Op room{"conv2d"};
  const auto add = [&](const Shape& x, const Shape& w, Conv2dOptions options, bool bias) {
    std::vector<Input> inputs{activation(x), activation(w)};
    if (bias) inputs.push_back(activation({w[0]}));
    room.cases.push_back({fmt::format("{} {} stride {} padding {} groups {}{}", x, w, options.stride, options.padding,
                                      options.groups, bias ? " bias" : ""),
                          inputs,
                          [=](const Tensors& t) { return conv2d(t[0], t[1], bias ? t[2] : Tensor(), options); }});
  };
  add({1, 1, 1, 1}, {1, 1, 1, 1}, {}, true);
  add({2, 5, 6, 3}, {4, 3, 3, 3}, {1, 1, 1}, true);
  add({1, 13, 12, 3}, {16, 3, 7, 7}, {2, 3, 1}, false);
  add({2, 35, 33, 3}, {32, 3, 7, 7}, {2, 3, 1}, true);
  add({1, 7, 24, 3}, {16, 3, 7, 7}, {1, 0, 1}, true);
  add({2, 4, 5, 33}, {31, 33, 1, 1}, {}, true);
  add({2, 5, 5, 32}, {48, 32, 1, 1}, {2, 0, 1}, false);
  add({1, 3, 4, 2}, {6, 1, 2, 3}, {1, 2, 2}, true);  // more padding than the kernel reaches
  for (int stride : {1, 2}) {
    for (int64_t group : {4, 8, 16, 32}) {
      add({2, 5, 6, 8 * group}, {8 * group, group, 3, 3}, {stride, 1, 8}, group == 8);
      add({1, 4, 4, 2 * group}, {2 * group, group, 3, 3}, {stride, 1, 2}, false);
    }
    add({1, 6, 5, 128}, {128, 4, 3, 3}, {stride, 1, 32}, false);
    add({1, 61, 40, 32}, {32, 16, 3, 3}, {stride, 1, 2}, false);  // more rows than a unit of work takes
    add({1, 9, 19, 24}, {24, 4, 3, 3}, {stride, 1, 6}, true);  // a group count that fills no vector
    add({1, 9, 19, 16}, {32, 4, 3, 3}, {stride, 1, 4}, true);  // more outputs than inputs
  }
  add({3, 9, 11, 20}, {24, 20, 3, 3}, {1, 1, 1}, true);
  add({1, 33, 32, 16}, {40, 16, 3, 3}, {1, 1, 1}, false);  // more rows than a unit of work takes
  // Winograd's: odd images, every padding, chunks of channels, blocks of tiles, a panel of each width, a few tiles.
  add({3, 9, 11, 24}, {24, 24, 3, 3}, {1, 1, 1}, true);
  add({2, 7, 6, 40}, {32, 40, 3, 3}, {1, 0, 1}, true);
  add({2, 6, 5, 32}, {48, 32, 3, 3}, {1, 2, 1}, false);
  add({1, 4, 5, 272}, {16, 272, 3, 3}, {1, 1, 1}, true);
  add({2, 31, 33, 16}, {16, 16, 3, 3}, {1, 1, 1}, false);
  add({1, 1, 1, 16}, {32, 16, 3, 3}, {1, 1, 1}, true);
  add({2, 11, 6, 8}, {48, 8, 4, 4}, {2, 1, 1}, true);
  add({1, 9, 9, 3}, {12, 3, 15, 15}, {1, 7, 1}, true);
  add({2, 8, 7, 5}, {17, 5, 2, 3}, {3, 0, 1}, true);  // a stride that skips pixels
  add({1, 5, 4, 6}, {16, 6, 1, 2}, {2, 2, 1}, true);
  add({9, 2, 2, 8}, {16, 8, 3, 3}, {1, 3, 1}, false);  // taps that reach no image
  add({0, 5, 5, 8}, {4, 8, 3, 3}, {1, 1, 1}, true);
  Input x = activation({1, 5, 5, 8}), w = activation({12, 8, 3, 3}), bias = activation({12});
  Case winograd{"Winograd's relu", {activation({1, 5, 6, 16}), activation({16, 16, 3, 3}), activation({16})},
                [](const Tensors& t) { return conv2d(t[0], t[1], t[2], {1, 1, 1, Activation::relu}); }};
  winograd.half = false;
  room.cases.push_back(winograd);
  room.cases.push_back({"x made again", {x, w, bias}, [](const Tensors& t) {
                          const auto input = [](const Tensor& t) { return mul(t, 2); };
                          return conv2d(input(t[0]), t[1], t[2], {1, 1, 1},
                                        [input, kept = t[0].detach()] { return input(kept); });
                        }});
  Case relu{"relu", {x, w, bias},
            [](const Tensors& t) { return conv2d(t[0], t[1], t[2], {1, 1, 1, Activation::relu}); }};
  relu.half = false;
  room.cases.push_back(relu);
  // In bf16 rounding may turn a sign near the kink (cuDNN's products are rounded before the bias is added), so none is
  // near.
  room.cases.push_back({"relu away from 0", {x, activation(w.shape, -0.1, 0.1), bias}, [](const Tensors& t) {
                          std::vector<float> offsets(12, 6);
                          for (size_t o = 0; o < offsets.size(); o += 2) offsets[o] = -6;
                          const Tensor offset = cast(Tensor::from(offsets, {12}), t[2].dtype()).to(t[2].device());
                          return conv2d(t[0], t[1], weft::add(t[2], offset), {1, 1, 1, Activation::relu});
                        }});
  w.gradient = false;
  room.cases.push_back({"frozen weight", {x, w, bias}, [](const Tensors& t) {
                          return conv2d(t[0], t[1], t[2], {1, 1, 1});
                        }});
  x.gradient = false, w.gradient = true;
  room.cases.push_back({"no dx", {x, w, bias}, [](const Tensors& t) { return conv2d(t[0], t[1], t[2], {1, 1, 1}); }});

  const Bench2d sizes[] = {
      {"small stem 128x64x64", 128, 64, 64, 3, 16, 7, 2, 3, 1},
      {"small 3x3 128x16x16, 8 groups of 4", 128, 16, 16, 32, 32, 3, 1, 1, 8},
      {"small 3x3 128x16x16 s2, 8 groups of 8", 128, 16, 16, 64, 64, 3, 2, 1, 8},
      {"small 3x3 128x8x8, 8 groups of 8", 128, 8, 8, 64, 64, 3, 1, 1, 8},
      {"small 3x3 128x4x4, 8 groups of 16", 128, 4, 4, 128, 128, 3, 1, 1, 8},
      {"small 3x3 128x2x2, 8 groups of 32", 128, 2, 2, 256, 256, 3, 1, 1, 8},
      {"small 1x1 128x16x16, 64 -> 32", 128, 16, 16, 64, 32, 1, 1, 0, 1},
      {"small 1x1 128x16x16 s2, 64 -> 128", 128, 16, 16, 64, 128, 1, 2, 0, 1},
      {"50 stem 1x298x228", 1, 298, 228, 3, 64, 7, 2, 3, 1},
      {"50 3x3 1x75x57, 32 groups of 4", 1, 75, 57, 128, 128, 3, 1, 1, 32},
      {"50 3x3 1x75x57 s2, 32 groups of 8", 1, 75, 57, 256, 256, 3, 2, 1, 32},
      {"50 3x3 1x38x29, 32 groups of 8", 1, 38, 29, 256, 256, 3, 1, 1, 32},
      {"50 3x3 1x19x15, 32 groups of 16", 1, 19, 15, 512, 512, 3, 1, 1, 32},
      {"50 3x3 1x10x8, 32 groups of 32", 1, 10, 8, 1024, 1024, 3, 1, 1, 32},
      {"50 1x1 1x75x57, 256 -> 128", 1, 75, 57, 256, 128, 1, 1, 0, 1},
      {"50 1x1 1x38x29, 256 -> 512", 1, 38, 29, 256, 512, 1, 1, 0, 1},
      {"50 1x1 1x10x8, 2048 -> 1024", 1, 10, 8, 2048, 1024, 1, 1, 0, 1},
      {"50 1x1 8x38x29, 256 -> 512", 8, 38, 29, 256, 512, 1, 1, 0, 1},
      {"50 3x3 8x38x29, 32 groups of 8", 8, 38, 29, 256, 256, 3, 1, 1, 32},
      {"UNet 3x3 32x32x32, 48 -> 48", 32, 32, 32, 48, 48, 3, 1, 1, 1},
      {"UNet 3x3 32x16x16, 192 -> 48", 32, 16, 16, 192, 48, 3, 1, 1, 1},
      {"UNet 3x3 32x8x8, 96 -> 96", 32, 8, 8, 96, 96, 3, 1, 1, 1},
      {"UNet 4x4 32x32x32 s2, 48 -> 48", 32, 32, 32, 48, 48, 4, 2, 1, 1},
      {"UNet 3x3 32x32x32, 48 -> 3", 32, 32, 32, 48, 3, 3, 1, 1, 1},
      {"UNet 15x15 32x32x32, 3 -> 12", 32, 32, 32, 3, 12, 15, 1, 7, 1},
      {"UNet 3x3 1x64x64, 128 -> 128", 1, 64, 64, 128, 128, 3, 1, 1, 1},
      {"UNet 3x3 1x16x16, 512 -> 512", 1, 16, 16, 512, 512, 3, 1, 1, 1},
  };
  for (const Bench2d& s : sizes) {
    std::vector<Input> inputs{activation({s.n, s.h, s.w, s.c}), activation({s.o, s.c / s.groups, s.kernel, s.kernel})};
    inputs[0].gradient = s.c > 3;  // an image needs none
    const Run run = [s](const Tensors& t) { return conv2d(t[0], t[1], {}, {s.stride, s.padding, s.groups}); };
    room.benches.push_back(
        {s.name, inputs, run, 0, s.flops(), false, [s](DType t) { return plain_conv2d(s, t, false); }});
    room.benches.push_back({fmt::format("{}, backward", s.name), inputs, run, 0, (s.c > 3 ? 3 : 2) * s.flops(), true,
                            [s](DType t) { return plain_conv2d(s, t, true); }});
  }

  const auto misuse = [&](const std::string& name, const Shape& x, const Shape& w, Conv2dOptions options,
                          const std::string& message) {
    room.misuses.push_back({name, [=] { conv2d(Tensor::zeros(x), Tensor::zeros(w), {}, options); }, message});
  };
  misuse("axes", {2, 3, 4}, {1, 4, 1, 1}, {},
         "[conv2d] x and weight must have 4 axes but have shapes [2, 3, 4] and [1, 4, 1, 1]");
  misuse("stride", {1, 3, 3, 4}, {1, 4, 1, 1}, {0},
         "[conv2d] stride and groups must be at least 1 and padding at least 0 but are 0, 1 and 0");
  misuse("groups", {1, 3, 3, 4}, {2, 4, 1, 1}, {1, 0, 2},
         "[conv2d] weight must be [O, C / groups, KH, KW] with O and C multiples of groups, but x is [1, 3, 3, 4], "
         "weight [2, 4, 1, 1] and groups 2");
  misuse("small image", {1, 3, 2, 4}, {1, 4, 3, 3}, {},
         "[conv2d] the padded image must be as large as the kernel but is 3 x 2 and the kernel 3 x 3");
  misuse("activation", {1, 3, 3, 4}, {1, 4, 1, 1}, {1, 0, 1, Activation::gelu},
         "[conv2d] the activation must be none or relu");
  room.misuses.push_back({"bias",
                          [] {
                            conv2d(Tensor::zeros({1, 3, 3, 4}), Tensor::zeros({1, 4, 1, 1}), Tensor::zeros({2}));
                          },
                          "[conv2d] bias must have shape [1] but has [2]"});
  return room;
}

// conv2d with a packed weight, against the f64 op, which packs nothing.
Op packed_conv2d_cases() {
  Op room{"packed_conv2d"};
  const auto add = [&](const Shape& x, const Shape& w, Conv2dOptions options, bool bias, bool residual, bool relu) {
    const int64_t oh = (x[1] + 2 * options.padding - w[2]) / options.stride + 1,
                  ow = (x[2] + 2 * options.padding - w[3]) / options.stride + 1;
    std::vector<Input> inputs{activation(x), activation(w), activation({w[0]}), activation({x[0], oh, ow, w[0]})};
    if (relu) options.activation = Activation::relu;
    Case made{fmt::format("{} {} stride {} groups {}{}{}{}", x, w, options.stride, options.groups, bias ? " bias" : "",
                          residual ? " residual" : "", relu ? " relu" : ""),
              inputs, [=](const Tensors& t) {
                return conv2d(t[0], pack_conv2d(t[1], options), bias ? t[2] : Tensor(), options,
                              residual ? t[3] : Tensor());
              }};
    made.differentiable = false;
    room.cases.push_back(made);
  };
  for (bool residual : {false, true}) {
    for (bool relu : {false, true}) {
      add({2, 5, 7, 64}, {64, 64, 1, 1}, {}, true, residual, relu);
      add({2, 9, 13, 38}, {32, 38, 1, 1}, {2}, !relu, residual, relu);  // an input that fills no line, a last tile
      add({1, 5, 6, 32}, {32, 4, 3, 3}, {1, 1, 8}, true, residual, relu);
      add({2, 5, 6, 3}, {4, 3, 3, 3}, {1, 1, 1}, true, residual, relu);  // taken as it is
    }
  }
  add({1, 41, 20, 256}, {96, 256, 1, 1}, {}, true, true, true);  // blocks of pixels
  add({1, 2, 2, 1024}, {64, 1024, 1, 1}, {}, false, false, false);
  add({1, 4, 4, 33}, {31, 33, 1, 1}, {}, true, true, true);
  add({0, 5, 5, 32}, {32, 32, 1, 1}, {}, true, true, true);
  room.misuses.push_back({"residual",
                          [] {
                            const Tensor w = Tensor::zeros({32, 32, 1, 1});
                            conv2d(Tensor::zeros({1, 2, 2, 32}), pack_conv2d(w), {}, {}, Tensor::zeros({1, 2, 1, 32}));
                          },
                          "[conv2d] the residual must have shape [1, 2, 2, 32] but has [1, 2, 1, 32]"});
  return room;
}

Op fold_batch_norm_cases() {
  Op room{"fold_batch_norm"};
  Case fold{"weight",
            {activation({4, 3, 2, 2}), parameter({4}), parameter({4}), parameter({4}), parameter({4}, 0.5, 2)},
            [](const Tensors& t) { return fold_batch_norm(t[0], t[1], t[2], t[3], t[4]).first; }};
  fold.differentiable = false;
  room.cases.push_back(fold);
  fold.name = "bias";
  fold.run = [](const Tensors& t) { return fold_batch_norm(t[0], t[1], t[2], t[3], t[4]).second; };
  room.cases.push_back(fold);
  room.misuses.push_back({"gamma",
                          [] {
                            fold_batch_norm(Tensor::zeros({4, 1}), Tensor::zeros({3}), Tensor::zeros({4}),
                                            Tensor::zeros({4}), Tensor::zeros({4}));
                          },
                          "[fold_batch_norm] gamma, beta, mean and var must be f32 [4] but one is f32 [3]"});
  return room;
}

const Register conv2d_room(conv2d_cases());
const Register packed_conv2d_room(packed_conv2d_cases());
const Register fold_batch_norm_room(fold_batch_norm_cases());

}  // namespace

}  // namespace weft::op_check
