// Forward:  y = xhat weight + bias, xhat = (x - mean) rstd, sample by sample: one read for the statistics, one pass for y.
// Backward: with h = dy weight, dx = rstd (h - mean(h) - xhat mean(h xhat)), the means over the group; dweight = sum(dy xhat),
//           dbias = sum(dy). One read of x and dy for the sums, one pass for dx.
// Saved: x, weight, mean and rstd of every group.
// With SiLU: silu(y (1 + scale) + shift) in the same pass; the backward is that of its parts, made again from the inputs.
#include "kernels/group_norm.h"

#include <cmath>

#include "kernels/activation.h"
#include "kernels/arithmetic.h"
#include "kernels/device/channels.h"
#include "kernels/device/row_exponentials.h"
#include "tensor/recompute.h"

namespace weft {

// kernels/group_norm.cu
void group_norm_forward_cuda(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, const Tensor& y, const Tensor& affine,
                             const Tensor& of_group, double eps);
void group_norm_silu_cuda(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, const Tensor& scale, const Tensor& shift,
                          const Tensor& y, double eps);
void group_norm_backward_cuda(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& affine, const Tensor& of_group, const Tensor& dy,
                              const Tensor& dx, const Tensor& dweight, const Tensor& dbias);

namespace {

struct Groups {
  int64_t samples, rows, channels, count, width;  // `rows` rows of channels a sample; `count` groups of `width` channels

  int64_t elements() const { return rows * width; }  // of one group
  int64_t sample_elements() const { return rows * channels; }
};

// Of every sample's groups.
struct Statistics {
  std::vector<double> mean, rstd;
};

// Samples over the threads where there are enough of them; otherwise the threads share each sample.
template <class Body> void for_samples(int64_t samples, Body&& body) {
  parallel_for(samples, samples >= omp_get_max_threads() ? 1 : samples, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) body(n);
  });
}

// What becomes of y. scale and shift [samples, channels] may be null.
template <class T> struct Ending {
  const T *scale = nullptr, *shift = nullptr;
  bool silu = false;
};

// v / (1 + exp(-v)), as exact as results need that are rounded to T.
template <class T, class A> [[gnu::always_inline]] inline RowLanes<A> silu_lanes(const RowLanes<A>& v) {
  return v / (exp_lanes<T>(-v) + 1);
}

template <class T, class A = accumulator_t<T>>
Statistics group_norm_forward(const T* x, const A* weight, const A* bias, T* y, const Groups& g, double eps, const Ending<T>& ending = {}) {
  Statistics s{std::vector<double>(g.samples * g.count), std::vector<double>(g.samples * g.count)};
  if (g.elements() == 0) return s;
  const bool stream = streams<T>(g.samples * g.sample_elements());
  for_samples(g.samples, [&](int64_t n) {
    const T* xn = x + n * g.sample_elements();
    const ChannelMoments moments = channel_moments(xn, g.rows, g.channels);
    std::vector<A> centre(g.channels), scale(g.channels), shift(g.channels);
    for (int64_t k = 0; k < g.count; ++k) {
      const int64_t first = k * g.width, last = first + g.width;
      double mean = 0, squares = 0;
      for (int64_t c = first; c < last; ++c) mean += moments.mean[c] / g.width;
      for (int64_t c = first; c < last; ++c) squares += moments.squares[c] + g.rows * (moments.mean[c] - mean) * (moments.mean[c] - mean);
      const double rstd = 1 / std::sqrt(squares / g.elements() + eps);
      s.mean[n * g.count + k] = mean;
      s.rstd[n * g.count + k] = rstd;
      for (int64_t c = first; c < last; ++c) {
        // What rounding `centre` loses of the mean is made up for by `shift`.
        centre[c] = static_cast<A>(mean);
        scale[c] = static_cast<A>(rstd * weight[c]);
        shift[c] = static_cast<A>(bias[c] - (mean - centre[c]) * rstd * weight[c]);
        if (!ending.scale) continue;
        const A by = 1 + static_cast<A>(ending.scale[n * g.channels + c]);
        scale[c] *= by;
        shift[c] = shift[c] * by + static_cast<A>(ending.shift[n * g.channels + c]);
      }
    }
    const Lanes lanes(g.rows, g.channels, forward_lanes);
    const std::vector<A> lc = lanes.repeat(centre), ls = lanes.repeat(scale), lb = lanes.repeat(shift);
    const auto normed = [=, c = lc.data(), s = ls.data(), b = lb.data()](int64_t i, int64_t l, auto n) {
      return (load_lanes(xn + i, n) - row_vector(c + l)) * row_vector(s + l) + row_vector(b + l);
    };
    T* yn = y + n * g.sample_elements();
    if (ending.silu) {
      map_channels(yn, lanes, stream, [=](int64_t i, int64_t l, auto n) { return silu_lanes<T, A>(normed(i, l, n)); });
    } else {
      map_channels(yn, lanes, stream, normed);
    }
  });
  return s;
}

