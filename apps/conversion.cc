#include "apps/conversion.h"

#include <cstring>

#include "nn/config.h"
#include "tensor/atomic_file.h"

namespace weft {

namespace fs = std::filesystem;

namespace {

// Bytes of one index of axis 0.
size_t row_bytes(const Tensor& t) { return t.dim(0) > 0 ? static_cast<size_t>(t.nbytes() / t.dim(0)) : 0; }

Tensor transposed(const Tensor& x) {
  const int64_t rows = x.dim(0), cols = x.dim(1), size = size_of(x.dtype());
  return strided_tensor_at({static_cast<const char*>(x.raw()), static_cast<size_t>(x.nbytes())}, {cols, rows}, {1, cols},
                           x.dtype(), fmt::format("a tensor of {} bytes an element", size));
}

Tensor permuted_rows(const Tensor& x, const std::vector<int64_t>& order) {
  Shape shape = x.shape();
  shape[0] = static_cast<int64_t>(order.size());
  const Tensor y = Tensor::zeros(shape, x.dtype());
  const size_t bytes = row_bytes(x);
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] >= 0) std::memcpy(static_cast<char*>(y.raw()) + i * bytes, static_cast<char*>(x.raw()) + static_cast<size_t>(order[i]) * bytes, bytes);
  }
  return y;
}

}  // namespace

ConversionBuilder::ConversionBuilder(const TensorFile& file, const ConversionOptions& options)
    : file_(file), options_(options), taken_(file.entries().size()) {
  config_file_ = options.config.empty() ? file.path().parent_path() / "config.json" : options.config;
  if (!options.config.empty() || fs::exists(config_file_)) config_ = read_json_file(config_file_);
  check_input(config_.is_null() || config_.is_object(), "{}: a JSON object was expected", config_name());
}

Shape ConversionBuilder::shape(const std::string& name, int rank) const {
  const TensorFile::Entry* entry = file_.find(name);
  check_input(entry, "{}: tensor {} is missing", file_.path().string(), quote(name));
  check_input(entry->shape.rank() == rank && entry->shape.numel() > 0, "{}: tensor {}: {} axes were expected but the shape is {}",
              file_.path().string(), quote(name), rank, entry->shape);
  return entry->shape;
}

int64_t ConversionBuilder::count(const std::string& prefix, const std::string& rest) const {
  int64_t n = 0;
  while (has(prefix + std::to_string(n) + rest)) ++n;
  return n;
}

const TensorFile::Entry& ConversionBuilder::use(const std::string& name) {
  const TensorFile::Entry* entry = file_.find(name);
  check_input(entry, "{}: tensor {} is missing", file_.path().string(), quote(name));
  taken_[static_cast<size_t>(entry - file_.entries().data())] = true;
  return *entry;
}

void ConversionBuilder::add(const std::string& target, std::vector<TensorFile::Entry> used, const Shape& shape,
                            std::function<Tensor()> make) {
  std::string source = used[0].name;
  for (size_t i = 1; i < used.size(); ++i) source += " + " + used[i].name.substr(used[i].name.find_last_of('.', used[i].name.size() - 8) + 1);
  const DType dtype = used[0].dtype;
  result.tensors.push_back({target, source, dtype, shape, std::move(make), std::move(used)});
}

void ConversionBuilder::take(const std::string& name, const std::string& target) {
  const TensorFile::Entry& e = use(name);
  add(target, {e}, e.shape, [&file = file_, e] { return file.load(e); });
}

void ConversionBuilder::take_transposed(const std::string& name, const std::string& target) {
  const Shape s = shape(name, 2);
  const TensorFile::Entry& e = use(name);
  add(target, {e}, {s[1], s[0]}, [&file = file_, e] { return transposed(file.load(e)); });
}

