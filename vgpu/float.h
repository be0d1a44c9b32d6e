// What the files of float instructions share.
#pragma once

#include <cmath>

#include "vgpu/decoder.h"
#include "vgpu/half.h"

namespace vgpu {

// Subnormals become zero of their sign.
inline float flush(float v) { return (bits(v) & 0x7f800000) == 0 ? f32(bits(v) & 0x80000000) : v; }
inline float canonical(float v) { return v != v ? f32(0x7fffffff) : v; }
inline double canonical(double v) { return v; }
inline float saturate(float v) { return v > 0 ? (v < 1 ? v : 1.f) : 0.f; }

enum class HalfOp : u16 { add, sub, mul, fma, min, max, neg, abs };
void decode_half(Decoder& d, Type t, HalfOp op);  // ops_half.cc

enum class Approximation : u16 { rcp, sqrt, rsqrt, ex2, lg2, sin, cos, tanh };
void decode_approximation(Decoder& d, Approximation op);  // ops_approx.cc; after "approx"
void decode_approximate(Decoder& d, Approximation op);    // opcodes that have no other form
void decode_perturbed_division(Decoder& d);

}  // namespace vgpu