// dx, dweight and dbias may be null.
template <class T, class A = accumulator_t<T>>
void group_norm_backward(const T* x, const A* weight, const Statistics& s, const T* dy, T* dx, A* dweight, A* dbias, const Groups& g) {
  std::vector<double> sum_g(g.samples * g.channels), sum_gx(g.samples * g.channels);  // of dy, and of dy xhat
  const bool stream = streams<T>(g.samples * g.sample_elements());
  if (g.elements() > 0) {
    for_samples(g.samples, [&](int64_t n) {
      const T *xn = x + n * g.sample_elements(), *gn = dy + n * g.sample_elements();
      const double *mean = s.mean.data() + n * g.count, *rstd = s.rstd.data() + n * g.count;
      double *sg = sum_g.data() + n * g.channels, *sgx = sum_gx.data() + n * g.channels;
      std::vector<A> centre(g.channels), scale(g.channels), a(g.channels), b(g.channels);
      for (int64_t c = 0; c < g.channels; ++c) centre[c] = static_cast<A>(mean[c / g.width]);
      const auto gradient = [gn](int64_t i, int64_t, auto n) { return load_lanes(gn + i, n); };
      const ChannelSums sums = channel_sums(xn, g.rows, centre, static_cast<T*>(nullptr), gradient);
      for (int64_t k = 0; k < g.count; ++k) {
        const int64_t first = k * g.width, last = first + g.width;
        const double lost = mean[k] - static_cast<A>(mean[k]);
        double mean_h = 0, mean_hx = 0;
        for (int64_t c = first; c < last; ++c) {
          sg[c] = sums.g[c];
          sgx[c] = (sums.gx[c] - lost * sums.g[c]) * rstd[k];
          mean_h += weight[c] * sg[c] / g.elements();
          mean_hx += weight[c] * sgx[c] / g.elements();
        }
        // dx = scale dy - a - (x - centre) b
        const double slope = rstd[k] * rstd[k] * mean_hx;
        for (int64_t c = first; c < last; ++c) {
          scale[c] = static_cast<A>(rstd[k] * weight[c]);
          a[c] = static_cast<A>(rstd[k] * mean_h - lost * slope);
          b[c] = static_cast<A>(slope);
        }
      }
      if (!dx) return;
      const Lanes lanes(g.rows, g.channels, backward_lanes);
      const std::vector<A> lc = lanes.repeat(centre), ls = lanes.repeat(scale), la = lanes.repeat(a), lb = lanes.repeat(b);
      map_channels(dx + n * g.sample_elements(), lanes, stream,
                   [=, c = lc.data(), s = ls.data(), a = la.data(), b = lb.data()](int64_t i, int64_t l, auto n) {
                     const RowLanes<A> d = load_lanes(xn + i, n) - row_vector(c + l);
                     return load_lanes(gn + i, n) * row_vector(s + l) - row_vector(a + l) - d * row_vector(b + l);
                   });
    });
  }
  for (int64_t c = 0; c < g.channels; ++c) {
    double weights = 0, biases = 0;
    for (int64_t n = 0; n < g.samples; ++n) {
      weights += sum_gx[n * g.channels + c];
      biases += sum_g[n * g.channels + c];
    }
    if (dweight) dweight[c] = static_cast<A>(weights);
    if (dbias) dbias[c] = static_cast<A>(biases);
  }
}

void check_arguments(const char* op, const Tensor& x, int groups, const Tensor& weight, const Tensor& bias) {
  check(x.rank() >= 2, "[{}] x must have at least 2 axes but has shape {}", op, x.shape());
  check(groups >= 1 && x.cols() % groups == 0, "[{}] the groups must divide the {} channels but are {}", op, x.cols(), groups);
  const DType parameter = parameter_dtype(x.dtype());
  const auto check_parameter = [&](const char* name, const Tensor& t) {
    check(t.defined() && t.shape() == Shape{x.cols()} && t.dtype() == parameter, "[{}] {} must be {} [{}] but is {} {}", op, name, parameter,
          x.cols(), t.dtype(), t.shape());
  };
  check_parameter("weight", weight);
  check_parameter("bias", bias);
}

