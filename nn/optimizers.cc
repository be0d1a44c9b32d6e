#include "nn/optimizers.h"

#include <cmath>

#include "kernels/device/parallel.h"
#include "nn/optimizers_cuda.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"
#include "tensor/host_work.h"

namespace weft {

namespace {

// The unit of work and of summation: fixed, so that sums do not depend on the number of threads.
constexpr int64_t piece_elements = 1 << 14;

struct Piece {
  size_t parameter;
  int64_t begin, end;
};

std::vector<Piece> pieces_of(const std::vector<Parameter>& parameters) {
  std::vector<Piece> pieces;
  for (size_t p = 0; p < parameters.size(); ++p) {
    const int64_t n = parameters[p].tensor.grad().defined() ? parameters[p].tensor.numel() : 0;
    for (int64_t begin = 0; begin < n; begin += piece_elements) {
      pieces.push_back({p, begin, std::min(n, begin + piece_elements)});
    }
  }
  return pieces;
}

template <class Body>
void for_pieces(const std::vector<Piece>& pieces, Body&& body) {
  parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i, pieces[i]);
  });
}

// Parameters are f32 or f64.
template <class F>
void on_master(const Tensor& t, F&& f) {
  if (t.dtype() == DType::f64) {
    f.template operator()<double>();
  } else {
    f.template operator()<float>();
  }
}

bool all_on_cuda(const std::vector<Parameter>& parameters) {
  if (parameters.empty()) return false;
  const Device device = parameters[0].tensor.device();
  for (const Parameter& p : parameters) {
    check(p.tensor.device() == device,
          "[optimizer] the parameters must be on one device but '{}' is on {} and '{}' on {}", parameters[0].name,
          device, p.name, p.tensor.device());
  }
  return device == Device::cuda;
}

// The parameters that have a gradient, as the cuda device's updates take them, without slots and numbers.
struct CudaUpdates {
  std::vector<TensorUpdate> tensors;
  std::vector<size_t> parameter;  // of each

  explicit CudaUpdates(const std::vector<Parameter>& parameters, bool all = false) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      const Tensor &w = parameters[i].tensor, g = w.grad();
      if (!all && !g.defined()) continue;
      check(w.dtype() == DType::f32, "[optimizer] parameters must be f32 on device cuda but '{}' is {}",
            parameters[i].name, w.dtype());
      tensors.push_back({.w = pointer(w), .g = pointer(g), .count = w.numel()});
      parameter.push_back(i);
    }
  }
  static float* pointer(const Tensor& t) { return static_cast<float*>(t.raw()); }
};

void check_fraction(const char* what, double value) {
  check(value >= 0 && value < 1, "[optimizer] {} must be in [0, 1) but is {}", what, value);
}

}  // namespace

Optimizer::Optimizer(const ParameterSet& set, std::vector<std::string> slots)
    : parameters_(set.trainable()), slot_names_(std::move(slots)) {
  for (size_t s = 0; s < slot_names_.size(); ++s) {
    Tensors& tensors = slots_.emplace_back();
    for (const Parameter& p : parameters_) tensors.push_back(zeros_like(p.tensor));
  }
  steps_ = Tensor::zeros({static_cast<int64_t>(parameters_.size())}, DType::i64);
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> list{{"steps", steps_}};
  for (size_t s = 0; s < slots_.size(); ++s) {
    for (size_t p = 0; p < parameters_.size(); ++p)
      list.push_back({slot_names_[s] + "." + parameters_[p].name, slots_[s][p]});
  }
  return list;
}

void Optimizer::set_learning_rate(double learning_rate) {
  check(std::isfinite(learning_rate) && learning_rate >= 0,
        "[{}] the learning rate must be finite and at least 0 but is {}", name(), learning_rate);
  learning_rate_ = learning_rate;
}

