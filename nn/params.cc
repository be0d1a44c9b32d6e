#include "nn/params.h"

#include <algorithm>
#include <cmath>

#include "tensor/atomic_file.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"
#include "tensor/philox.h"

namespace weft {

namespace init {
Init kaiming_uniform(int64_t fan_in, double a) {
  return uniform(fan_in > 0 ? std::sqrt(6.0 / ((1 + a * a) * static_cast<double>(fan_in))) : 0);
}
Init kaiming_normal(int64_t fan) { return normal(fan > 0 ? std::sqrt(2.0 / static_cast<double>(fan)) : 0); }
Init xavier_uniform(int64_t fan_in, int64_t fan_out) {
  return uniform(std::sqrt(6.0 / static_cast<double>(fan_in + fan_out)));
}
}  // namespace init

namespace {

// FNV-1a, then Philox: a stream of its own for every name.
PhiloxStream stream_for(uint64_t seed, const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  const auto words = philox4x32(seed, hash);
  return {uint64_t{words[1]} << 32 | words[0], 0};
}

Tensor draw(const Init& init, const Shape& shape, DType dtype, uint64_t seed, const std::string& name) {
  if (init.kind == Init::Kind::constant) return Tensor::full(shape, init.value, dtype);
  const PhiloxStream stream = stream_for(seed, name);
  Tensor t = Tensor::empty(shape, dtype);
  on_device("parameter", t, [&]<class T> {
    T* x = t.data<T>();
    const int64_t n = t.numel();
#pragma omp parallel for schedule(static) if (n > 1 << 14)
    for (int64_t i = 0; i < n; ++i) {
      // Through float, so that an f64 set begins at the same point as an f32 one.
      const auto u = static_cast<uint64_t>(i);
      x[i] =
          convert<T>(static_cast<float>(init.kind == Init::Kind::normal ? init.value * stream.normal(u)
                                                                        : init.value * (2.0 * stream.uniform(u) - 1)));
    }
  });
  return t;
}

std::string joined(const std::string& prefix, std::string_view name) {
  return prefix.empty() ? std::string(name) : prefix + "." + std::string(name);
}

}  // namespace

ParameterSet::ParameterSet(uint64_t seed, DType dtype, Device device) : seed_(seed), dtype_(dtype), device_(device) {
  check(dtype == DType::f32 || dtype == DType::f64, "[params] parameters must be f32 or f64 but the dtype is {}",
        dtype);
}

std::vector<Parameter> ParameterSet::trainable() const {
  std::vector<Parameter> list;
  std::copy_if(all_.begin(), all_.end(), std::back_inserter(list), [](const Parameter& p) { return p.trainable; });
  return list;
}

const Parameter* ParameterSet::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &all_[found->second];
}

int64_t ParameterSet::parameter_count() const {
  int64_t count = 0;
  for (const Parameter& p : all_) count += p.kind == Parameter::Kind::parameter ? p.tensor.numel() : 0;
  return count;
}

void ParameterSet::clear_gradients() const {
  for (const Parameter& p : all_) p.tensor.clear_grad();
}

std::vector<NamedTensor> ParameterSet::named_tensors() const {
  std::vector<NamedTensor> list;
  for (const Parameter& p : all_) list.push_back({p.name, p.tensor.detach()});
  return list;
}

void ParameterSet::save(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata) const {
  write_safetensors(path, named_tensors(), metadata);
}

void ParameterSet::check_all_used(const std::vector<std::string>& ignored) const {
  for (const auto& source : sources_) {
    const std::string* first = nullptr;
    int64_t count = 0;
    for (const auto& entry : source->file.entries()) {
      const bool skip = source->used.contains(entry.name) ||
                        std::any_of(ignored.begin(), ignored.end(),
                                    [&](const std::string& prefix) { return entry.name.starts_with(prefix); });
      if (skip) continue;
      if (count++ == 0) first = &entry.name;
    }
    check_input(count == 0, "{}: every tensor must be one of the model's but {} {} not: {}{}", source->file.path(),
                count, count == 1 ? "is" : "are", quote(first ? *first : ""), count > 1 ? ", ..." : "");
  }
}

