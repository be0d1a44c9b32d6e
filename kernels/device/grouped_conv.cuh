// 3x3 convolutions in groups of G = 4, 8 or 16 channels, as many out as in. A product of matrices that small would
// leave the tensor cores' fragments mostly empty, and there is little to compute a byte: 9 G multiply-adds an output, 9
// to 36 FLOP for every byte moved in f32. So: plain multiply-adds in f32, everything 16 bytes (8 in bf16) at a time,
// four channels (a "quad") a thread.
//
// A group's G / 4 quads are read by each of its G / 4 threads. They start at different quads, so that the lanes of a
// warp always read neighbouring quads: whole sectors.
#pragma once

#include "kernels/device/divide.cuh"
#include "kernels/device/vector.cuh"

namespace weft::grouped {

constexpr int threads = 256;

/// Neighbouring output pixels of a thread: with a step of 2 their inputs do not overlap as much and need more
/// registers.
template <int Step> constexpr int pixels = Step == 1 ? 4 : 2;

/// Weights [C, G, 3, 3] are turned in tiles of some neighbouring outputs, whole groups: 8 f32 side by side fill a
/// sector. A row of a tile is an output's 9 G weights; one element between rows keeps lanes off each other's banks.
__host__ __device__ constexpr int turn_outputs(int group) { return group < 8 ? 8 : group; }
inline dim3 turn_grid(int64_t channels, int64_t group) {
  return dim3(static_cast<unsigned>(ceil_div<int64_t>(channels, turn_outputs(static_cast<int>(group)))));
}
inline size_t turn_shared(int64_t group) {
  return sizeof(float) * turn_outputs(static_cast<int>(group)) * (9 * group + 1);
}

/// What the correlation kernel reads: taps x taps weights from every channel of a group to every output channel, f32,
/// [tap][G in][C out]. Forward: the weights [C, G, 3, 3]. Input gradient: those of a phase (stride 1: all) mirrored,
/// with zeros where the phase has fewer taps. One block a tile of outputs.
template <class T>
__global__ void table_kernel(const T* w, float* table, int channels, int group, int taps, bool forward, int stride,
                             int first_y, int first_x) {
  extern __shared__ float tile[];
  const int first = blockIdx.x * turn_outputs(group), outs = min(turn_outputs(group), channels - first);
  const int row = 9 * group;
  for (int i = threadIdx.x; i < outs * row; i += threads) {
    tile[i / row * (row + 1) + i % row] = to_float(w[static_cast<int64_t>(first) * row + i]);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < taps * taps * group * outs; i += threads) {
    const int out = i % outs, in = i / outs % group, tap = i / outs / group;
    int y = tap / taps, x = tap % taps, o = out, c = in;
    if (!forward) {
      y = first_y + stride * (taps - 1 - y), x = first_x + stride * (taps - 1 - x);
      o = out / group * group + in, c = out % group;
    }
    table[(static_cast<int64_t>(tap) * group + in) * channels + first + out] =
        y < 3 && x < 3 ? tile[o * (row + 1) + (c * 3 + y) * 3 + x] : 0.0f;
  }
}

/// Sizes of a correlation: output pixel (u, v) of the grid sums input pixels (u step + origin_y + p, v step + origin_x
/// + q) over p, q in [0, taps).
struct Sizes {
  int n, channels;
  int in_height, in_width, origin_y, origin_x;
  int grid_height, grid_width;                        // a thread has pixels<Step> neighbours along v
  int out_height, out_width, out_y, out_x, out_step;  // grid pixel (u, v) lies at (out_y + out_step u, ..)
};

/// Block: `quads` neighbouring quads (blockIdx.x) x threads / quads runs of pixels<Step> at a time; blockIdx.y and then
/// strides of gridDim.y for more runs. The weights of the block's quads stay in shared memory: taps^2 G 4 quads floats.
/// Napkin maths a run and input quad in f32, 3 taps, step 1: 6 128-bit loads a row, 12 128-bit shared reads a row
/// without conflicts (neighbouring quads), 576 multiply-adds. Registers: 16 sums, 24 inputs.
template <class T, int G, int Step, int Taps>
__global__ __launch_bounds__(threads, 3) void correlate_kernel(const T* x, const float* table, const T* bias, bool relu,
                                                               T* y, Sizes s, int quads) {
  extern __shared__ __align__(16) float weights[];  // [tap][G][4 quads]
  using Quad = Pack<T, 4>;
  const int strip = 4 * quads, first = blockIdx.x * strip, present = min(strip, s.channels - first);
  for (int i = threadIdx.x; i < Taps * Taps * G * strip; i += threads) {
    const int c = i % strip;
    weights[i] = c < present ? table[i / strip * s.channels + first + c] : 0.0f;
  }
  __syncthreads();
  const int quad = threadIdx.x % quads, slots = threads / quads, slot = threadIdx.x / quads;
  if (slot >= slots || 4 * quad >= present) return;
  const int channel = first + 4 * quad, group = channel / G * G;
  const int runs_a_row = (s.grid_width + pixels<Step> - 1) / pixels<Step>, runs = s.n * s.grid_height * runs_a_row;
  for (int run = blockIdx.y * slots + slot; run < runs; run += gridDim.y * slots) {
    const int v = run % runs_a_row * pixels<Step>, u = run / runs_a_row % s.grid_height,
              n = run / runs_a_row / s.grid_height;
    float sums[pixels<Step>][4] = {};
    constexpr int columns = (pixels<Step> - 1) * Step + Taps;
#pragma unroll 1
    for (int i = 0; i < G / 4; ++i) {
      const int in = (channel % G / 4 + i) % (G / 4) * 4;
// Unrolled, the loads of all rows would be in registers at once.
#pragma unroll 1
      for (int p = 0; p < Taps; ++p) {
        const int iy = u * Step + s.origin_y + p;
        if (iy < 0 || iy >= s.in_height) continue;
        const T* row = x + static_cast<int64_t>(n * s.in_height + iy) * s.in_width * s.channels + group + in;
        float values[columns][4];
#pragma unroll
        for (int column = 0; column < columns; ++column) {
          const int ix = v * Step + s.origin_x + column;
          const bool inside = ix >= 0 && ix < s.in_width;
          Quad four = {};
          if (inside) four = Quad::load(row + static_cast<int64_t>(ix) * s.channels);
#pragma unroll
          for (int c = 0; c < 4; ++c) values[column][c] = inside ? four[c] : 0.0f;
        }
#pragma unroll
        for (int q = 0; q < Taps; ++q) {
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            const float4 w =
                *reinterpret_cast<const float4*>(weights + ((p * Taps + q) * G + in + c) * strip + 4 * quad);
#pragma unroll
            for (int k = 0; k < pixels<Step>; ++k) {
              const float value = values[k * Step + q][c];
              sums[k][0] = fmaf(value, w.x, sums[k][0]);
              sums[k][1] = fmaf(value, w.y, sums[k][1]);
              sums[k][2] = fmaf(value, w.z, sums[k][2]);
              sums[k][3] = fmaf(value, w.w, sums[k][3]);
            }
          }
        }
      }
    }
    const int oy = s.out_y + s.out_step * u;
#pragma unroll
    for (int k = 0; k < pixels<Step>; ++k) {
      if (v + k >= s.grid_width) continue;
      Quad out;
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const float z = sums[k][c] + (bias ? to_float(bias[channel + c]) : 0.0f);
        out.set(c, relu && z < 0 ? 0.0f : z);
      }
      const int ox = s.out_x + s.out_step * (v + k);
      out.store(y + (static_cast<int64_t>(n * s.out_height + oy) * s.out_width + ox) * s.channels + channel);
    }
  }
}