void Optimizer::step(double learning_rate) {
  set_learning_rate(learning_rate);
  const std::vector<Piece> pieces = pieces_of(parameters_);
  check(!pieces.empty(), "[{}] at least one parameter must have a gradient; call backward() first", name());
  std::vector<size_t> updated;
  for (size_t p = 0; p < parameters_.size(); ++p) {
    if (parameters_[p].tensor.grad().defined()) updated.push_back(p);
  }
  on_each_launch([this, updated] {
    for (size_t p : updated) {
      ++steps_.data<int64_t>()[p];
      parameters_[p].tensor.mark_modified();
    }
    steps_.mark_modified();
  });
  if (on_cuda()) return update_cuda();
  for_pieces(pieces, [&](int64_t, const Piece& piece) { update(piece.parameter, piece.begin, piece.end); });
}

bool Optimizer::on_cuda() const { return all_on_cuda(parameters_); }

Sgd::Sgd(const ParameterSet& set, const SgdOptions& options)
    : Optimizer(set, options.momentum != 0 ? std::vector<std::string>{"momentum"} : std::vector<std::string>{}),
      options_(options) {
  check_fraction("momentum", options.momentum);
  check(!options.nesterov || options.momentum > 0, "[optimizer] nesterov needs a momentum above 0");
}

void Sgd::update(size_t parameter, int64_t begin, int64_t end) {
  const Parameter& p = parameters_[parameter];
  on_master(p.tensor, [&]<class T> {
    T* __restrict w = p.tensor.data<T>();
    const T* __restrict g = p.tensor.grad().data<T>();
    const T rate = static_cast<T>(learning_rate_), momentum = static_cast<T>(options_.momentum);
    const T decay = static_cast<T>(p.decay ? options_.weight_decay : 0);
    if (slots_.empty()) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) w[i] -= rate * (g[i] + decay * w[i]);
      return;
    }
    T* __restrict v = slots_[0][parameter].data<T>();
    const T ahead = options_.nesterov ? momentum : T{1}, own = options_.nesterov ? T{1} : T{0};
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const T d = g[i] + decay * w[i];
      const T velocity = momentum * v[i] + d;
      v[i] = velocity;
      w[i] -= rate * (own * d + ahead * velocity);
    }
  });
}

void Sgd::update_cuda() {
#ifdef WEFT_HAS_CUDA
  const auto tensors = [this, updates = CudaUpdates(parameters_)]() mutable {
    for (size_t i = 0; i < updates.tensors.size(); ++i) {
      TensorUpdate& t = updates.tensors[i];
      const size_t parameter = updates.parameter[i];
      t.rate = static_cast<float>(learning_rate_);
      t.decay = static_cast<float>(parameters_[parameter].decay ? options_.weight_decay : 0);
      if (!slots_.empty()) t.m = CudaUpdates::pointer(slots_[0][parameter]);
    }
    return updates.tensors;
  };
  const auto momentum = static_cast<float>(options_.momentum);
  sgd_cuda(tensors, momentum, options_.nesterov ? 1.0f : 0.0f, options_.nesterov ? momentum : 1.0f);
#endif
}

Adam::Adam(const ParameterSet& set, const AdamOptions& options) : Adam(set, options, false) {}

Adam::Adam(const ParameterSet& set, const AdamOptions& options, bool decoupled)
    : Optimizer(set, {"exp_avg", "exp_avg_sq"}), options_(options), decoupled_(decoupled) {
  check_fraction("beta1", options.beta1);
  check_fraction("beta2", options.beta2);
  check(options.eps > 0, "[optimizer] eps must be above 0 but is {}", options.eps);
}

