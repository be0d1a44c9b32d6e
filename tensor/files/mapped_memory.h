// The memory that mapped files take, for those who do not know where a tensor comes from.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// To be called when what is needed of a tensor's bytes was copied: if they are a view of a mapped file, the pages
/// wholly theirs no longer count as the program's memory, and are read again when looked at again.
void forget_mapped(const Tensor& tensor);

}  // namespace weft