/// Partial weight gradients of one row of taps (blockIdx.z): partial [piece][tap][G in][C out] in f32.
/// A thread has one quad of outputs and one quad of inputs of the same group, and walks along rows of dz: 16
/// multiply-adds for each of 3 taps an output pixel, for 128 bits of dz and (step 1) 128 bits of x. Threads of a block:
/// `pairs` pairs of quads x threads / pairs pieces; neighbouring lanes have neighbouring quads of dz. Registers: 48
/// sums.
template <class T, int G, int Step>
__global__ __launch_bounds__(threads, 2) void weights_kernel(const T* x, const T* dz, float* partial, int n, int height,
                                                             int width, int channels, int out_height, int out_width,
                                                             int padding, int pairs, int pieces) {
  using Quad = Pack<T, 4>;
  const int pair = blockIdx.x * pairs + threadIdx.x % pairs, slots = threads / pairs, slot = threadIdx.x / pairs;
  const int piece = blockIdx.y * slots + slot, p = blockIdx.z, quads = channels / 4;
  if (slot >= slots || pair >= quads * (G / 4) || piece >= pieces) return;
  const int out = pair % quads * 4, group = out / G * G, in = (out % G / 4 + pair / quads) % (G / 4) * 4;
  float sums[3][4][4] = {};  // [tap][in][out]
  for (int row = piece; row < n * out_height; row += pieces) {
    const int iy = row % out_height * Step + p - padding;
    if (iy < 0 || iy >= height) continue;
    const T* from = x + static_cast<int64_t>(row / out_height * height + iy) * width * channels + group + in;
    const T* gradient = dz + static_cast<int64_t>(row) * out_width * channels + out;
    const auto column = [&](float(&to)[4], int ix) {
      const bool inside = ix >= 0 && ix < width;
      Quad four = {};
      if (inside) four = Quad::load(from + static_cast<int64_t>(ix) * channels);
#pragma unroll
      for (int c = 0; c < 4; ++c) to[c] = inside ? four[c] : 0.0f;
    };
    float window[3][4];  // input columns ox Step - padding + tap
    column(window[0], -padding);
    if (Step == 1) column(window[1], 1 - padding);
    for (int ox = 0; ox < out_width; ++ox) {
      const int left = ox * Step - padding;
      if (Step == 2) column(window[1], left + 1);
      column(window[2], left + 2);
      const Quad g = Quad::load(gradient + static_cast<int64_t>(ox) * channels);
#pragma unroll
      for (int q = 0; q < 3; ++q) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
#pragma unroll
          for (int o = 0; o < 4; ++o) sums[q][c][o] = fmaf(window[q][c], g[o], sums[q][c][o]);
        }
      }
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        window[0][c] = window[Step][c];
        if (Step == 1) window[1][c] = window[2][c];
      }
    }
  }
