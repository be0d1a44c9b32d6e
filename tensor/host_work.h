// What the host adds to work on the cuda device: values that it computes for it, counters that it moves on. While a
// graph is recorded (tensor/cuda_graph.h) such work is kept and done before each of the graph's launches, so that a
// recorded training step sees new batches, draws and learning rates.
#pragma once

#include <functional>

#include "tensor/tensor.h"

namespace weft {

/// Whether a graph is recorded now: shapes, and what is left out, must not depend on values.
bool recording_graph();

/// Does `work` now, or, while a graph is recorded, before each of its launches instead, in the order of these calls.
void on_each_launch(std::function<void()> work);

/// The host tensor that compute() returns, on `device`. While a graph is recorded compute() is kept and called before
/// each launch; its shape and dtype must stay the same. `read` are the host tensors that it reads; one that was made
/// while recording is an error, since it would stay what it was then.
Tensor from_host(Device device, const Tensors& read, std::function<Tensor()> compute);

}  // namespace weft
