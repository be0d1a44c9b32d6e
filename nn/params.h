// Named parameters. `Params p / "layer1" / 0` is a scope; what a layer asks of it is created or taken from a file, and
// listed for the optimiser and for saving, by one call.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tensor/safetensors.h"
#include "tensor/tensor.h"

namespace weft {

/// How a parameter's first values are drawn.
struct Init {
  enum class Kind { constant, normal, uniform };
  Kind kind = Kind::constant;
  double value = 0;  // the constant, the standard deviation, or the bound: uniform in [-bound, bound)
};

namespace init {
inline Init constant(double value) { return {Init::Kind::constant, value}; }
inline Init zeros() { return constant(0); }
inline Init ones() { return constant(1); }
inline Init normal(double deviation) { return {Init::Kind::normal, deviation}; }
inline Init uniform(double bound) { return {Init::Kind::uniform, bound}; }
/// He et al. 2015, for a leaky relu of slope a: bound sqrt(6 / ((1 + a^2) fan_in)). PyTorch's linear and conv weights
/// use a = sqrt(5).
Init kaiming_uniform(int64_t fan_in, double a);
/// Deviation sqrt(2 / fan): torchvision's ResNets, with fan = output channels x kernel area.
Init kaiming_normal(int64_t fan);
/// Glorot and Bengio 2010: bound sqrt(6 / (fan_in + fan_out)).
Init xavier_uniform(int64_t fan_in, int64_t fan_out);
}  // namespace init

struct Parameter {
  enum class Kind { parameter, buffer };
  std::string name;
  Tensor tensor;
  Kind kind = Kind::parameter;
  bool trainable = true;  // false for buffers and frozen parameters
  bool decay = true;      // whether weight decay applies
};

/// Every parameter and buffer of a model, in the order of declaration. Layers hold Tensors that share these bytes and
/// gradients, so what is changed in place here is changed there.
class ParameterSet {
 public:
  /// New values depend on the seed and the parameter's name only. dtype is that of floating parameters: f32, or f64 for
  /// tests. Those lie on `device`; counters and other integers stay on the cpu.
  explicit ParameterSet(uint64_t seed = 0, DType dtype = DType::f32, Device device = Device::cpu);
  ParameterSet(const ParameterSet&) = delete;

  const std::vector<Parameter>& all() const { return all_; }
  /// Those that an optimiser updates.
  std::vector<Parameter> trainable() const;
  /// Null if there is none of that name.
  const Parameter* find(const std::string& name) const;
  /// Elements of all parameters, without buffers.
  int64_t parameter_count() const;
  void clear_gradients() const;
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  /// All parameters and buffers under their names.
  std::vector<NamedTensor> named_tensors() const;
  void save(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata = {}) const;
  /// To be called when the model is built: an error if a file that values were taken from has tensors that nothing
  /// asked for, unless their names begin with one of `ignored`.
  void check_all_used(const std::vector<std::string>& ignored = {}) const;

 private:
  friend class Params;
  struct Source {
    Safetensors file;
    std::unordered_set<std::string> used;
  };
  Tensor add(Parameter parameter);

  uint64_t seed_;
  DType dtype_;
  Device device_;
  std::vector<Parameter> all_;
  std::unordered_map<std::string, size_t> index_;
  std::vector<std::shared_ptr<Source>> sources_;
};

/// A scope of names in a ParameterSet, cheap to copy; the set must outlive it. What is set on a scope holds for the
/// scopes below.
class Params {
 public:
  /// The top of a set whose values are drawn.
  Params(ParameterSet& set) : set_(&set) {}

  Params operator/(std::string_view name) const;
  Params operator/(int index) const { return *this / std::to_string(index); }

  /// Values below this scope are taken from the file, under the names that they have below this scope, after `prefix`
  /// ("encoder.", say). Every tensor asked for must be there with the right shape and a fitting dtype.
  Params from(const Safetensors& file, const std::string& prefix = "") const;
  /// Off: no gradients and no optimiser for what is below. A frozen value from a file is a view of it where the dtype
  /// is the same.
  Params trainable(bool on) const;
  /// Off: no weight decay for what is below.
  Params decay(bool on) const;

  /// A leaf in the set's dtype; f32, bf16, f16 and f64 in a file are converted. Weight decay applies if the scope
  /// allows it and the shape has at least 2 axes (so not to biases and norms); `decay` = false for an embedding.
  Tensor parameter(const std::string& name, const Shape& shape, const Init& init, bool decay = true) const;
  /// State without a gradient, such as running statistics, in memory of its own. Floating dtypes become the set's
  /// dtype, others must be the same in a file. If `optional`, a file may lack it, and then it has `value`.
  Tensor buffer(const std::string& name, const Shape& shape, double value, DType dtype = DType::f32,
                bool optional = false) const;

  const std::string& name() const { return prefix_; }
  ParameterSet& set() const { return *set_; }

 private:
  Tensor take(const std::string& name, const Shape& shape, DType dtype, bool own, bool optional) const;

  ParameterSet* set_;
  std::string prefix_;       // "layer1.0"
  std::string file_prefix_;  // "layer1.0." or empty
  std::shared_ptr<ParameterSet::Source> source_;
  bool trainable_ = true, decay_ = true;
};

}  // namespace weft
