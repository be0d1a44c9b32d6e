// EmbraceNet's fusion: every feature of a row comes from one modality, drawn with the row's probabilities.
// Source: Choi and Lee, "EmbraceNet: A robust deep learning architecture for multimodal classification", Information
// Fusion 51 (2019).
#pragma once

#include "tensor/philox.h"
#include "tensor/tensor.h"

namespace weft {

struct EmbracementOptions {
  bool expected = false;  // the probability-weighted mean in place of a draw
};

/// docked [B, K, C], weights [B, K] f32, at least 0 and not normalised (availability times selection probability) -> y
/// [B, C]. p[b] = weights[b] / sum(weights[b]); sampled: y[b, c] = docked[b, k, c] with k drawn from p[b]; expected:
/// y[b, c] = sum over k of p[b, k] docked[b, k, c]. The draw for (b, c) takes number b * C + c of a stream of B * C
/// uniforms u in [0, 1): k is the lowest index with u * S(K-1) < S(k), S(k) = w(0) + .. + w(k) added in that order in
/// f32; should rounding leave none, the last k with w(k) > 0. `random` may be null only if expected. Gradient to docked
/// only. A row without a positive weight is an error. Weights may be on the cpu whatever the device of docked, which spares a wait for them.
Tensor embracement(const Tensor& docked, const Tensor& weights, Random* random, const EmbracementOptions& options = {});

/// y[b, c] = docked[b, drawn[b, c], c] with drawn [B, C] i64 in [0, K).
Tensor embracement(const Tensor& docked, const Tensor& drawn);

}  // namespace weft
