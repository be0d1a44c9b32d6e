#include "tensor/autograd.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <queue>
#include <utility>

#include "tensor/cuda_elements.h"
#include "tensor/dispatch.h"
#include "tensor/recompute.h"

namespace weft {

namespace {
thread_local bool recording = true;
thread_local bool training = false;
std::atomic<uint64_t> next_order{1};
}  // namespace

bool grad_enabled() { return recording; }

NoGrad::NoGrad() : before_(recording) { recording = false; }
NoGrad::~NoGrad() { recording = before_; }
Training::Training(bool on) : before_(training) { training = on; }
Training::~Training() { training = before_; }
bool Training::active() { return training; }

namespace tape {

bool set_recording(bool on) { return std::exchange(recording, on); }

bool any_needs_grad(const Tensor* inputs, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (inputs[i].needs_grad()) return true;
  }
  return false;
}

Tensor append(const char* name, Tensor y, const Tensor* inputs, size_t count, Backward backward) {
  check(y.defined() && !y.slot(), "[{}] the result handed to record() must be new", name);
  auto node = std::make_shared<TapeNode>();
  node->name = name;
  node->order = next_order.fetch_add(1, std::memory_order_relaxed);
  for (size_t i = 0; i < count; ++i) {
    node->inputs.push_back(inputs[i].needs_grad() ? inputs[i].slot() : nullptr);
    node->input_types.emplace_back(inputs[i].shape(), inputs[i].dtype());
  }
  node->backward = std::move(backward);
  auto slot = std::make_shared<GradientSlot>();
  node->output = slot.get();
  slot->producer = std::move(node);
  y.attach(std::move(slot));
  return y;
}

}  // namespace tape

Tensor no_gradient(const char* name, Tensor y, const char* reason) {
  auto slot = std::make_shared<GradientSlot>();
  slot->requires_grad = false;
  slot->no_gradient_reason = fmt::format("{} has no gradient: {}", name, reason);
  y.attach(std::move(slot));
  return y;
}

void accumulate(const Tensor& into, const Tensor& g) {
  check(into.shape() == g.shape(), "[accumulate] the shapes must be equal but are {} and {}", into.shape(), g.shape());
  check(into.device() == g.device(), "[accumulate] the devices must be equal but are {} and {}", into.device(), g.device());
  const int64_t n = into.numel();
  const auto on_cpu = [&]<class A> {
    on_device("accumulate", g, [&]<class B> {
      A* a = into.data<A>();
      const B* b = g.data<B>();
      using Sum = std::conditional_t<std::is_same_v<A, double>, double, float>;
#pragma omp parallel for simd schedule(static) if (n > 1 << 15)
      for (int64_t i = 0; i < n; ++i) a[i] = A(static_cast<Sum>(a[i]) + static_cast<Sum>(b[i]));
    });
  };
  on_device("accumulate", into, on_cpu, [&] { accumulate_cuda(into, g); });
  into.mark_modified();
}

namespace {

// Takes g as the slot's gradient, or adds it. A gradient that somebody else may hold is never changed in place.
void deliver(GradientSlot& slot, const Tensor& g) {
  if (!slot.gradient.defined()) {
    slot.gradient = g;
    return;
  }
  // The slot's tensor and the one counted here are two holders; a third means that an op handed its own dy on.
  if (slot.gradient.storage().use_count() > 1) slot.gradient = slot.gradient.clone();
  accumulate(slot.gradient, g);
}

void run(const Tensor& y, const Tensor& dy) {
  check(y.defined() && y.slot(), "[backward] nothing that needs a gradient led to this tensor");
  check(y.slot()->no_gradient_reason.empty(), "[backward] {}", y.slot()->no_gradient_reason);
  const NoGrad no_grad;

  const auto earlier = [](const std::shared_ptr<TapeNode>& a, const std::shared_ptr<TapeNode>& b) { return a->order < b->order; };
  std::priority_queue<std::shared_ptr<TapeNode>, std::vector<std::shared_ptr<TapeNode>>, decltype(earlier)> ready(earlier);
  deliver(*y.slot(), dy);
  if (y.slot()->producer) ready.push(y.slot()->producer);

  while (!ready.empty()) {
    const std::shared_ptr<TapeNode> node = ready.top();
    ready.pop();
    check(static_cast<bool>(node->backward), "[backward] the tape up to {} was already used; run the forward pass again", node->name);
    const Tensor gradient = std::exchange(node->output->gradient, Tensor());
    Tensors results = node->backward(gradient);
    node->backward = nullptr;  // what the op saved is freed here
    check(results.size() == node->inputs.size(), "[{}] the backward must return {} gradients but returned {}", node->name,
          node->inputs.size(), results.size());
    for (size_t i = 0; i < results.size(); ++i) {
      GradientSlot* slot = node->inputs[i].get();
      if (!slot) continue;
      const auto& [shape, dtype] = node->input_types[i];
      check(results[i].defined(), "[{}] the backward returned no gradient for input {}, which needs one", node->name, i);
      check(results[i].shape() == shape && results[i].dtype() == dtype,
            "[{}] the gradient of input {} must be {} {} but is {} {}", node->name, i, dtype, shape, results[i].dtype(),
            results[i].shape());
      const bool first = !slot->gradient.defined();
      deliver(*slot, std::exchange(results[i], Tensor()));
      if (slot->producer && first) ready.push(slot->producer);
    }
  }
}

}  // namespace

void backward(const Tensor& loss, double scale) {
  check(loss.numel() == 1, "[backward] the loss must have 1 element but has shape {}", loss.shape());
  run(loss, Tensor::full(loss.shape(), scale, loss.dtype(), loss.device()));
}

