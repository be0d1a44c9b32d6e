// Draws of indices with given probabilities.
#pragma once

#include "tensor/philox.h"
#include "tensor/tensor.h"

namespace weft {

/// p [B, K] weights of at least 0, finite, of any positive sum a row -> i64 [B, count], drawn with replacement.
/// Takes 2 * B * count numbers of `random`: a draw needs 53 bits, since K may be the size of a vocabulary.
Tensor multinomial(const Tensor& p, int64_t count, Random& random);

}  // namespace weft
