// A batch of texts without the padding between them, so that short texts cost what they should: linear layers and norms
// see the tokens' rows alone, attention each text's.
#pragma once

#include "kernels/attention.h"

namespace weft {

class Packing {
 public:
  /// mask bool [B, T], each row true up to its text's length; anything else is an error that begins with `name`. Packed
  /// if `pack`, a token is missing and the rows lie on the cpu; otherwise rows are all B T positions, and the mask hides
  /// the padding: a step on the cuda device keeps its shapes, which a CUDA graph needs.
  Packing(const char* name, const Tensor& mask, Device device, bool pack = true);
  /// B sequences of T rows each, without padding.
  Packing(int64_t B, int64_t T) : B_(B), T_(T), longest_(T) {}

  /// Tokens, and up to a sixteenth more that nothing sees: libraries make a product for every size, so that a few sizes
  /// must do for all batches.
  int64_t rows() const { return packed() ? rows_.numel() : B_ * T_; }
  /// What a relative position is taken over: the longest text if packed, else T.
  int64_t length() const { return longest_; }
  /// x [B, T, ..] -> [rows, ..], on the device where x lies.
  Tensor pack(const Tensor& x) const;
  /// x [rows, C] -> [B, T, C]; positions without a token are zeros if packed.
  Tensor unpack(const Tensor& x) const;
  /// q, k, v [rows, heads D], options without a mask, a bias of [heads, length(), length()] -> [rows, heads D].
  Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads, AttentionOptions options) const;

 private:
  bool packed() const { return offsets_.defined(); }
  int64_t B_, T_, longest_;
  Tensor mask_;             // where the rows lie; undefined if packed or if there is no padding
  Tensor offsets_, rows_;   // i64: where each text begins, and the end; the position b T + t of each row
  int64_t tokens_ = 0;      // of rows_; the others repeat the first and are texts of their own
};

}  // namespace weft