void backward(const Tensor& y, const Tensor& dy) {
  check(y.shape() == dy.shape() && y.dtype() == dy.dtype(), "[backward] the gradient must be {} {} but is {} {}", y.dtype(),
        y.shape(), dy.dtype(), dy.shape());
  run(y, dy);
}

namespace {

// The axes of a broadcast result, outermost first: kept (stride into the sum) or summed (stride 0), equal neighbours joined.
struct Summing {
  int rank = 0;
  std::array<int64_t, Shape::max_rank> extent{}, stride{};
};

Summing summing(const Shape& whole, const Shape& part) {
  Summing s;
  const int missing = whole.rank() - part.rank();
  check(missing >= 0, "[unbroadcast] shape {} was not broadcast to {}", part, whole);
  for (int i = 0; i < whole.rank(); ++i) {
    const int64_t extent = i >= missing ? part[i - missing] : 1;
    check(extent == whole[i] || extent == 1, "[unbroadcast] shape {} was not broadcast to {}", part, whole);
    if (whole[i] == 1) continue;
    const int64_t stride = extent == 1 ? 0 : part.product(i - missing + 1, part.rank());
    if (s.rank > 0 && s.stride[s.rank - 1] == stride * whole[i]) {
      s.extent[s.rank - 1] *= whole[i];
      s.stride[s.rank - 1] = stride;
    } else {
      s.extent[s.rank] = whole[i], s.stride[s.rank] = stride;
      ++s.rank;
    }
  }
  if (s.rank == 0) s.extent[0] = 1, s.rank = 1;
  return s;
}

AxisSums axis_sums(const Summing& s) {
  AxisSums sums;
  int64_t step = 1;
  std::array<int64_t, Shape::max_rank> step_of{};
  for (int i = s.rank - 1; i >= 0; --i) step_of[i] = step, step *= s.extent[i];
  for (int i = 0; i < s.rank; ++i) (s.stride[i] == 0 ? sums.summed : sums.kept).push_back(s.extent[i], step_of[i]);
  return sums;
}

// Adds rows [begin, end) of g, runs of the innermost joined axis, to the sums.
template <class T, class Sum> void sum_rows(const T* g, Sum* sum, const Summing& s, int64_t begin, int64_t end) {
  const int last = s.rank - 1;
  const int64_t cols = s.extent[last];
  std::array<int64_t, Shape::max_rank> at{};
  int64_t base = 0, rest = begin;
  for (int i = last - 1; i >= 0; --i) {
    at[i] = rest % s.extent[i];
    rest /= s.extent[i];
    base += at[i] * s.stride[i];
  }
  for (int64_t r = begin; r < end; ++r) {
    const T* row = g + r * cols;
    if (s.stride[last] == 0) {
      Sum total = 0;
#pragma omp simd reduction(+ : total)
      for (int64_t c = 0; c < cols; ++c) total += static_cast<Sum>(row[c]);
      sum[base] += total;
    } else {
      Sum* out = sum + base;
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) out[c] += static_cast<Sum>(row[c]);
    }
    for (int i = last - 1; i >= 0; --i) {
      base += s.stride[i];
      if (++at[i] < s.extent[i]) break;
      base -= s.stride[i] * at[i];
      at[i] = 0;
    }
  }
}

}  // namespace

Tensor unbroadcast(const Tensor& dy, const Shape& shape) {
  if (dy.shape() == shape) return dy;
  const Summing s = summing(dy.shape(), shape);
  if (dy.numel() == shape.numel()) return dy.detach().reshape(shape);
  Tensor dx = Tensor::empty(shape, dy.dtype(), dy.device());
  const auto on_cpu = [&]<class T> {
    using Sum = accumulator_t<T>;
    const int64_t n = dy.numel(), size = dx.numel(), cols = s.extent[s.rank - 1];
    const T* g = dy.data<T>();
    T* out = dx.data<T>();
    // Pieces are fixed by the shapes alone, so the sums do not depend on the number of threads. Where the outermost axis is kept, pieces
    // write apart; where it is summed, each has sums of its own, at most an eighth of dy, which are then added in order.
    const bool apart = s.stride[0] != 0, one_row = s.rank == 1;
    const int64_t rows = n > 0 ? n / cols : 0, units = apart ? s.extent[0] : rows;
    const int64_t most = apart || size == 0 ? 64 : std::min<int64_t>(64, n / (8 * size));
    const int64_t length = one_row ? cols : units;
    const int64_t pieces = std::clamp<int64_t>(std::min(n >> 15, most), 1, std::max<int64_t>(length, 1));
    std::vector<Sum> sums(apart ? size : size * pieces);
#pragma omp parallel for schedule(static) if (pieces > 1)
    for (int64_t p = 0; p < pieces; ++p) {
      const int64_t begin = length * p / pieces, end = length * (p + 1) / pieces;
      Sum* sum = sums.data() + (apart ? 0 : size * p);
      if (n == 0) continue;
      if (one_row) {
        // A total of everything: one row, cut into pieces.
        const Summing part{1, {end - begin}, {0}};
        sum_rows(g + begin, sum, part, 0, 1);
      } else {
        const int64_t rows_each = rows / units;
        sum_rows(g, sum, s, begin * rows_each, end * rows_each);
      }
    }
#pragma omp parallel for schedule(static) if (size > 1 << 15)
    for (int64_t i = 0; i < size; ++i) {
      Sum total = sums[i];
      for (int64_t p = 1; p < (apart ? 1 : pieces); ++p) total += sums[size * p + i];
      out[i] = convert<T>(total);
    }
  };
  on_device("unbroadcast", dy, on_cpu, [&] { sum_axes_cuda(dy, dx, axis_sums(s)); });
  return dx;
}

}  // namespace weft