Tensor ParameterSet::add(Parameter parameter) {
  check(index_.emplace(parameter.name, all_.size()).second,
        "[params] every name must be declared once but '{}' is declared twice", parameter.name);
  if (is_floating(parameter.tensor.dtype())) parameter.tensor = parameter.tensor.to(device_);
  if (parameter.trainable) parameter.tensor.set_requires_grad();
  all_.push_back(std::move(parameter));
  return all_.back().tensor;
}

Params Params::operator/(std::string_view name) const {
  Params scope = *this;
  scope.prefix_ = joined(prefix_, name);
  if (source_) scope.file_prefix_ += std::string(name) + ".";
  return scope;
}

Params Params::from(const Safetensors& file, const std::string& prefix) const {
  Params scope = *this;
  scope.file_prefix_ = prefix;
  // Scopes of one file share one list of what was used.
  const auto same = std::find_if(set_->sources_.begin(), set_->sources_.end(),
                                 [&](const auto& source) { return source->file.is(file); });
  if (same != set_->sources_.end()) {
    scope.source_ = *same;
  } else {
    scope.source_ = set_->sources_.emplace_back(std::make_shared<ParameterSet::Source>(ParameterSet::Source{file, {}}));
  }
  return scope;
}

Params Params::trainable(bool on) const {
  Params scope = *this;
  scope.trainable_ = on;
  return scope;
}

Params Params::decay(bool on) const {
  Params scope = *this;
  scope.decay_ = on;
  return scope;
}

// `own`: the result may be written to. Undefined if it is optional and the file lacks it.
Tensor Params::take(const std::string& name, const Shape& shape, DType dtype, bool own, bool optional) const {
  const std::string key = file_prefix_ + name;
  const Safetensors& file = source_->file;
  const Safetensors::Entry* entry = file.find(key);
  if (!entry && optional) return {};
  check_input(entry, "{}: tensor {} is missing, the model needs it as {} {}", file.path(), quote(key), dtype, shape);
  check_input(entry->shape == shape, "{}: tensor {}: the shape must be {} but is {}", file.path(), quote(key), shape,
              entry->shape);
  check_input(is_floating(dtype) ? is_floating(entry->dtype) : entry->dtype == dtype,
              "{}: tensor {}: the dtype must be {} but is {}", file.path(), quote(key),
              is_floating(dtype) ? "f32, bf16, f16 or f64" : name_of(dtype), entry->dtype);
  source_->used.insert(key);
  Tensor value = file.tensor(key);
  if (value.dtype() == dtype && (!own || !value.storage()->owner)) return value;
  Tensor copy = Tensor::empty(shape, dtype);
  copy.copy_from(value);
  file.forget(key);
  return copy;
}

Tensor Params::parameter(const std::string& name, const Shape& shape, const Init& init, bool decay) const {
  const std::string full = joined(prefix_, name);
  const DType dtype = set_->dtype_;
  Tensor value = source_ ? take(name, shape, dtype, trainable_, false) : draw(init, shape, dtype, set_->seed_, full);
  return set_->add({full, value, Parameter::Kind::parameter, trainable_, decay && decay_ && shape.rank() >= 2});
}

Tensor Params::buffer(const std::string& name, const Shape& shape, double value, DType dtype, bool optional) const {
  const DType stored = is_floating(dtype) ? set_->dtype_ : dtype;
  Tensor tensor = source_ ? take(name, shape, stored, true, optional) : Tensor();
  if (!tensor.defined()) tensor = Tensor::full(shape, value, stored);
  return set_->add({joined(prefix_, name), tensor, Parameter::Kind::buffer, false, false});
}

}  // namespace weft
