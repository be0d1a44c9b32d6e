#include "tensor/autograd.h"

#include <atomic>
#include <queue>
#include <utility>

#include "tensor/dispatch.h"

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
  const int64_t n = into.numel();
  on_device("accumulate", into, [&]<class A> {
    on_device("accumulate", g, [&]<class B> {
      A* a = into.data<A>();
      const B* b = g.data<B>();
      using Sum = std::conditional_t<std::is_same_v<A, double>, double, float>;
#pragma omp parallel for simd schedule(static) if (n > 1 << 15)
      for (int64_t i = 0; i < n; ++i) a[i] = A(static_cast<Sum>(a[i]) + static_cast<Sum>(b[i]));
    });
  });
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

Tensor unbroadcast(const Tensor& dy, const Shape& shape) {
  if (dy.shape() == shape) return dy;
  // Axes of dy, outermost first: each is either kept or summed (extent 1 or missing in `shape`).
  const int rank = dy.rank(), missing = rank - shape.rank();
  std::array<int64_t, Shape::max_rank> stride{};
  int64_t step = 1;
  for (int i = rank - 1; i >= 0; --i) {
    const int64_t extent = i >= missing ? shape[i - missing] : 1;
    check(extent == dy.dim(i) || extent == 1, "[unbroadcast] shape {} was not broadcast to {}", shape, dy.shape());
    stride[i] = extent == 1 ? 0 : step;
    step *= extent;
  }
  Tensor dx = Tensor::empty(shape, dy.dtype(), dy.device());
  on_device("unbroadcast", dy, [&]<class T> {
    using Sum = accumulator_t<T>;
    std::vector<Sum> sum(shape.numel());
    const T* g = dy.data<T>();
    const int64_t cols = dy.cols(), rows = dy.rows();
    std::array<int64_t, Shape::max_rank> at{};
    int64_t base = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const T* row = g + r * cols;
      if (rank && stride[rank - 1] == 0) {
        Sum total = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t c = 0; c < cols; ++c) total += static_cast<Sum>(row[c]);
        sum[base] += total;
      } else {
        Sum* out = sum.data() + base;
#pragma omp simd
        for (int64_t c = 0; c < cols; ++c) out[c] += static_cast<Sum>(row[c]);
      }
      for (int i = rank - 2; i >= 0; --i) {
        base += stride[i];
        if (++at[i] < dy.dim(i)) break;
        base -= stride[i] * at[i];
        at[i] = 0;
      }
    }
    T* out = dx.data<T>();
    for (size_t i = 0; i < sum.size(); ++i) out[i] = convert<T>(sum[i]);
  });
  return dx;
}

}  // namespace weft