void Adam::update(size_t parameter, int64_t begin, int64_t end) {
  const Parameter& p = parameters_[parameter];
  const auto step = static_cast<double>(steps_.data<int64_t>()[parameter]);
  const double decay = p.decay ? options_.weight_decay : 0;
  const double correction1 = 1 - std::pow(options_.beta1, step), correction2 = 1 - std::pow(options_.beta2, step);
  on_master(p.tensor, [&]<class T> {
    T* __restrict w = p.tensor.data<T>();
    const T* __restrict g = p.tensor.grad().data<T>();
    T* __restrict m = slots_[0][parameter].data<T>();
    T* __restrict v = slots_[1][parameter].data<T>();
    const T b1 = static_cast<T>(options_.beta1), b2 = static_cast<T>(options_.beta2),
            eps = static_cast<T>(options_.eps);
    const T rest1 = static_cast<T>(1 - options_.beta1), rest2 = static_cast<T>(1 - options_.beta2);
    const T rate = static_cast<T>(learning_rate_ / correction1), root = static_cast<T>(std::sqrt(correction2));
    const T keep = static_cast<T>(decoupled_ ? 1 - learning_rate_ * decay : 1),
            coupled = static_cast<T>(decoupled_ ? 0 : decay);
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const T d = g[i] + coupled * w[i];
      const T mean = b1 * m[i] + rest1 * d, square = b2 * v[i] + rest2 * d * d;
      m[i] = mean;
      v[i] = square;
      w[i] = w[i] * keep - rate * mean / (std::sqrt(square) / root + eps);
    }
  });
}

void Adam::update_cuda() {
#ifdef WEFT_HAS_CUDA
  const auto tensors = [this, updates = CudaUpdates(parameters_)]() mutable {
    for (size_t i = 0; i < updates.tensors.size(); ++i) {
      TensorUpdate& t = updates.tensors[i];
      const size_t parameter = updates.parameter[i];
      const auto step = static_cast<double>(steps_.data<int64_t>()[parameter]);
      const double decay = parameters_[parameter].decay ? options_.weight_decay : 0;
      t.m = CudaUpdates::pointer(slots_[0][parameter]);
      t.v = CudaUpdates::pointer(slots_[1][parameter]);
      t.rate = static_cast<float>(learning_rate_ / (1 - std::pow(options_.beta1, step)));
      t.root = static_cast<float>(std::sqrt(1 - std::pow(options_.beta2, step)));
      t.keep = static_cast<float>(decoupled_ ? 1 - learning_rate_ * decay : 1);
      t.decay = static_cast<float>(decoupled_ ? 0 : decay);
    }
    return updates.tensors;
  };
  adam_cuda(tensors, options_.beta1, options_.beta2, options_.eps);
#endif
}

namespace {

// Two leaves may share one gradient's memory, which must not be scaled twice.
void separate_gradients(const std::vector<Parameter>& parameters) {
  for (const Parameter& p : parameters) {
    Tensor& gradient = p.tensor.slot()->gradient;
    if (gradient.defined() && gradient.storage().use_count() > 1) gradient = gradient.clone();
  }
}

Tensor norm_found(double norm) {
  return Tensor::from(std::vector<double>{norm, -1}, {2});
}

#ifdef WEFT_HAS_CUDA
GradientNorm clip_on_cuda(const std::vector<Parameter>& parameters, double max_norm) {
  separate_gradients(parameters);
  const CudaUpdates updates(parameters);
  std::vector<std::string> names;
  for (size_t p : updates.parameter) names.push_back(parameters[p].name);
  if (names.empty()) return {norm_found(0), {}};
  const Tensor found = Tensor::empty({2}, DType::f64, Device::cuda);
  clip_gradients_cuda([tensors = updates.tensors] { return tensors; }, max_norm, found);
  for (size_t p : updates.parameter) parameters[p].tensor.grad().mark_modified();
  return {found, names};
}
#endif

}  // namespace

double GradientNorm::value() const {
  const std::vector<double> found = found_.to_doubles();
  const auto bad = static_cast<int64_t>(found[1]);
  check_input(bad < 0, "the gradient of parameter '{}' is not finite", bad < 0 ? std::string() : names_[bad]);
  return found[0];
}

double clip_by_global_norm(const ParameterSet& set, double max_norm) { return clip_gradients(set, max_norm).value(); }