#pragma unroll
  for (int q = 0; q < 3; ++q) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int64_t at = ((static_cast<int64_t>(piece) * 9 + p * 3 + q) * G + in + c) * channels + out;
      *reinterpret_cast<float4*>(partial + at) = {sums[q][c][0], sums[q][c][1], sums[q][c][2], sums[q][c][3]};
    }
  }
}

/// dw [C, G, 3, 3] = the pieces added in order. One block a tile of outputs.
template <class T> __global__ void sum_kernel(const float* partial, T* dw, int channels, int group, int pieces) {
  extern __shared__ float tile[];
  const int first = blockIdx.x * turn_outputs(group), outs = min(turn_outputs(group), channels - first);
  const int row = 9 * group;
  for (int i = threadIdx.x; i < row * outs; i += threads) {
    const int out = i % outs, in = i / outs % group, tap = i / outs / group;
    const float* from = partial + (static_cast<int64_t>(tap) * group + in) * channels + first + out;
    float sum = 0;
    for (int piece = 0; piece < pieces; ++piece) sum += from[static_cast<int64_t>(piece) * row * channels];
    tile[out * (row + 1) + in * 9 + tap] = sum;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < outs * row; i += threads) {
    dw[static_cast<int64_t>(first) * row + i] = from_float<T>(tile[i / row * (row + 1) + i % row]);
  }
}

}  // namespace weft::grouped
