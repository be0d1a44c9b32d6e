// The door to oneDNN 2.6, which matmul, conv2d and pooling share: primitives and packed weights that are made once and
// found again.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace weft::onednn {

/// The one engine: the CPU.
const dnnl::engine& engine();

/// f32 or bf16 as oneDNN names it.
dnnl::memory::data_type type_of(DType dtype);

/// Whether oneDNN computes in this dtype on this processor: bf16 needs AVX-512. Where it does not, an op runs on f32 copies
/// (widened) and rounds its result (round_to), which is what oneDNN's own bf16 comes to: sums are in f32 either way.
bool computes(DType dtype);

/// What tells one primitive from another: its kind, dtypes, sizes and options as numbers. The thread count is added to
/// every key.
class Key {
 public:
  Key(std::initializer_list<int64_t> words);
  Key& operator<<(int64_t word);
  bool operator==(const Key& other) const;
  size_t hash() const;

 private:
  static constexpr int capacity = 24;
  int64_t words_[capacity];
  int count_ = 0;
};

/// A memory layout with a number of its own, so that layouts can be told apart without comparing them.
struct Layout {
  dnnl::memory::desc desc;
  int id = 0;
};
Layout layout_of(const dnnl::memory::desc& desc);

/// A primitive, the layouts of its arguments in the order in which run() takes their data, and the two layouts of its
/// weights.
struct Plan {
  dnnl::primitive primitive;
  std::vector<std::pair<int, dnnl::memory::desc>> arguments;  // DNNL_ARG_... and layout
  dnnl::memory::desc scratchpad;
  Layout given;   // weights as the tensor holds them
  Layout wanted;  // weights as the primitive takes them
};
using PlanPointer = std::shared_ptr<const Plan>;

/// Attributes that every primitive here is made with: the scratchpad is ours.
dnnl::primitive_attr attributes();

/// The plan of that key, made on first use. At most 1024 are kept, the least recently used goes first. Thread-safe.
PlanPointer plan(const Key& key, const std::function<Plan()>& make);

/// Runs the primitive; `data` in the order of plan.arguments. The scratchpad comes from the tensors' allocator and goes
/// back to it.
void run(const Plan& plan, std::initializer_list<const void*> data);

/// The elements of `from` rearranged.
void reorder(const Layout& from_layout, const void* from, const Layout& to_layout, void* to);

/// `w` (in plan.given) in the layout plan.wanted: w itself if the layouts are one. With `keep`, for weights that do not
/// change from call to call, the packed copy is kept until w's storage is modified or freed; 2 GiB are kept at most.
/// Thread-safe.
Tensor packed(const Tensor& w, const Plan& plan, bool keep);

/// Weights packed for the kernels that are not oneDNN's; kept like packed(). make() may depend on w and `way` alone.
enum class Way {
  grouped,
  grouped_gradient,
  grouped_gradient_stride_2,
  dense,
  dense_gradient,
  dense_gradient_stride_2,
  pointwise,
  winograd,
  winograd_gradient,
  widened
};
Tensor packed(const Tensor& w, Way way, bool keep, const std::function<Tensor()>& make);

/// t in f32: t itself if it is, undefined if t is. With `keep`, for weights, the copy is kept like packed()'s.
Tensor widened(const Tensor& t, bool keep = false);
/// y = x rounded to y's dtype; nothing if x is y.
void round_to(const Tensor& y, const Tensor& x);

/// Bytes of packed weights kept now.
int64_t packed_bytes();

}  // namespace weft::onednn
