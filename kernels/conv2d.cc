// Forward:  z = x * w + bias, y = act(z)
// Backward: dz = dy act'(z); dx[n, i stride + p - padding, .., c] += dz[n, i, .., o] w[o, c, p, q]; dw[o, c, p, q] =
// the sum of dz x over n, i, j;
//           dbias = the sum of dz over n, i, j
// A 1x1 convolution of stride 1 is a linear layer over the pixels.
// Saved: x (unless it can be made again) and w as far as the other's gradient needs them; y for relu.
#include "kernels/conv2d.h"

#include "kernels/arithmetic.h"
#include "kernels/device/activation_math.h"
#include "kernels/device/conv_cuda.h"
#include "kernels/device/conv_plain.h"
#include "kernels/device/dense_conv.h"
#include "kernels/device/elementwise.h"
#include "kernels/device/grouped_conv.h"
#include "kernels/device/onednn.h"
#include "kernels/device/pointwise_conv.h"
#include "kernels/device/stem_conv.h"
#include "kernels/device/winograd_conv.h"
#include "kernels/matmul.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

namespace {

using Sizes = ConvSizes;

using Tag = dnnl::memory::format_tag;

struct Descriptors {
  dnnl::memory::desc x, y, weight, weight_any, bias;
  dnnl::memory::dims strides, padding;
};

Descriptors descriptors(DType dtype, const Sizes& s) {
  const auto type = onednn::type_of(dtype);
  Descriptors d;
  d.x = {{s.n, s.c, s.h, s.w}, type, Tag::nhwc};
  d.y = {{s.n, s.o, s.oh, s.ow}, type, Tag::nhwc};
  const dnnl::memory::dims weight = s.groups > 1 ? dnnl::memory::dims{s.groups, s.og(), s.cg(), s.kh, s.kw}
                                                 : dnnl::memory::dims{s.o, s.c, s.kh, s.kw};
  d.weight = {weight, type, s.groups > 1 ? Tag::goihw : Tag::oihw};
  d.weight_any = {weight, type, Tag::any};
  d.bias = {{s.o}, type, Tag::a};
  d.strides = {s.stride, s.stride};
  d.padding = {s.padding, s.padding};
  return d;
}

onednn::Key key_of(int kind, DType dtype, const Sizes& s, bool bias) {
  return {kind, static_cast<int>(dtype), s.n, s.h, s.w, s.c, s.o, s.kh, s.kw, s.stride, s.padding, s.groups, bias};
}

dnnl::convolution_forward::primitive_desc forward_descriptor(const Descriptors& d, bool bias) {
  const auto kind = dnnl::prop_kind::forward_training;
  const auto algorithm = dnnl::algorithm::convolution_direct;
  if (bias)
    return {{kind, algorithm, d.x, d.weight_any, d.bias, d.y, d.strides, d.padding, d.padding},
            onednn::attributes(),
            onednn::engine()};
  return {{kind, algorithm, d.x, d.weight_any, d.y, d.strides, d.padding, d.padding},
          onednn::attributes(),
          onednn::engine()};
}

void forward_onednn(const Tensor& x, const Tensor& w, const Tensor& bias, const Tensor& y, const Sizes& s) {
  const auto plan = onednn::plan(key_of(2, x.dtype(), s, bias.defined()), [&] {
    const Descriptors d = descriptors(x.dtype(), s);
    const auto pd = forward_descriptor(d, bias.defined());
    onednn::Plan made{dnnl::convolution_forward(pd),
                      {{DNNL_ARG_SRC, d.x}, {DNNL_ARG_WEIGHTS, pd.weights_desc()}, {DNNL_ARG_DST, d.y}},
                      pd.scratchpad_desc(),
                      onednn::layout_of(d.weight),
                      onednn::layout_of(pd.weights_desc())};
    if (bias) made.arguments.emplace_back(DNNL_ARG_BIAS, d.bias);
    return made;
  });
  const Tensor weights = onednn::packed(w, *plan, s.keep_weights);
  if (bias) {
    onednn::run(*plan, {x.raw(), weights.raw(), y.raw(), bias.raw()});
  } else {
    onednn::run(*plan, {x.raw(), weights.raw(), y.raw()});
  }
}

void backward_data_onednn(const Tensor& dy, const Tensor& w, const Tensor& dx, const Sizes& s) {
  const auto plan = onednn::plan(key_of(3, dy.dtype(), s, false), [&] {
    const Descriptors d = descriptors(dy.dtype(), s);
    const dnnl::convolution_backward_data::primitive_desc pd(
        {dnnl::algorithm::convolution_direct, d.x, d.weight_any, d.y, d.strides, d.padding, d.padding},
        onednn::attributes(), onednn::engine(), forward_descriptor(d, false));
    return onednn::Plan{dnnl::convolution_backward_data(pd),
                        {{DNNL_ARG_DIFF_DST, d.y}, {DNNL_ARG_WEIGHTS, pd.weights_desc()}, {DNNL_ARG_DIFF_SRC, d.x}},
                        pd.scratchpad_desc(),
                        onednn::layout_of(d.weight),
                        onednn::layout_of(pd.weights_desc())};
  });
  onednn::run(*plan, {dy.raw(), onednn::packed(w, *plan, s.keep_weights).raw(), dx.raw()});
}

void backward_weights_onednn(const Tensor& x, const Tensor& dy, const Tensor& dw, const Sizes& s) {
  const auto plan = onednn::plan(key_of(4, x.dtype(), s, false), [&] {
    const Descriptors d = descriptors(x.dtype(), s);
    const dnnl::convolution_backward_weights::primitive_desc pd(
        {dnnl::algorithm::convolution_direct, d.x, d.weight_any, d.y, d.strides, d.padding, d.padding},
        onednn::attributes(), onednn::engine(), forward_descriptor(d, false));
    return onednn::Plan{
        dnnl::convolution_backward_weights(pd),
        {{DNNL_ARG_SRC, d.x}, {DNNL_ARG_DIFF_DST, d.y}, {DNNL_ARG_DIFF_WEIGHTS, pd.diff_weights_desc()}},
        pd.scratchpad_desc(),
        onednn::layout_of(d.weight),
        onednn::layout_of(pd.diff_weights_desc())};
  });
  if (plan->given.id == plan->wanted.id) return onednn::run(*plan, {x.raw(), dy.raw(), dw.raw()});
  const Tensor blocked = Tensor::empty({static_cast<int64_t>(plan->wanted.desc.get_size())}, DType::u8);
  onednn::run(*plan, {x.raw(), dy.raw(), blocked.raw()});
  onednn::reorder(plan->wanted, blocked.raw(), plan->given, dw.raw());
}

using Pass = ConvPass;

// The passes that kernels/device/grouped_conv.h takes.
template <class T> bool by_hand(const Sizes& s, Pass pass) {
  const int64_t group = s.cg();
  if (s.groups == 1 || s.c != s.o || s.kh != 3 || s.kw != 3 || s.padding != 1 || s.stride > 2) return false;
  if (pass == Pass::weights && group <= 8) return group == 4 || group == 8;
  if (pass == Pass::weights && group == 32 && std::is_same_v<T, float>) return false;  // oneDNN's is faster
#ifndef __AVX512BF16__
  if (std::is_same_v<T, bf16>) return false;
#endif
  return group == 4 || group == 8 || group == 16 || group == 32;
}

GroupedConvSizes grouped(const Sizes& s) {
  return {s.n, s.h, s.w, s.c, s.oh, s.ow, static_cast<int>(s.cg()), static_cast<int>(s.stride)};
}

template <class T> Tensor grouped_weights(const Tensor& w, const Sizes& s, bool gradient) {
  const auto way = !gradient       ? onednn::Way::grouped
                   : s.stride == 1 ? onednn::Way::grouped_gradient
                                   : onednn::Way::grouped_gradient_stride_2;
  return onednn::packed(w, way, s.keep_weights, [&] { return pack_grouped_weights<T>(w, grouped(s), gradient); });
}

// The same for kernels/device/stem_conv.h.
template <class T> bool stem_by_hand(const Sizes& s, Pass pass) {
  if (s.groups > 1 || s.kh != s.kw || s.o % 16 != 0 || s.kw * s.c != stem_taps) return false;
  return pass == Pass::weights || (pass == Pass::forward && std::is_same_v<T, float> && s.o <= 32);
}

StemConvSizes stem(const Sizes& s) { return {s.n, s.h, s.w, s.c, s.o, s.oh, s.ow, s.stride, s.padding, s.kw}; }

// Whether kernels/device/pointwise_conv.h takes it.
template <class T> bool pointwise(const Sizes& s) {
  return s.kh * s.kw == 1 && s.padding == 0 && s.groups == 1 && pointwise_takes<T>(s.c, s.o);
}

PointwiseSizes pointwise_sizes(const Sizes& s) { return {s.n, s.h, s.w, s.c, s.o, s.oh, s.ow, s.stride}; }

// Whether kernels/device/dense_conv.h takes it.
template <class T> bool dense(const Sizes& s) {
  return std::is_same_v<T, float> && s.groups == 1 && s.kh * s.kw > 1 && dense_conv_by_hand();
}

Tensor dense_weights(const Tensor& w, const Sizes& s, bool gradient) {
  const auto way = !gradient       ? onednn::Way::dense
                   : s.stride == 1 ? onednn::Way::dense_gradient
                                   : onednn::Way::dense_gradient_stride_2;
  const bool keep = s.keep_weights && (!gradient || s.stride <= 2);
  return onednn::packed(w, way, keep, [&] { return pack_dense_weights(w, s, gradient); });
}

// Whether kernels/device/winograd_conv.h takes it.
template <class T> bool winograd(const Sizes& s, Pass pass) {
  return std::is_same_v<T, float> && winograd_takes(s, pass);
}

Tensor winograd_weights(const Tensor& w, const Sizes& s, bool gradient) {
  const auto way = gradient ? onednn::Way::winograd_gradient : onednn::Way::winograd;
  return onednn::packed(w, way, s.keep_weights, [&] { return pack_winograd_weights(w, s, gradient); });
}

// Where the processor has no bf16, a pass of bf16 is one of f32 with its result rounded.
template <class T> bool widens() { return std::is_same_v<T, bf16> && !onednn::computes(DType::bf16); }
template <class Pass> void rounded(const Tensor& y, Pass&& pass) {
  const Tensor wide = Tensor::empty(y.shape(), DType::f32);
  pass(wide);
  onednn::round_to(y, wide);
}

void forward(const Tensor& x, const Tensor& w, const Tensor& bias, bool relu, const Tensor& y, const Sizes& s) {
  if (y.numel() == 0) return;
  const auto on_cpu = [&]<class T> {
    if constexpr (std::is_same_v<T, double>) {
      forward_plain(x.data<T>(), w.data<T>(), bias ? bias.data<T>() : nullptr, y.data<T>(), s);
    } else if (widens<T>()) {
      return rounded(y, [&](const Tensor& wide) {
        forward(onednn::widened(x), onednn::widened(w, s.keep_weights), onednn::widened(bias), relu, wide, s);
      });
    } else if (by_hand<T>(s, Pass::forward)) {
      return grouped_conv_forward(x.data<T>(), grouped_weights<T>(w, s, false).template data<T>(),
                                  bias ? bias.data<T>() : nullptr, relu, y.data<T>(), grouped(s));
    } else if (pointwise<T>(s)) {
      const Tensor packed =
          onednn::packed(w, onednn::Way::pointwise, s.keep_weights, [&] { return pack_pointwise<T>(w); });
      return pointwise_conv<T>(x.data<T>(), packed.data<T>(), bias ? bias.data<T>() : nullptr, nullptr, relu,
                               y.data<T>(), pointwise_sizes(s));
    } else if (stem_by_hand<T>(s, Pass::forward)) {
      stem_conv_forward(x.data<T>(), w.data<T>(), bias ? bias.data<T>() : nullptr, y.data<T>(), stem(s));
    } else if (winograd<T>(s, Pass::forward)) {
      return winograd_conv_forward(x.data<float>(), winograd_weights(w, s, false).data<float>(),
                                   bias ? bias.data<float>() : nullptr, relu, y.data<float>(), s);
    } else if (dense<T>(s)) {
      return dense_conv_forward(x.data<float>(), dense_weights(w, s, false).data<float>(),
                                bias ? bias.data<float>() : nullptr, relu, y.data<float>(), s);
    } else {
      forward_onednn(x, w, bias, y, s);
    }
    // A pass of its own, since oneDNN's relu turns NaN into 0.
    if (relu) elementwise(y.data<T>(), y.numel(), [y = y.data<T>()](int64_t i) { return y[i] < T(0) ? T(0) : y[i]; });
  };
  on_device("conv2d", x, on_cpu, [&] { conv2d_forward_cuda(x, w, bias, relu, y, s); });
}

void backward_data(const Tensor& dy, const Tensor& w, const Tensor& dx, const Sizes& s) {
  if (dx.numel() == 0) return;
  const auto on_cpu = [&]<class T> {
    if constexpr (std::is_same_v<T, double>) {
      backward_data_plain(dy.data<T>(), w.data<T>(), dx.data<T>(), s);
    } else if (widens<T>()) {
      rounded(dx, [&](const Tensor& wide) {
        backward_data(onednn::widened(dy), onednn::widened(w, s.keep_weights), wide, s);
      });
    } else if (by_hand<T>(s, Pass::data)) {
      grouped_conv_backward_data(dy.data<T>(), grouped_weights<T>(w, s, true).template data<T>(), dx.data<T>(),
                                 grouped(s));
    } else if (winograd<T>(s, Pass::data)) {
      winograd_conv_backward_data(dy.data<float>(), winograd_weights(w, s, true).data<float>(), dx.data<float>(), s);
    } else if (dense<T>(s)) {
      dense_conv_backward_data(dy.data<float>(), dense_weights(w, s, true).data<float>(), dx.data<float>(), s);
    } else {
      backward_data_onednn(dy, w, dx, s);
    }
  };
  on_device("conv2d", dy, on_cpu, [&] { conv2d_backward_data_cuda(dy, w, dx, s); });
}

void backward_weights(const Tensor& x, const Tensor& dy, const Tensor& dw, const Sizes& s) {
  if (dy.numel() == 0) return dw.fill(0);
  const auto on_cpu = [&]<class T> {
    if constexpr (std::is_same_v<T, double>) {
      backward_weights_plain(x.data<T>(), dy.data<T>(), dw.data<T>(), s);
    } else if (widens<T>()) {
      rounded(dw, [&](const Tensor& wide) { backward_weights(onednn::widened(x), onednn::widened(dy), wide, s); });
    } else if (by_hand<T>(s, Pass::weights)) {
      const auto run = s.cg() > 8 ? grouped_conv_backward_wide_weights<T> : grouped_conv_backward_weights<T>;
      run(x.data<T>(), dy.data<T>(), dw.data<T>(), grouped(s));
    } else if (stem_by_hand<T>(s, Pass::weights)) {
      stem_conv_backward_weights(x.data<T>(), dy.data<T>(), dw.data<T>(), stem(s));
    } else if (winograd<T>(s, Pass::weights)) {
      winograd_conv_backward_weights(x.data<float>(), dy.data<float>(), dw.data<float>(), s);
    } else if (dense<T>(s)) {
      dense_conv_backward_weights(x.data<float>(), dy.data<float>(), dw.data<float>(), s);
    } else {
      backward_weights_onednn(x, dy, dw, s);
    }
  };
  on_device("conv2d", dy, on_cpu, [&] { conv2d_backward_weights_cuda(x, dy, dw, s); });
}

// What a call comes down to, after checks of everything but the options' activation.
Sizes sizes_of(const Tensor& x, const Tensor& weight, const Shape& w, const Tensor& bias,
               const Conv2dOptions& options) {
  check_same("conv2d", x, weight);
  check(x.rank() == 4 && w.rank() == 4, "[conv2d] x and weight must have 4 axes but have shapes {} and {}", x.shape(),
        w);
  check(options.stride >= 1 && options.padding >= 0 && options.groups >= 1,
        "[conv2d] stride and groups must be at least 1 and padding at least 0 but are {}, {} and {}", options.stride,
        options.groups, options.padding);
  check(options.activation == Activation::none || options.activation == Activation::relu,
        "[conv2d] the activation must be none or relu");
  Sizes s{x.dim(0), x.dim(1), x.dim(2),       x.dim(3),        w[0],          w[2], w[3], 0,
          0,        options.stride, options.padding, options.groups};
  check(s.c % s.groups == 0 && s.o % s.groups == 0 && s.o > 0 && w[1] > 0 && w[1] == s.cg(),
        "[conv2d] weight must be [O, C / groups, KH, KW] with O and C multiples of groups, but x is {}, weight {} and "
        "groups {}",
        x.shape(), w, s.groups);
  check(s.kh >= 1 && s.kw >= 1 && s.h + 2 * s.padding >= s.kh && s.w + 2 * s.padding >= s.kw,
        "[conv2d] the padded image must be as large as the kernel but is {} x {} and the kernel {} x {}",
        s.h + 2 * s.padding, s.w + 2 * s.padding, s.kh, s.kw);
  if (bias) {
    check_same("conv2d", x, bias);
    check(bias.shape() == Shape{s.o}, "[conv2d] bias must have shape [{}] but has {}", s.o, bias.shape());
  }
  s.oh = (s.h + 2 * s.padding - s.kh) / s.stride + 1, s.ow = (s.w + 2 * s.padding - s.kw) / s.stride + 1;
  return s;
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
              std::function<Tensor()> again) {
  Sizes s = sizes_of(x, weight, weight.shape(), bias, options);

  // One matrix product, which oneDNN's matmul does faster than its convolution.
  if (s.kh * s.kw == 1 && s.stride == 1 && s.padding == 0 && s.groups == 1)
    return linear(x, weight.reshape({s.o, s.c}), bias, options.activation);

  s.keep_weights = !weight.needs_grad();
  const bool relu = options.activation == Activation::relu;
  const bool need_x = x.needs_grad(), need_w = weight.needs_grad(), need_bias = bias && bias.needs_grad();
  Tensor y = Tensor::empty({s.n, s.oh, s.ow, s.o}, x.dtype(), x.device());
  forward(x, weight, bias, relu, y, s);

  const auto backward = [s, need_x, need_w, need_bias, has_bias = bias.defined(), x_shape = x.shape(),
                         w_shape = weight.shape(), x = need_w && !again ? x.detach() : Tensor(), again = std::move(again),
                         w = need_x ? weight.detach() : Tensor(),
                         y = relu ? y : Tensor()](const Tensor& dy) -> Tensors {
    Tensor dz = dy, dx, dw, dbias;
    if (y) {
      dz = empty_like(dy);
      const auto on_cpu = [&]<class T> {
        elementwise(dz.data<T>(), dz.numel(),
                    [y = y.data<T>(), dy = dy.data<T>()](int64_t i) { return y[i] <= T(0) ? T(0) : dy[i]; });
      };
      on_device("conv2d", dy, on_cpu, [&] { relu_mask_cuda(y, dy, dz); });
    }
    if (need_x) {
      dx = Tensor::empty(x_shape, dy.dtype(), dy.device());
      backward_data(dz, w, dx, s);
    }
    if (need_w) {
      dw = Tensor::empty(w_shape, dy.dtype(), dy.device());
      backward_weights(again ? again() : x, dz, dw, s);
    }
    if (need_bias) dbias = unbroadcast(dz, {s.o});
    if (has_bias) return {dx, dw, dbias};
    return {dx, dw};
  };
  if (bias) return record("conv2d", y, {x, weight, bias}, backward);
  return record("conv2d", y, {x, weight}, backward);
}

PackedConv2d pack_conv2d(const Tensor& weight, const Conv2dOptions& options) {
  check(weight.defined() && weight.rank() == 4 && !weight.needs_grad(),
        "[pack_conv2d] weight must have 4 axes and need no gradient but has shape {}", weight.shape());
  PackedConv2d result{weight, weight.shape()};
  const Sizes s{1, 1, 1, weight.dim(1) * options.groups, weight.dim(0), weight.dim(2), weight.dim(3), 1,
                1, options.stride, options.padding, options.groups};
  const auto on_cpu = [&]<class T> {
    if constexpr (!std::is_same_v<T, double>) {
      if (pointwise<T>(s)) {
        result = {pack_pointwise<T>(weight), weight.shape(), true};
      } else if (by_hand<T>(s, Pass::forward)) {
        result = {pack_grouped_weights<T>(weight, grouped(s), false), weight.shape(), true};
      }
    }
  };
  on_device("pack_conv2d", weight, on_cpu, [] {});
  return result;
}

int64_t kept_conv2d_bytes(const Shape& weight) {
  const Sizes s{1, 1, 1, weight[1], weight[0], weight[2], weight[3], 1, 1, 1, static_cast<int>(weight[2] / 2), 1};
  const int64_t bytes = weight.numel() * static_cast<int64_t>(sizeof(float));
  return winograd_takes(s, Pass::forward) ? bytes * 16 / 9 : bytes;
}

Tensor conv2d(const Tensor& x, const PackedConv2d& weight, const Tensor& bias, const Conv2dOptions& options,
              const Tensor& residual) {
  constexpr const char* reason = "it is made for inference";
  const bool relu = options.activation == Activation::relu;
  const Sizes s = sizes_of(x, weight.weight, weight.shape, bias, options);
  const Shape y_shape{s.n, s.oh, s.ow, s.o};
  if (residual) {
    check_same("conv2d", x, residual);
    check(residual.shape() == y_shape, "[conv2d] the residual must have shape {} but has {}", y_shape,
          residual.shape());
  }
  const auto rest = [&](const Tensor& y) {
    if (!residual) return y;
    return relu ? weft::relu(add(y, residual)) : add(y, residual);
  };
  if (!weight.packed) {
    Conv2dOptions first = options;
    if (residual) first.activation = Activation::none;
    return no_gradient("conv2d", rest(conv2d(x, weight.weight, bias, first)), reason);
  }
  Tensor y = Tensor::empty(y_shape, x.dtype(), x.device());
  const auto on_cpu = [&]<class T> {
    if constexpr (!std::is_same_v<T, double>) {
      const T *w = weight.weight.data<T>(), *b = bias ? bias.data<T>() : nullptr;
      if (s.groups == 1) {
        pointwise_conv(x.data<T>(), w, b, residual ? residual.data<T>() : nullptr, relu, y.data<T>(),
                       pointwise_sizes(s));
      } else {
        grouped_conv_forward(x.data<T>(), w, b, relu && !residual, y.data<T>(), grouped(s));
        y = rest(y);
      }
    }
  };
  if (y.numel() > 0) on_device("conv2d", x, on_cpu, [] {});
  return no_gradient("conv2d", y, reason);
}

// A convolution's passes in other parts: its gradient is the forward pass, and its forward pass the gradient.
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias, int stride, int padding) {
  check_same("conv_transpose2d", x, weight);
  check(x.rank() == 4 && weight.rank() == 4 && weight.dim(0) == x.dim(3),
        "[conv_transpose2d] x must be [N, H, W, C] and weight [C, O, KH, KW] but they are {} and {}", x.shape(),
        weight.shape());
  check(stride >= 1 && padding >= 0,
        "[conv_transpose2d] stride must be at least 1 and padding at least 0 but are {} and {}", stride, padding);
  Sizes s{x.dim(0),      0,        0,        weight.dim(1), x.dim(3), weight.dim(2),
          weight.dim(3), x.dim(1), x.dim(2), stride,        padding,  1};
  s.h = (s.oh - 1) * stride - 2 * padding + s.kh, s.w = (s.ow - 1) * stride - 2 * padding + s.kw;
  check(s.oh > 0 && s.ow > 0 && s.h > 0 && s.w > 0,
        "[conv_transpose2d] images must have at least 1 pixel but would become {} x {} from {} x {}", s.h, s.w, s.oh,
        s.ow);
  if (bias) {
    check_same("conv_transpose2d", x, bias);
    check(bias.shape() == Shape{s.c}, "[conv_transpose2d] bias must have shape [{}] but has {}", s.c, bias.shape());
  }
  s.keep_weights = !weight.needs_grad();
  const bool need_x = x.needs_grad(), need_w = weight.needs_grad();
  Tensor y = Tensor::empty({s.n, s.h, s.w, s.c}, x.dtype(), x.device());
  backward_data(x, weight, y, s);
  y = record("conv_transpose2d", y, {x, weight},
             [s, x_shape = x.shape(), w_shape = weight.shape(), x = need_w ? x.detach() : Tensor(),
              w = need_x ? weight.detach() : Tensor()](const Tensor& dy) -> Tensors {
               Tensor dx, dw;
               if (w) {
                 dx = Tensor::empty(x_shape, dy.dtype(), dy.device());
                 forward(dy, w, {}, false, dx, s);
               }
               if (x) {
                 dw = Tensor::empty(w_shape, dy.dtype(), dy.device());
                 if (x.numel() == 0) dw.fill(0);
                 else backward_weights(dy, x, dw, s);
               }
               return {dx, dw};
             });
  return bias ? add(y, bias) : y;
}

