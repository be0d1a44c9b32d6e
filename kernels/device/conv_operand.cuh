// Images and weights as factors of a product (implicit GEMM): the matrix of patches is never written anywhere, its
// elements are found in the image when they are copied to shared memory.
#pragma once

#include "kernels/device/divide.cuh"

namespace weft {

/// Row r is a pixel of a grid, column k a (tap, channel) with the channel varying fastest. The element is that channel
/// of image pixel (grid y step + origin_y + tap y direction, the same for x), zero outside the image. Forward: the grid
/// is the output, step the stride, origin -padding, direction 1. Input gradient: the image is dz, the grid the input
/// pixels of one phase, step 1, direction -1. `select` moves to the channels of a group.
template <class T> struct PatchOperand {
  using Element = T;
  struct Row {
    const T* image;  // null: outside
    int y, x;
  };
  struct Col {
    int y, x, channel;  // channel -1: outside
  };

  const T* data;  // [N, height, width, pixel_step]
  int height, width, pixel_step;
  int step, origin_y, origin_x, direction;
  int channels;  // of a group
  int rows, depth;
  Divider by_grid_height, by_grid_width, by_tap_width, by_channels;

  __device__ void select(int z) { data += z * channels; }
  __device__ Row row(int r) const {
    if (r >= rows) return {nullptr, 0, 0};
    int x = r, y = by_grid_width.split(x), n = by_grid_height.split(y);
    return {data + static_cast<int64_t>(n) * height * width * pixel_step, y * step + origin_y, x * step + origin_x};
  }
  __device__ Col col(int k) const {
    if (k >= depth) return {0, 0, -1};
    int channel = k, tap = by_channels.split(channel), y = by_tap_width.split(tap);
    return {y * direction, tap * direction, channel};
  }
  __device__ const T* at(Row row, Col col) const {
    const int y = row.y + col.y, x = row.x + col.x;
    const bool inside = row.image && col.channel >= 0 && static_cast<unsigned>(y) < static_cast<unsigned>(height) &&
                        static_cast<unsigned>(x) < static_cast<unsigned>(width);
    return inside ? row.image + static_cast<int64_t>(y * width + x) * pixel_step + col.channel : nullptr;
  }
};

/// The same matrix transposed: rows are (tap, channel), the sum runs over pixels. For the weight gradient.
template <class T> struct TransposedPatches {
  using Element = T;
  using Row = typename PatchOperand<T>::Col;
  using Col = typename PatchOperand<T>::Row;

  PatchOperand<T> patches;
  const T* data;
  int depth;

  explicit TransposedPatches(const PatchOperand<T>& p) : patches(p), data(p.data), depth(p.rows) {}
  __device__ void select(int z) { patches.select(z); }
  __device__ Row row(int r) const { return patches.col(r); }
  __device__ Col col(int k) const { return patches.row(k); }
  __device__ const T* at(Row row, Col col) const { return patches.at(col, row); }
};

/// Weights [O, KH, KW, C / groups] for the input gradient of one phase: row r is an input channel, column k a (tap of
/// the phase, output channel) with the output channel varying fastest. The phase has the taps (first_y + stride i,
/// first_x + stride j).
template <class T> struct PhaseWeights {
  using Element = T;
  using Row = int;
  using Col = const T*;

  const T* data;
  int first_y, first_x, stride, kernel_width, taps;  // taps: KH KW
  int outputs, rows, depth;                          // outputs, rows: channels of a group
  Divider by_tap_width, by_outputs;

  __device__ void select(int z) { data += static_cast<int64_t>(z) * outputs * taps * rows; }
  __device__ Row row(int r) const { return r < rows ? r : -1; }
  __device__ Col col(int k) const {
    if (k >= depth) return nullptr;
    int output = k, x = by_outputs.split(output), y = by_tap_width.split(x);
    const int tap = (first_y + stride * y) * kernel_width + first_x + stride * x;
    return data + (static_cast<int64_t>(output) * taps + tap) * rows;
  }
  __device__ const T* at(Row row, Col col) const { return col && row >= 0 ? col + row : nullptr; }
};

/// Where the rows of an input gradient's phase lie in [N, H, W, C].
struct PhaseRows {
  int height, width, pixel_step, channels;
  int first_y, first_x, stride;
  Divider by_grid_height, by_grid_width;

  __device__ int64_t offset(int z, int row) const {
    int x = row, y = by_grid_width.split(x), n = by_grid_height.split(y);
    const int64_t pixel = (static_cast<int64_t>(n) * height + first_y + stride * y) * width + first_x + stride * x;
    return pixel * pixel_step + z * channels;
  }
};

}  // namespace weft