GradientNorm clip_gradients(const ParameterSet& set, double max_norm) {
  check(max_norm > 0, "[clip_by_global_norm] the norm must be above 0 but is {}", max_norm);
  const std::vector<Parameter> parameters = set.trainable();
#ifdef WEFT_HAS_CUDA
  if (all_on_cuda(parameters)) return clip_on_cuda(parameters, max_norm);
#endif
  const std::vector<Piece> pieces = pieces_of(parameters);
  std::vector<double> squares(pieces.size());
  for_pieces(pieces, [&](int64_t i, const Piece& piece) {
    on_master(parameters[piece.parameter].tensor, [&]<class T> {
      const T* g = parameters[piece.parameter].tensor.grad().data<T>();
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t e = piece.begin; e < piece.end; ++e) sum += static_cast<double>(g[e]) * static_cast<double>(g[e]);
      squares[i] = sum;
    });
  });
  double total = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (!std::isfinite(squares[i])) {
      return {Tensor::from(std::vector<double>{squares[i], 0}, {2}), {parameters[pieces[i].parameter].name}};
    }
    total += squares[i];
  }
  const double norm = std::sqrt(total);
  if (norm <= max_norm) return {norm_found(norm), {}};
  separate_gradients(parameters);
  for_pieces(pieces, [&](int64_t, const Piece& piece) {
    on_master(parameters[piece.parameter].tensor, [&]<class T> {
      T* g = parameters[piece.parameter].tensor.grad().data<T>();
      const T scale = static_cast<T>(max_norm / norm);
#pragma omp simd
      for (int64_t e = piece.begin; e < piece.end; ++e) g[e] *= scale;
    });
  });
  for (const Parameter& p : parameters) {
    if (p.tensor.grad().defined()) p.tensor.grad().mark_modified();
  }
  return {norm_found(norm), {}};
}

Ema::Ema(const ParameterSet& set, double decay, bool warm_up)
    : parameters_(set.trainable()), updates_(Tensor::zeros({}, DType::i64)), decay_(decay), warm_up_(warm_up) {
  check_fraction("ema decay", decay);
  for (const Parameter& p : parameters_) averages_.push_back(p.tensor.clone());
}

void Ema::update() {
  on_each_launch([this] {
    const auto n = static_cast<double>(updates_.data<int64_t>()[0]++);
    rest_ = 1 - (warm_up_ ? std::min(decay_, (1 + n) / (10 + n)) : decay_);
    for (const Tensor& average : averages_) average.mark_modified();
  });
#ifdef WEFT_HAS_CUDA
  if (all_on_cuda(parameters_)) {
    return ema_cuda([this, updates = CudaUpdates(parameters_, true)]() mutable {
      for (size_t i = 0; i < updates.tensors.size(); ++i) {
        updates.tensors[i].m = CudaUpdates::pointer(averages_[i]);
        updates.tensors[i].rate = static_cast<float>(rest_);
      }
      return updates.tensors;
    });
  }
#endif
  for (size_t i = 0; i < parameters_.size(); ++i) {
    on_master(parameters_[i].tensor, [&]<class T> {
      const T* w = parameters_[i].tensor.data<T>();
      T* average = averages_[i].data<T>();
      parallel_for(parameters_[i].tensor.numel(), elements_grain, [&](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t e = begin; e < end; ++e) average[e] += static_cast<T>(rest_) * (w[e] - average[e]);
      });
    });
  }
}

std::vector<NamedTensor> Ema::state() const {
  std::vector<NamedTensor> list{{"updates", updates_}};
  for (size_t i = 0; i < parameters_.size(); ++i) list.push_back({"average." + parameters_[i].name, averages_[i]});
  return list;
}

void Ema::swap() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor parameter = parameters_[i].tensor.clone();
    parameters_[i].tensor.copy_from(averages_[i]);
    averages_[i].copy_from(parameter);
  }
}

}  // namespace weft