std::pair<Tensor, Tensor> fold_batch_norm(const Tensor& weight, const Tensor& gamma, const Tensor& beta,
                                          const Tensor& mean, const Tensor& var, double eps) {
  check(weight.defined() && weight.rank() >= 1, "[fold_batch_norm] weight must have at least 1 axis but has shape {}",
        weight.shape());
  const int64_t outputs = weight.dim(0), inner = outputs ? weight.numel() / outputs : 0;
  for (const Tensor* p : {&gamma, &beta, &mean, &var}) {
    check(p->defined() && p->shape() == Shape{outputs} && p->dtype() == parameter_dtype(weight.dtype()),
          "[fold_batch_norm] gamma, beta, mean and var must be {} [{}] but one is {} {}",
          parameter_dtype(weight.dtype()), outputs, p->dtype(), p->shape());
  }
  Tensor folded = empty_like(weight), bias = Tensor::empty({outputs}, weight.dtype(), weight.device());
  const auto on_cpu = [&]<class T> {
    using A = parameter_t<T>;
    for (int64_t o = 0; o < outputs; ++o) {
      const A scale = gamma.data<A>()[o] / std::sqrt(var.data<A>()[o] + static_cast<A>(eps));
      bias.data<T>()[o] = T(beta.data<A>()[o] - mean.data<A>()[o] * scale);
      const T* from = weight.data<T>() + o * inner;
      T* to = folded.data<T>() + o * inner;
      for (int64_t i = 0; i < inner; ++i) to[i] = T(static_cast<A>(from[i]) * scale);
    }
  };
  on_device("fold_batch_norm", weight, on_cpu,
            [&] { fold_batch_norm_cuda(weight, gamma, beta, mean, var, eps, folded, bias); });
  constexpr const char* reason = "it is made for inference";
  return {no_gradient("fold_batch_norm", folded, reason), no_gradient("fold_batch_norm", bias, reason)};
}

}  // namespace weft
