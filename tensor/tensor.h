// The one tensor class: a dense, row-major view of shared storage, with its place on the tape.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "tensor/device.h"
#include "tensor/dtype.h"
#include "tensor/memory.h"
#include "tensor/shape.h"

namespace weft {

struct GradientSlot;  // tensor/autograd.h

/// Copying a Tensor copies the view, never the elements. Tensors are always contiguous: reshape and leading-axis views are
/// free, every other rearrangement is an op of its own that moves bytes.
class Tensor {
 public:
  Tensor() = default;

  /// Elements are uninitialised.
  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu);
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu);
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = Device::cpu);
  /// A copy of host values.
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape) {
    check(static_cast<int64_t>(values.size()) == shape.numel(), "[from] shape {} needs {} values but {} were given", shape,
          shape.numel(), values.size());
    Tensor t = empty(shape, dtype_of<T>);
    std::copy(values.begin(), values.end(), t.data<T>());
    return t;
  }
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape) {
    return from(std::span<const T>(values), shape);
  }
  /// A view of bytes that `owner` keeps alive (a mapped file); nobody may write to it.
  static Tensor view_of(const void* bytes, const Shape& shape, DType dtype, std::shared_ptr<const void> owner);

  bool defined() const { return storage_ != nullptr; }
  explicit operator bool() const { return defined(); }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t numel() const { return shape_.numel(); }
  int64_t nbytes() const { return numel() * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_ ? storage_->device : Device::cpu; }
  /// The tensor seen as a matrix: the last axis is a row's length. A tensor without axes is one row of one.
  int64_t cols() const { return rank() ? shape_[-1] : 1; }
  int64_t rows() const { return rank() ? shape_.product(0, rank() - 1) : 1; }

  /// The elements of a tensor on the cpu; T must be the dtype.
  template <class T>
  T* data() const {
    check(dtype_ == dtype_of<T>, "[data] the dtype must be {} but is {}", dtype_of<T>, dtype_);
    check(device() == Device::cpu, "[data] the host cannot follow a pointer of device {}", device());
    return reinterpret_cast<T*>(raw());
  }
  /// Where the elements lie. On the cuda device only kernels and copies may follow it.
  void* raw() const { return storage_ ? static_cast<char*>(storage_->data) + offset_ : nullptr; }
  const std::shared_ptr<Storage>& storage() const { return storage_; }
  int64_t byte_offset() const { return offset_; }
  /// To be called after the elements were changed in place, so that nothing derived from them is used again.
  void mark_modified() const { ++storage_->version; }

  /// The same elements on a device: this tensor itself if it is there. Differentiable.
  Tensor to(Device device) const;
  /// The value of a tensor of one element.
  double item() const;
  /// All elements, converted.
  std::vector<double> to_doubles() const;
  /// The elements of `source`, converted to this dtype, in place of the present ones. Shapes must be equal.
  void copy_from(const Tensor& source) const;
  void fill(double value) const;
  /// A copy of the elements in storage of its own, off the tape.
  Tensor clone() const;

  /// The same elements with another shape; one extent may be -1. Differentiable.
  Tensor reshape(const Shape& shape) const;
  /// Rows [begin, end) of the leading axis, a view. Differentiable.
  Tensor leading(int64_t begin, int64_t end) const;
  /// The same elements off the tape.
  Tensor detach() const;

  /// Makes this a leaf whose gradient is kept (parameters, inputs under test).
  Tensor& set_requires_grad(bool on = true);
  /// Whether an op on this tensor has to be recorded: it depends on a leaf that requires a gradient, and no NoGrad is active.
  bool needs_grad() const;
  /// The accumulated gradient of a leaf; undefined if none has arrived.
  Tensor grad() const;
  void clear_grad() const;
  const std::shared_ptr<GradientSlot>& slot() const { return slot_; }
  void attach(std::shared_ptr<GradientSlot> slot) { slot_ = std::move(slot); }

 private:
  std::shared_ptr<Storage> storage_;
  int64_t offset_ = 0;  // bytes
  Shape shape_;
  DType dtype_ = DType::f32;
  std::shared_ptr<GradientSlot> slot_;
};

using Tensors = std::vector<Tensor>;

inline Tensor empty_like(const Tensor& x) { return Tensor::empty(x.shape(), x.dtype(), x.device()); }
inline Tensor zeros_like(const Tensor& x) { return Tensor::zeros(x.shape(), x.dtype(), x.device()); }

}  // namespace weft
