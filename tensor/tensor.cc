#include "tensor/tensor.h"

#include <cstring>

#include "tensor/autograd.h"
#include "tensor/dispatch.h"
#ifdef WEFT_HAS_CUDA
#include "tensor/cuda.h"
#include "tensor/cuda_elements.h"
#include "tensor/host_work.h"
#endif

namespace weft {

namespace {

// Elements as a shape asks for them; an error if the product overflows or an extent is negative.
int64_t checked_bytes(const Shape& shape, DType dtype) {
  int64_t bytes = size_of(dtype);
  for (int64_t d : shape) {
    check(d >= 0, "[tensor] every extent must be at least 0 but the shape is {}", shape);
    check(!__builtin_mul_overflow(bytes, d, &bytes), "[tensor] shape {} has more bytes than can be counted", shape);
  }
  return bytes;
}

void defined_only(const Tensor& t, const char* what) { check(t.defined(), "[{}] the tensor is undefined", what); }

// Bytes from one place to another, on either device.
void copy_bytes(void* to, Device to_device, const void* from, Device from_device, int64_t bytes) {
  if (bytes == 0) return;
#ifdef WEFT_HAS_CUDA
  if (to_device == Device::cuda && from_device == Device::cuda) return cuda::copy_on_device(to, from, bytes);
  if (to_device == Device::cuda) return cuda::copy_to_device(to, from, bytes);
  if (from_device == Device::cuda) return cuda::copy_to_host(to, from, bytes);
#endif
  check(to_device == Device::cpu && from_device == Device::cpu, "[copy] this build has no cuda device");
  std::memcpy(to, from, bytes);
}

}  // namespace

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  Tensor t;
  t.storage_ = std::make_shared<Storage>(checked_bytes(shape, dtype), device);
  t.shape_ = shape;
  t.dtype_ = dtype;
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
#ifdef WEFT_HAS_CUDA
  if (device == Device::cuda) {
    cuda::zero(t.raw(), t.nbytes());
    return t;
  }
#endif
  if (t.nbytes() > 0) std::memset(t.raw(), 0, t.nbytes());
  return t;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.fill(value);
  return t;
}

Tensor Tensor::view_of(const void* bytes, const Shape& shape, DType dtype, std::shared_ptr<const void> owner) {
  Tensor t;
  t.storage_ = std::make_shared<Storage>(bytes, checked_bytes(shape, dtype), std::move(owner));
  t.shape_ = shape;
  t.dtype_ = dtype;
  return t;
}

Tensor Tensor::to(Device device) const {
  defined_only(*this, "to");
  if (this->device() == device) return *this;
  Tensor y;
#ifdef WEFT_HAS_CUDA
  if (device == Device::cuda && recording_graph()) {
    y = from_host(device, {*this}, [host = detach()] { return host; });
  }
#endif
  if (!y.defined()) {
    y = empty(shape_, dtype_, device);
    copy_bytes(y.raw(), device, raw(), this->device(), nbytes());
  }
  return record("to", y, {*this}, [before = this->device()](const Tensor& dy) -> Tensors { return {dy.to(before)}; });
}

double Tensor::item() const {
  defined_only(*this, "item");
  check(numel() == 1, "[item] the tensor must have 1 element but has shape {}", shape_);
  return to_doubles()[0];
}

std::vector<double> Tensor::to_doubles() const {
  defined_only(*this, "to_doubles");
  if (device() != Device::cpu) return detach().to(Device::cpu).to_doubles();
  std::vector<double> values(numel());
  on_any_dtype(dtype_, [&]<class T> {
    const T* x = data<T>();
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(x[i]);
  });
  return values;
}

void Tensor::fill(double value) const {
  defined_only(*this, "fill");
  mark_modified();
#ifdef WEFT_HAS_CUDA
  if (device() == Device::cuda) return fill_cuda(*this, value);
#endif
  on_any_dtype(dtype_, [&]<class T> { std::fill_n(data<T>(), numel(), convert<T>(value)); });
}

void Tensor::copy_from(const Tensor& source) const {
  defined_only(*this, "copy_from");
  defined_only(source, "copy_from");
  check(shape_ == source.shape(), "[copy_from] the shapes must be equal but are {} and {}", shape_, source.shape());
  mark_modified();
  if (dtype_ == source.dtype()) return copy_bytes(raw(), device(), source.raw(), source.device(), nbytes());
  const Tensor near = source.detach().to(device());
#ifdef WEFT_HAS_CUDA
  if (device() == Device::cuda) return convert_cuda(near, *this);
#endif
  on_any_dtype(dtype_, [&]<class To> {
    on_any_dtype(near.dtype(), [&]<class From> {
      To* y = data<To>();
      const From* x = near.data<From>();
      for (int64_t i = 0; i < numel(); ++i) y[i] = convert<To>(x[i]);
    });
  });
}

Tensor Tensor::clone() const {
  Tensor t = empty(shape_, dtype_, device());
  t.copy_from(*this);
  return t;
}

Tensor Tensor::reshape(const Shape& shape) const {
  Shape target = shape;
  int64_t known = 1;
  int open = -1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] >= 0) {
      known *= shape[i];
    } else {
      check(shape[i] == -1 && open < 0, "[reshape] one extent may be -1 but the shape is {}", shape);
      open = i;
    }
  }
  if (open >= 0) target[open] = known > 0 ? numel() / known : 0;
  check(defined() && target.numel() == numel(), "[reshape] the shapes must have equally many elements but are {} and {}", shape_,
        shape);
  Tensor y = detach();
  y.shape_ = target;
  return record("reshape", y, {*this}, [before = shape_](const Tensor& dy) -> Tensors { return {dy.reshape(before)}; });
}

Tensor Tensor::leading(int64_t begin, int64_t end) const {
  check(rank() >= 1 && 0 <= begin && begin <= end && end <= shape_[0],
        "[leading] 0 <= begin <= end <= extent must hold but begin is {}, end is {} and the shape is {}", begin, end, shape_);
  Tensor y = detach();
  y.shape_[0] = end - begin;
  const int64_t row_bytes = shape_.product(1, rank()) * size_of(dtype_);
  y.offset_ += begin * row_bytes;
  return record("leading", y, {*this}, [whole = shape_, offset = begin * row_bytes](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::zeros(whole, dy.dtype(), dy.device());
    copy_bytes(static_cast<char*>(dx.raw()) + offset, dx.device(), dy.raw(), dy.device(), dy.nbytes());
    return {dx};
  });
}

Tensor Tensor::detach() const {
  Tensor t = *this;
  t.slot_ = nullptr;
  return t;
}

Tensor& Tensor::set_requires_grad(bool on) {
  check(is_floating(dtype_), "[set_requires_grad] only floating tensors have gradients but the dtype is {}", dtype_);
  check(!slot_ || !slot_->producer, "[set_requires_grad] only a leaf can be told to keep its gradient, but this came from {}",
        slot_ && slot_->producer ? slot_->producer->name : "");
  slot_ = on ? std::make_shared<GradientSlot>() : nullptr;
  return *this;
}

bool Tensor::needs_grad() const { return slot_ && slot_->requires_grad && grad_enabled(); }
Tensor Tensor::grad() const { return slot_ ? slot_->gradient : Tensor(); }
void Tensor::clear_grad() const {
  if (slot_) slot_->gradient = Tensor();
}

}  // namespace weft