void ConversionBuilder::take_joined(const std::vector<std::string>& names, const std::string& target) {
  std::vector<TensorFile::Entry> parts;
  Shape shape;
  for (const std::string& name : names) {
    const TensorFile::Entry& e = use(name);
    Shape rest = e.shape, first = parts.empty() ? e.shape : parts[0].shape;
    check_input(rest.rank() >= 1 && rest.rank() == first.rank() && e.dtype == (parts.empty() ? e.dtype : parts[0].dtype),
                "{}: tensor {}: {} {} does not fit to {}", file_.path().string(), quote(name), e.dtype, e.shape, quote(names[0]));
    rest[0] = first[0] = 0;
    check_input(rest == first, "{}: tensor {}: shape {} does not fit to {}", file_.path().string(), quote(name), e.shape,
                quote(names[0]));
    if (parts.empty()) {
      shape = e.shape;
    } else {
      shape[0] += e.shape[0];
    }
    parts.push_back(e);
  }
  add(target, parts, shape, [&file = file_, parts, shape] {
    const Tensor y = Tensor::empty(shape, parts[0].dtype);
    char* to = static_cast<char*>(y.raw());
    for (const TensorFile::Entry& e : parts) {
      const Tensor x = file.load(e);
      std::memcpy(to, x.raw(), static_cast<size_t>(x.nbytes()));
      to += x.nbytes();
    }
    return y;
  });
}

void ConversionBuilder::take_permuted(const std::string& name, const std::string& target, const std::vector<int64_t>& order,
                                      int axis) {
  const TensorFile::Entry& e = use(name);
  check_input(axis < e.shape.rank() && e.shape.rank() <= 2, "{}: tensor {}: a vector or a matrix was expected but the shape is {}",
              file_.path().string(), quote(name), e.shape);
  for (const int64_t i : order) {
    check_input(i < e.shape[axis], "{}: tensor {}: shape {} has no index {} on axis {}", file_.path().string(), quote(name),
                e.shape, i, axis);
  }
  Shape shape = e.shape;
  shape[axis] = static_cast<int64_t>(order.size());
  add(target, {e}, shape, [&file = file_, e, order, axis] {
    const Tensor x = file.load(e);
    return axis == 0 ? permuted_rows(x, order) : transposed(permuted_rows(transposed(x), order));
  });
}

void ConversionBuilder::take_reshaped(const std::string& name, const std::string& target, const Shape& shape) {
  const TensorFile::Entry& e = use(name);
  check_input(shape.numel() == e.shape.numel(), "{}: tensor {}: {} elements were expected but the shape is {}",
              file_.path().string(), quote(name), shape.numel(), e.shape);
  add(target, {e}, shape, [&file = file_, e, shape] { return file.load(e).reshape(shape); });
}

void ConversionBuilder::take_all(const std::string& prefix, const std::string& target) {
  for (size_t i = 0; i < taken_.size(); ++i) {
    const std::string name = file_.entries()[i].name;
    if (!taken_[i] && name.starts_with(prefix)) take(name, target + name.substr(prefix.size()));
  }
}

void ConversionBuilder::leave(const std::string& prefix, const std::string& why, const std::string& ending) {
  for (size_t i = 0; i < taken_.size(); ++i) {
    const TensorFile::Entry& e = file_.entries()[i];
    if (taken_[i] || !e.name.starts_with(prefix) || !e.name.ends_with(ending)) continue;
    taken_[i] = true;
    result.left_out.push_back({e.name, why, e.shape, e.dtype});
  }
}

void ConversionBuilder::must_agree(const char* key, int64_t found) const {
  if (config_.is_null() || !config_.contains(key)) return;
  check_input(config_[key].is_number_integer() && config_[key] == found, "{}: {} is {} but the tensors of {} say {}", config_name(),
              key, shown(config_[key]), file_.path().string(), found);
}

nlohmann::json ConversionBuilder::config_or(const char* key, nlohmann::json otherwise) const {
  return !config_.is_null() && config_.contains(key) && !config_[key].is_null() ? config_[key] : std::move(otherwise);
}

Conversion plan_conversion(const TensorFile& file, const ConversionOptions& options) {
  using Recogniser = bool (*)(ConversionBuilder&);
  for (const Recogniser convert : {&convert_embracenet, &convert_cascade, &convert_clip, &convert_t5, &convert_xlm_roberta, &convert_resnext}) {
    ConversionBuilder b(file, options);
    if (!convert(b)) continue;
    b.leave("", "not part of the model");
    return std::move(b.result);
  }
  fail("{}: the tensors' names must be those of mT5, XLM-R or M-CLIP, CLIP, ResNeXt, EmbraceNet or the cascade but the first is {}",
       file.path().string(), quote(file.entries().empty() ? "none" : file.entries()[0].name));
}

}  // namespace weft
