// Results that the tape does not keep.
#pragma once

#include <functional>

#include "tensor/autograd.h"

namespace weft {

/// f(inputs), of which the tape keeps the inputs alone: what f makes on its way is freed at once and made again when
/// the gradient arrives (Chen et al. 2016, https://arxiv.org/abs/1604.06174). f is called twice, so it must depend on
/// its inputs alone, draw nothing at random, and find every tensor that needs a gradient among them. `forward`, if
/// given, makes the result in its place the first time: the same numbers by a shorter way that no tape could follow.
Tensor recompute(const char* name, const Tensors& inputs, std::function<Tensor(const Tensors&)> f,
                 const std::function<Tensor(const Tensors&)>& forward = {});

namespace tape {
/// Whether ops are recorded on this thread from now on; returns whether they were.
bool set_recording(bool on);
}  // namespace tape

}  // namespace weft
