// Forward:  see cross_entropy.h; -log p[b, c] = log(sum(exp(x - max))) - (x[c] - max).
// Backward: dx[b, c] = (p[b, c] a_b - [c = label_b] (1 - e) w[c] - e / C w[c]) / W with a_b = (1 - e) w[label_b] + e / C sum(w), W the weights' sum.
//           W depends on the labels only, so the forward pass writes dL/dx at once: the logits are read once, the gradient is written once.
// Saved: dL/dx, and not the logits.
#include "kernels/cross_entropy.h"

#include <cmath>

#include "kernels/device/row_exponentials.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"
#include "tensor/host_work.h"

namespace weft {

// kernels/cross_entropy.cu
void cross_entropy_cuda(const Tensor& logits, const Tensor& labels, const Tensor& class_weights, double label_smoothing, int64_t ignore_index,
                        const Tensor& batch_weight, double classes_weight, const Tensor& dlogits, const Tensor& loss);
void cross_entropy_backward_cuda(const Tensor& dlogits, const Tensor& dloss);

namespace {

struct Weights {
  std::vector<double> of_class;  // empty: all 1
  double of_all_classes = 0;
  double of_batch = 0;

  double operator[](int64_t c) const { return of_class.empty() ? 1.0 : of_class[c]; }
};

// Those of the classes.
Weights weigh_classes(int64_t classes, const CrossEntropyOptions& options) {
  Weights w;
  if (options.class_weights.defined()) w.of_class = options.class_weights.to_doubles();
  w.of_all_classes = static_cast<double>(classes);
  if (!w.of_class.empty()) {
    w.of_all_classes = 0;
    for (double v : w.of_class) w.of_all_classes += v;
  }
  return w;
}

// The sum over the labels, which are checked.
double weigh_batch(const Weights& w, const Tensor& host_labels, int64_t classes, int64_t ignore_index) {
  const int64_t* labels = host_labels.data<int64_t>();
  const int64_t rows = host_labels.numel();
  double sum = 0;
  for (int64_t b = 0; b < rows; ++b) {
    if (labels[b] == ignore_index) continue;
    check(labels[b] >= 0 && labels[b] < classes, "[cross_entropy] labels must lie in [0, {}) but row {} has {}", classes, b, labels[b]);
    sum += w[labels[b]];
  }
  check(sum > 0, "[cross_entropy] the weights of the labels must sum to more than 0 but sum to {} over {} rows", sum, rows);
  return sum;
}

// sum over c of w[c] (x[c] - top), what label smoothing needs; w is padded, and null for weights of 1.
template <class T, class A = accumulator_t<T>> double smooth_sum(const T* x, int64_t classes, A top, const A* weights) {
  RowLanes<A> sum{};
  each_lanes(classes, [&](int64_t c, auto n) {
    const RowLanes<A> v = load_lanes(x + c, n, top) - top;
    sum += weights ? v * row_vector(weights + c) : v;
  });
  return lane_sum<A>(sum);
}

// Returns the loss; `dx` may be null.
template <class T>
double cross_entropy_forward(const T* x, const int64_t* labels, T* dx, int64_t rows, int64_t classes, const Weights& w,
                             const CrossEntropyOptions& options) {
  using A = accumulator_t<T>;
  const double smoothing = options.label_smoothing, share = smoothing / classes;
  std::vector<A> class_weights(w.of_class.begin(), w.of_class.end());
  class_weights.resize(w.of_class.empty() ? 0 : padded(classes));
  const bool stream = streams<T>(rows * classes);
  std::vector<double> losses(rows);
  parallel_for(rows, std::max<int64_t>(1, elements_grain / std::max<int64_t>(classes, 1)), [&](int64_t begin, int64_t end) {
    RowExponentials<T> row(classes);
    RowWriter<T> out(dx ? dx + begin * classes : nullptr, stream);
    for (int64_t b = begin; b < end; ++b) {
      const T* xb = x + b * classes;
      const int64_t label = labels[b];
      if (label == options.ignore_index) {
        if (dx) out.write(classes, [](int64_t) { return A{0}; });
        continue;
      }
      row.read(xb, classes);
      const double log_sum = std::log(static_cast<double>(row.sum)), top = row.top;
      losses[b] = (1 - smoothing) * w[label] * (log_sum - (static_cast<double>(static_cast<A>(xb[label])) - top));
      const A* weights = class_weights.empty() ? nullptr : class_weights.data();
      if (smoothing > 0) losses[b] += share * (w.of_all_classes * log_sum - smooth_sum(xb, classes, row.top, weights));
      if (!dx) continue;
      const double scale = ((1 - smoothing) * w[label] + share * w.of_all_classes) / w.of_batch / row.sum;
      const A offset = static_cast<A>(share / w.of_batch);
      // The label's element is p - 1 in the simplest case, in double.
      const double p = static_cast<double>(row.e[label]) * scale * row.factor(label);
      const A of_label = static_cast<A>(p - ((1 - smoothing) + share) * w[label] / w.of_batch);
      for (int64_t from = 0; from < classes; from += exponentials_piece) {
        const A s = static_cast<A>(scale * row.factor(from));
        const auto write = [&](auto&& rest) {
          out.write_lanes(std::min(exponentials_piece, classes - from), [=, e = row.e + from, at = label - from](int64_t c, auto) {
            const RowLanes<A> place = lane_numbers<A>() + static_cast<A>(c - at);
            return place == 0 ? RowLanes<A>{} + of_label : row_vector(e + c) * s - rest(c);
          });
        };
        if (weights) {
          write([=, of_class = weights + from](int64_t c) { return offset * row_vector(of_class + c); });
        } else {
          write([=](int64_t) { return offset; });
        }
      }
    }
  });
  double loss = 0;
  for (double l : losses) loss += l;
  return loss / w.of_batch;
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& options) {
  check(logits.rank() == 2, "[cross_entropy] logits must have 2 axes but have shape {}", logits.shape());
  check(labels.defined() && labels.shape() == Shape{logits.rows()} && labels.dtype() == DType::i64,
        "[cross_entropy] labels must be i64 [{}] but are {} {}", logits.rows(), labels.dtype(), labels.shape());
  const DType loss_dtype = parameter_dtype(logits.dtype());
  const Tensor& weights = options.class_weights;
  check(!weights.defined() || (weights.shape() == Shape{logits.cols()} && weights.dtype() == loss_dtype),
        "[cross_entropy] class_weights must be {} [{}] but are {} {}", loss_dtype, logits.cols(), weights.dtype(), weights.shape());
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1, "[cross_entropy] label_smoothing must lie in [0, 1] but is {}",
        options.label_smoothing);
  const Tensor dlogits = logits.needs_grad() ? empty_like(logits) : Tensor();
  Tensor loss = Tensor::empty({}, loss_dtype, logits.device());
  const Tensor host_labels = labels.detach().to(Device::cpu);
  Weights w = weigh_classes(logits.cols(), options);
  const auto of_batch = [w, host_labels, classes = logits.cols(), ignored = options.ignore_index] {
    return weigh_batch(w, host_labels, classes, ignored);
  };
  const auto on_cpu = [&]<class T> {
    w.of_batch = of_batch();
    loss.fill(cross_entropy_forward(logits.data<T>(), host_labels.data<int64_t>(), dlogits.defined() ? dlogits.data<T>() : nullptr, logits.rows(),
                                    logits.cols(), w, options));
  };
  on_device("cross_entropy", logits, on_cpu, [&] {
    const Tensor near_weights = weights.defined() ? weights.detach().to(Device::cuda) : Tensor();
    // On the device, since a recorded step has other labels in every launch.
    const Tensor batch_weight = from_host(Device::cuda, {host_labels}, [=] { return Tensor::full({}, of_batch()); });
    cross_entropy_cuda(logits, labels.detach().to(Device::cuda), near_weights, options.label_smoothing, options.ignore_index, batch_weight,
                       w.of_all_classes, dlogits, loss);
  });
  return record("cross_entropy", loss, {logits}, [dlogits](const Tensor& dloss) -> Tensors {
    // The tape calls this once, so the saved gradient may be scaled in place.
    const auto on_cpu = [&]<class T> {
      using A = accumulator_t<T>;
      const double factor = dloss.item();
      if (factor == 1) return;
      parallel_for(dlogits.numel(), elements_grain, [f = static_cast<A>(factor), d = dlogits.data<T>()](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) d[i] = T(static_cast<A>(d[i]) * f);
      });
    };
    on_device("cross_entropy", dlogits, on_cpu, [&] { cross_entropy_backward_cuda(dlogits, dloss); });
    return {dlogits};
  });
}

}  // namespace weft
