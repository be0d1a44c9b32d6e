#include "nn/packing.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "kernels/arrange.h"
#include "tensor/host_work.h"

namespace weft {

namespace {

// Sixteen sizes between a power of two and the next above 128, multiples of 8 below.
int64_t rounded_rows(int64_t tokens) {
  const int64_t step = std::max<int64_t>(8, static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(tokens))) / 16);
  return (tokens + step - 1) / step * step;
}

// Where each text begins, and the end.
std::vector<int64_t> offsets_of(const char* name, const Tensor& host_mask) {
  const int64_t T = host_mask.dim(1);
  std::vector<int64_t> offsets{0};
  for (int64_t b = 0; b < host_mask.dim(0); ++b) {
    const bool* row = host_mask.data<bool>() + b * T;
    const int64_t length = std::find(row, row + T, false) - row;
    check(std::find(row + length, row + T, true) == row + T,
          "[{}] every row of mask must be true up to a length but row {} is not", name, b);
    offsets.push_back(offsets.back() + length);
  }
  return offsets;
}

}  // namespace

Packing::Packing(const char* name, const Tensor& mask, Device device, bool pack) {
  check(mask.rank() == 2 && mask.dtype() == DType::boolean, "[{}] mask must be bool [B, T] but is {} {}", name,
        mask.dtype(), mask.shape());
  B_ = mask.dim(0), T_ = longest_ = mask.dim(1);
  const Tensor host = mask.to(Device::cpu);
  if (recording_graph()) on_each_launch([=] { offsets_of(name, host); });
  std::vector<int64_t> offsets = offsets_of(name, host);
  tokens_ = offsets.back();
  if (tokens_ == B_ * T_ && !recording_graph()) return;
  const int64_t all = rounded_rows(tokens_);
  if (!pack || device != Device::cpu || all >= B_ * T_) {
    mask_ = mask.to(device);
    return;
  }
  longest_ = 0;
  std::vector<int64_t> rows;
  for (int64_t b = 0; b < B_; ++b) {
    const int64_t length = offsets[b + 1] - offsets[b];
    longest_ = std::max(longest_, length);
    for (int64_t t = 0; t < length; ++t) rows.push_back(b * T_ + t);
  }
  while (static_cast<int64_t>(rows.size()) < all) {
    rows.push_back(rows[0]);
    offsets.push_back(offsets.back() + 1);
  }
  rows_ = Tensor::from(rows, {all});
  offsets_ = Tensor::from(offsets, {static_cast<int64_t>(offsets.size())});
}

Tensor Packing::pack(const Tensor& x) const {
  Shape shape{B_ * T_};
  for (int axis = 2; axis < x.rank(); ++axis) shape.push_back(x.dim(axis));
  const Tensor all = x.reshape(shape);
  return packed() ? index_select(all, rows_) : all;
}

Tensor Packing::unpack(const Tensor& x) const {
  const Shape shape{B_, T_, x.dim(1)};
  if (!packed()) return x.reshape(shape);
  // The row after the last token's is what a position without a token shows.
  Tensor row_of = Tensor::full({B_ * T_}, static_cast<double>(rows()), DType::i64);
  for (int64_t i = 0; i < tokens_; ++i) row_of.data<int64_t>()[rows_.data<int64_t>()[i]] = i;
  return index_select(concat({x, Tensor::zeros({1, x.dim(1)}, x.dtype())}, 0), row_of).reshape(shape);
}

Tensor Packing::attend(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads, AttentionOptions options) const {
  const auto split = [&](const Tensor& x) {
    const int64_t D = x.dim(1) / heads;
    return packed() ? x.reshape({rows(), heads, D}) : x.reshape({B_, T_, heads, D});
  };
  options.mask = mask_;
  const Tensor y = packed() ? attention_packed(split(q), split(k), split(v), offsets_, options)
                            : attention(split(q), split(k), split(v), options);
  return y.reshape({rows(), q.dim(1)});
}

}  // namespace weft
