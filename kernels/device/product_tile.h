// The step that products of f32 by hand share: sums of some rows by some vectors of columns, kept in registers over a
// stretch of their inner axis.
#pragma once

#include "kernels/device/unit_vector.h"

namespace weft {

/// Vectors of sums that a step keeps: 6 rows by 2, or 4 by 3, with 16 registers.
inline constexpr int tile_sums = registers == 32 ? 24 : 12;

/// How the rows of a tile lie: numbers of one row in lines of a vector, the rows side by side [inner / lanes, R, lanes];
/// or the rows' numbers side by side [inner, R].
enum class TileLayout { lines, columns };

/// y [R, V * lanes] (rows y_step apart) = in w, + `start` [V * lanes] if given, or with go_on += in w. w [inner, V *
/// lanes]; in lines, inner is a multiple of lanes.
template <int V, int R, TileLayout layout = TileLayout::lines>
[[gnu::noinline]] void multiply_tile(const float* in, int64_t inner, const float* w, const float* start, bool go_on,
                                     float* y, int64_t y_step) {
  constexpr bool lines = layout == TileLayout::lines;
  constexpr int row_step = lines ? lanes : 1, line = lines ? lanes : 1, next = lines ? 1 : R;
  Vector sum[R][V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const Vector first = start ? load(start + v * lanes) : Vector{};
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sum[r][v] = go_on ? load(y + r * y_step + v * lanes) : first;
  }
  for (int64_t k = 0; k < inner; k += line, in += R * line) {
#pragma GCC unroll 2
    for (int l = 0; l < line; ++l, w += V * lanes) {
      Vector wl[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) wl[v] = in_register(load(w + v * lanes));
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Vector x = broadcast(in + r * row_step + l * next);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[r][v] += x * wl[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store_pixel(y + r * y_step + v * lanes, sum[r][v]);
  }
}

/// The same for 1 to R rows, of which a tile with fewer than R has so many.
template <int V, int R, TileLayout layout = TileLayout::lines>
void multiply_rows(int64_t rows, const float* in, int64_t inner, const float* w, const float* start, bool go_on,
                   float* y, int64_t y_step) {
  if constexpr (R > 0) {
    if (rows == R) return multiply_tile<V, R, layout>(in, inner, w, start, go_on, y, y_step);
    multiply_rows<V, R - 1, layout>(rows, in, inner, w, start, go_on, y, y_step);
  }
}

}  // namespace weft
