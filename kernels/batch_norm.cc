// Forward:  y = relu?(xhat weight + bias + residual), xhat = (x - mean) rstd: one read of x for the statistics, one pass for y.
// Backward: g = dy where y > 0; dbias = sum(g); dweight = sum(g xhat); dresidual = g;
//           dx = weight rstd (g - mean(g) - xhat mean(g xhat)), or weight rstd g with running statistics.
// Saved: x, 3 numbers a channel, and y only if ReLU follows a residual; without one the mask is computed again from x.
#include "kernels/batch_norm.h"

#include <cmath>

#include "kernels/device/channels.h"
#include "tensor/autograd.h"
#include "tensor/host_work.h"

namespace weft {

// kernels/batch_norm.cu
void batch_norm_forward_cuda(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean, const Tensor& running_var,
                             const Tensor& residual, const Tensor& y, const Tensor& affine, double eps, double momentum, bool relu, bool training);
void batch_norm_backward_cuda(const Tensor& x, const Tensor& dy, const Tensor& output, const Tensor& affine, bool relu, bool training, const Tensor& dx,
                              const Tensor& dweight, const Tensor& dbias, const Tensor& dresidual);

namespace {

// xhat weight + bias = (x - centre) scale + shift. What rounding `centre` lost of the mean is made up for by `shift`.
template <class A> struct Affine {
  std::vector<A> centre, scale, shift;
  std::vector<double> mean, rstd;
};

template <class T>
Affine<accumulator_t<T>> training_affine(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                                         const Tensor& running_var, const BatchNormOptions& options, bool training) {
  using A = accumulator_t<T>;
  const int64_t channels = x.cols(), rows = x.rows();
  Affine<A> f{std::vector<A>(channels), std::vector<A>(channels), std::vector<A>(channels), {}, std::vector<double>(channels)};
  A *run_mean = running_mean.data<A>(), *run_var = running_var.data<A>();
  std::vector<double> squares;
  if (training) {
    ChannelMoments moments = channel_moments(x.data<T>(), rows, channels);
    f.mean = std::move(moments.mean);
    squares = std::move(moments.squares);
  } else {
    f.mean.assign(run_mean, run_mean + channels);
  }
  for (int64_t c = 0; c < channels; ++c) {
    const double var = training ? squares[c] / rows : static_cast<double>(run_var[c]);
    f.rstd[c] = 1 / std::sqrt(var + options.eps);
    const double scale = f.rstd[c] * weight.data<A>()[c];
    f.centre[c] = static_cast<A>(f.mean[c]);
    f.scale[c] = static_cast<A>(scale);
    f.shift[c] = static_cast<A>(bias.data<A>()[c] - (f.mean[c] - f.centre[c]) * scale);
    if (training) {
      run_mean[c] = static_cast<A>((1 - options.momentum) * run_mean[c] + options.momentum * f.mean[c]);
      run_var[c] = static_cast<A>((1 - options.momentum) * run_var[c] + options.momentum * squares[c] / (rows - 1));
    }
  }
  if (training) {
    running_mean.mark_modified();
    running_var.mark_modified();
  }
  return f;
}

template <class T, bool relu, bool with_residual>
void batch_norm_forward(const T* x, const T* residual, T* y, int64_t rows, const Affine<accumulator_t<T>>& f) {
  using A = accumulator_t<T>;
  const int64_t channels = f.centre.size();
  const Lanes lanes(rows, channels, forward_lanes);
  const std::vector<A> centre = lanes.repeat(f.centre), scale = lanes.repeat(f.scale), shift = lanes.repeat(f.shift);
  const A *c = centre.data(), *s = scale.data(), *b = shift.data();
  map_channels(y, lanes, streams<T>(rows * channels), [=](int64_t i, int64_t l, auto n) {
    RowLanes<A> v = (load_lanes(x + i, n) - row_vector(c + l)) * row_vector(s + l) + row_vector(b + l);
    if constexpr (with_residual) v += load_lanes(residual + i, n);
    if constexpr (relu) v = v < 0 ? RowLanes<A>{} : v;  // NaN stays NaN
    return v;
  });
}

struct Wanted {
  bool x, weight, bias, residual;
};

// What the backward returns, in the order of batch_norm's differentiable inputs.
struct Gradients {
  Tensor x, weight, bias;
};

// `gradient` gives g as channel_sums() takes it. If `masked` is given, the reduction also writes g there, and the second pass
// reads it.
template <class T, class F>
Gradients batch_norm_backward(const Tensor& x, const Affine<accumulator_t<T>>& f, bool training, Wanted wanted, const Tensor& masked, F&& gradient) {
  using A = accumulator_t<T>;
  const int64_t channels = x.cols(), rows = x.rows();
  Gradients result;
  std::vector<double> sum_g(channels), sum_gx(channels);  // of g, and of g xhat
  T* g = masked.defined() ? masked.data<T>() : nullptr;
  if (g || wanted.weight || wanted.bias || (wanted.x && training)) {
    const ChannelSums sums = channel_sums(x.data<T>(), rows, f.centre, g, gradient);
    for (int64_t c = 0; c < channels; ++c) {
      sum_g[c] = sums.g[c];
      sum_gx[c] = (sums.gx[c] - (f.mean[c] - f.centre[c]) * sums.g[c]) * f.rstd[c];
    }
  }
  const auto parameter = [&](const std::vector<double>& of_channel) {
    Tensor t = Tensor::empty({channels}, dtype_of<A>);
    std::copy(of_channel.begin(), of_channel.end(), t.data<A>());
    return t;
  };
  if (wanted.weight) result.weight = parameter(sum_gx);
  if (wanted.bias) result.bias = parameter(sum_g);
  if (!wanted.x) return result;

  // dx = scale (g - a - (x - centre) b)
  result.x = empty_like(x);
  const Lanes lanes(rows, channels, backward_lanes);
  std::vector<A> a(channels), b(channels);
  for (int64_t c = 0; training && c < channels; ++c) {
    const double slope = sum_gx[c] / rows * f.rstd[c];
    a[c] = static_cast<A>(sum_g[c] / rows - (f.mean[c] - f.centre[c]) * slope);
    b[c] = static_cast<A>(slope);
  }
  const std::vector<A> centre = lanes.repeat(f.centre), scale = lanes.repeat(f.scale), la = lanes.repeat(a), lb = lanes.repeat(b);
  const auto second_pass = [&](auto&& read) {
    const T* in = x.data<T>();
    const A *c = centre.data(), *s = scale.data(), *a = la.data(), *b = lb.data();
    map_channels(result.x.data<T>(), lanes, streams<T>(rows * channels), [=](int64_t i, int64_t l, auto n) {
      const RowLanes<A> d = load_lanes(in + i, n) - row_vector(c + l);
      return row_vector(s + l) * (read(i, l, n) - row_vector(a + l) - d * row_vector(b + l));
    });
  };
  if (g) {
    second_pass([g](int64_t i, int64_t, auto n) { return load_lanes(g + i, n); });
  } else {
    second_pass(gradient);
  }
  return result;
}

void check_inputs(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean, const Tensor& running_var,
                  const Tensor& residual, bool training) {
  check(x.rank() >= 1, "[batch_norm] x must have at least 1 axis but has shape {}", x.shape());
  const DType parameter = parameter_dtype(x.dtype());
  const auto check_parameter = [&](const char* name, const Tensor& t) {
    check(t.defined(), "[batch_norm] {} must be given", name);
    check(t.shape() == Shape{x.cols()} && t.dtype() == parameter, "[batch_norm] {} must be {} [{}] but is {} {}", name, parameter,
          x.cols(), t.dtype(), t.shape());
  };
  check_parameter("weight", weight);
  check_parameter("bias", bias);
  check_parameter("running_mean", running_mean);
  check_parameter("running_var", running_var);
  check(!residual.defined() || (residual.shape() == x.shape() && residual.dtype() == x.dtype()),
        "[batch_norm] residual must be {} {} as x but is {} {}", x.dtype(), x.shape(), residual.dtype(), residual.shape());
  check(!training || x.rows() >= 2, "[batch_norm] training needs at least 2 rows of channels but x has shape {}", x.shape());
}

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean, const Tensor& running_var,
                  const BatchNormOptions& options, const Tensor& residual) {
  const bool training = Training::active(), relu = options.relu;
  check_inputs(x, weight, bias, running_mean, running_var, residual, training);
  const Wanted wanted{x.needs_grad(), weight.needs_grad(), bias.needs_grad(), residual.defined() && residual.needs_grad()};
  Tensor y = empty_like(x);
  Backward backward;
  const bool has_residual = residual.defined();
  const Tensor output = relu && has_residual ? y : Tensor();
  const auto on_cpu = [&]<class T> {
    using A = accumulator_t<T>;
    const auto f = training_affine<T>(x, weight, bias, running_mean, running_var, options, training);
    const T* r = residual.defined() ? residual.data<T>() : nullptr;
    const auto forward = relu ? (r ? batch_norm_forward<T, true, true> : batch_norm_forward<T, true, false>)
                              : (r ? batch_norm_forward<T, false, true> : batch_norm_forward<T, false, false>);
    forward(x.data<T>(), r, y.data<T>(), x.rows(), f);

    backward = [x = x.detach(), f, output, training, relu, wanted, has_residual](const Tensor& dy) -> Tensors {
      const T* g = dy.data<T>();
      const auto plain = [g](int64_t i, int64_t, auto n) { return load_lanes(g + i, n); };
      Gradients d;
      Tensor dresidual = dy;
      if (output.defined()) {
        dresidual = empty_like(x);
        const auto masked = [g, y = output.data<T>()](int64_t i, int64_t, auto n) {
          return load_lanes(y + i, n) > 0 ? load_lanes(g + i, n) : RowLanes<A>{};
        };
        d = batch_norm_backward<T>(x, f, training, wanted, dresidual, masked);
      } else if (relu) {
        const Lanes lanes(x.rows(), x.cols(), backward_lanes);
        const std::vector<A> centre = lanes.repeat(f.centre), scale = lanes.repeat(f.scale), shift = lanes.repeat(f.shift);
        const T* in = x.data<T>();
        const A *c = centre.data(), *s = scale.data(), *b = shift.data();
        const auto masked = [=](int64_t i, int64_t l, auto n) {
          const RowLanes<A> y = (load_lanes(in + i, n) - row_vector(c + l)) * row_vector(s + l) + row_vector(b + l);
          return y > 0 ? load_lanes(g + i, n) : RowLanes<A>{};
        };
        d = batch_norm_backward<T>(x, f, training, wanted, Tensor(), masked);
      } else {
        d = batch_norm_backward<T>(x, f, training, wanted, Tensor(), plain);
      }
      if (!has_residual) return {d.x, d.weight, d.bias};
      return {d.x, d.weight, d.bias, wanted.residual ? dresidual : Tensor()};
    };
  };
  on_device("batch_norm", x, on_cpu, [&] {
    const Tensor affine = Tensor::empty({5, x.cols()}, DType::f32, Device::cuda);
    batch_norm_forward_cuda(x, weight, bias, running_mean, running_var, residual, y, affine, options.eps, options.momentum, relu, training);
    if (training) {
      on_each_launch([=] {
        running_mean.mark_modified();
        running_var.mark_modified();
      });
    }
    backward = [=, x = x.detach(), channels = Shape{x.cols()}](const Tensor& dy) -> Tensors {
      const auto parameter = [&](bool on) { return on ? Tensor::empty(channels, DType::f32, Device::cuda) : Tensor(); };
      const Tensor dx = wanted.x ? empty_like(x) : Tensor(), dweight = parameter(wanted.weight), dbias = parameter(wanted.bias);
      const Tensor dresidual = wanted.residual && relu ? empty_like(x) : Tensor();
      batch_norm_backward_cuda(x, dy, output, affine, relu, training, dx, dweight, dbias, dresidual);
      if (!has_residual) return {dx, dweight, dbias};
      return {dx, dweight, dbias, wanted.residual && !relu ? dy : dresidual};
    };
  });
  if (!residual.defined()) return record("batch_norm", y, {x, weight, bias}, std::move(backward));
  return record("batch_norm", y, {x, weight, bias, residual}, std::move(backward));
}

}  // namespace weft