Groups groups_of(const Tensor& x, int groups) {
  return {x.dim(0), x.shape().product(1, x.rank() - 1), x.cols(), groups, x.cols() / groups};
}

}  // namespace

Tensor group_norm_silu(const Tensor& x, int groups, const Tensor& weight, const Tensor& bias, const Tensor& scale, const Tensor& shift, double eps) {
  check_arguments("group_norm_silu", x, groups, weight, bias);
  const bool modulated = scale.defined();
  check(shift.defined() == modulated, "[group_norm_silu] scale and shift must be given together");
  const auto check_modulation = [&](const char* name, const Tensor& t) {
    check(t.shape() == Shape{x.dim(0), x.cols()} && t.dtype() == x.dtype(), "[group_norm_silu] {} must be {} [{}, {}] but is {} {}", name, x.dtype(),
          x.dim(0), x.cols(), t.dtype(), t.shape());
  };
  if (modulated) check_modulation("scale", scale), check_modulation("shift", shift);
  Tensors inputs{x, weight, bias};
  if (modulated) inputs.insert(inputs.end(), {scale, shift});
  const auto parts = [=](const Tensors& in) {
    Tensor h = group_norm(in[0], groups, in[1], in[2], eps);
    if (!modulated) return silu(h);
    std::vector<int64_t> extents(h.rank(), 1);  // a number for every sample and channel
    extents.front() = h.dim(0), extents.back() = h.cols();
    const Shape shape(extents);
    h = add(mul(h, add(in[3].reshape(shape), 1)), in[4].reshape(shape));
    return silu(h);
  };
  const auto at_once = [=](const Tensors& in) {
    Tensor y = empty_like(in[0]);
    const Tensor &x = in[0], &weight = in[1], &bias = in[2];
    on_device("group_norm_silu", x, [&]<class T> {
      using A = accumulator_t<T>;
      const Ending<T> ending{modulated ? in[3].data<T>() : nullptr, modulated ? in[4].data<T>() : nullptr, true};
      group_norm_forward<T>(x.data<T>(), weight.data<A>(), bias.data<A>(), y.data<T>(), groups_of(x, groups), eps, ending);
    }, [&] { group_norm_silu_cuda(x, groups, weight, bias, modulated ? in[3] : Tensor(), modulated ? in[4] : Tensor(), y, eps); });
    return y;
  };
  return recompute("group_norm_silu", inputs, parts, at_once);
}

Tensor group_norm(const Tensor& x, int groups, const Tensor& weight, const Tensor& bias, double eps) {
  check_arguments("group_norm", x, groups, weight, bias);
  const Groups g = groups_of(x, groups);
  Tensor y = empty_like(x);
  Statistics statistics;    // on the cpu
  Tensor affine, of_group;  // the same on the cuda device
  on_device("group_norm", x, [&]<class T> {
    using A = accumulator_t<T>;
    statistics = group_norm_forward<T>(x.data<T>(), weight.data<A>(), bias.data<A>(), y.data<T>(), g, eps);
  }, [&] {
    affine = Tensor::empty({3, g.samples * g.channels}, DType::f32, Device::cuda);
    of_group = Tensor::empty({2, g.samples * g.count}, DType::f32, Device::cuda);
    group_norm_forward_cuda(x, groups, weight, bias, y, affine, of_group, eps);
  });
  const bool wants_x = x.needs_grad(), wants_weight = weight.needs_grad(), wants_bias = bias.needs_grad();
  return record("group_norm", y, {x, weight, bias},
                [=, x = x.detach(), weight = weight.detach(), statistics = std::move(statistics)](const Tensor& dy) -> Tensors {
    const Tensor dx = wants_x ? empty_like(x) : Tensor();
    const Tensor dweight = wants_weight ? empty_like(weight) : Tensor(), dbias = wants_bias ? empty_like(weight) : Tensor();
    on_device("group_norm", x, [&]<class T> {
      using A = accumulator_t<T>;
      group_norm_backward<T>(x.data<T>(), weight.data<A>(), statistics, dy.data<T>(), wants_x ? dx.data<T>() : nullptr,
                             wants_weight ? dweight.data<A>() : nullptr, wants_bias ? dbias.data<A>() : nullptr, g);
    }, [&] { group_norm_backward_cuda(x, groups, weight, affine, of_group, dy, dx, dweight, dbias); });
    return {dx, dweight, dbias};
  });
}

}  // namespace weft
