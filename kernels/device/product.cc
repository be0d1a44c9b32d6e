// A unit of work is a block of rows of a and a range of columns of b, 256 of their inner axis at a time: so much of the
// rows is copied as tiles, which stay in the second cache, and of b one panel after the other, 16 columns of 16 KiB,
// which stays in the first while the tiles pass by it. Nothing of b is kept from call to call.
#include "kernels/device/product.h"

#include <algorithm>
#include <vector>

#include "kernels/device/parallel.h"
#include "kernels/device/product_tile.h"

namespace weft {

namespace {

constexpr int panel_vectors = 2, panel = panel_vectors * lanes, tile_rows = tile_sums / panel_vectors;
constexpr int64_t chunk = 256;               // of the inner axis
constexpr int64_t block_bytes = 384 << 10;  // of a block of rows

// 8 rows of 8 numbers as columns.
[[gnu::always_inline]] inline void turn(const float* from, int64_t from_row, float* to, int64_t to_row) {
  static_assert(lanes == 8 || registers == 32);
  typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));
  typedef int Places __attribute__((vector_size(32)));
  Eight r[8], s[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = *reinterpret_cast<const Eight*>(from + i * from_row);
  // Pairs of rows, then fours, each within the halves of a vector; then the halves.
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    s[i] = __builtin_shuffle(r[i], r[i + 1], Places{0, 8, 1, 9, 4, 12, 5, 13});
    s[i + 1] = __builtin_shuffle(r[i], r[i + 1], Places{2, 10, 3, 11, 6, 14, 7, 15});
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = __builtin_shuffle(s[i], s[i + 2], Places{0, 1, 8, 9, 4, 5, 12, 13});
    r[i + 1] = __builtin_shuffle(s[i], s[i + 2], Places{2, 3, 10, 11, 6, 7, 14, 15});
    r[i + 2] = __builtin_shuffle(s[i + 1], s[i + 3], Places{0, 1, 8, 9, 4, 5, 12, 13});
    r[i + 3] = __builtin_shuffle(s[i + 1], s[i + 3], Places{2, 3, 10, 11, 6, 7, 14, 15});
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    *reinterpret_cast<Eight*>(to + i * to_row) = __builtin_shuffle(r[i], r[i + 4], Places{0, 1, 2, 3, 8, 9, 10, 11});
    *reinterpret_cast<Eight*>(to + (i + 4) * to_row) =
        __builtin_shuffle(r[i], r[i + 4], Places{4, 5, 6, 7, 12, 13, 14, 15});
  }
}

// Columns [first, first + columns) of rows [begin, end) of b: [end - begin, panel], the spare columns 0.
void copy_panel(const ProductFactor& b, int64_t first, int64_t columns, int64_t begin, int64_t end, float* to) {
  const float* from = b.data + begin * b.row + first * b.column;
  const int64_t inner = end - begin;
  if (columns < panel) std::fill_n(to, inner * panel, 0.0f);
  if (b.column == 1) {
    for (int64_t k = 0; k < inner; ++k, from += b.row, to += panel) std::copy_n(from, columns, to);
    return;
  }
  const int64_t whole = b.row == 1 ? columns / 8 * 8 : 0, even = inner / 8 * 8;
  for (int64_t j = 0; j < whole; j += 8) {
    for (int64_t k = 0; k < even; k += 8) turn(from + j * b.column + k, b.column, to + k * panel + j, panel);
  }
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t k = j < whole ? even : 0; k < inner; ++k) to[k * panel + j] = from[k * b.row + j * b.column];
  }
}

// Fetches a panel of b ahead of its copy, a share of it at each of `shares` calls.
class PanelAhead {
 public:
  PanelAhead(const ProductFactor& b, int64_t first, int64_t columns, int64_t begin, int64_t end, int64_t shares) {
    const bool by_rows = b.column == 1;  // lines of memory are parts of rows, else of columns
    from_ = b.data + begin * b.row + first * b.column;
    step_ = by_rows ? b.row : b.column;
    lines_ = ((by_rows ? columns : end - begin) + line - 1) / line;
    count_ = columns > 0 ? lines_ * (by_rows ? end - begin : columns) : 0;
    share_ = (count_ + shares - 1) / shares;
  }
  void fetch() {
    for (const int64_t stop = std::min(count_, at_ + share_); at_ < stop; ++at_)
      __builtin_prefetch(from_ + at_ / lines_ * step_ + at_ % lines_ * line);
  }

 private:
  static constexpr int64_t line = 64 / sizeof(float);
  const float* from_;
  int64_t step_, lines_, count_, share_, at_ = 0;
};

// Rows [first, first + rows) of columns [begin, end) of a, as tiles: [lines of the columns, row, lanes], with zeros in
// the last line.
void copy_lines(const ProductFactor& a, int64_t first, int64_t rows, int64_t begin, int64_t end, float* to) {
  const int64_t whole = (end - begin) / lanes * lanes, rest = end - begin - whole;
  const int64_t line_floats = whole + (rest > 0 ? lanes : 0);
  for (int64_t tile = 0; tile < rows; tile += tile_rows) {
    const int64_t here = std::min<int64_t>(tile_rows, rows - tile);
    for (int64_t r = 0; r < here; ++r) {
      const float* from = a.data + (first + tile + r) * a.row + begin;
      float* at = to + tile * line_floats + r * lanes;
      for (int64_t k = 0; k < whole; k += lanes, at += here * lanes) store_pixel(at, load(from + k));
      if (rest > 0) {
        std::copy_n(from + whole, rest, at);
        std::fill_n(at + rest, lanes - rest, 0.0f);
      }
    }
  }
}

// The same where a's rows are neighbours: [column, row].
void copy_columns(const ProductFactor& a, int64_t first, int64_t rows, int64_t begin, int64_t end, float* to) {
  for (int64_t tile = 0; tile < rows; tile += tile_rows) {
    const int64_t here = std::min<int64_t>(tile_rows, rows - tile);
    const float* from = a.data + (first + tile) + begin * a.column;
    float* at = to + tile * (end - begin);
    for (int64_t k = begin; k < end; ++k, from += a.column, at += here) {
      for (int64_t r = 0; r < here; ++r) at[r] = from[r];
    }
  }
}

template <TileLayout layout>
void multiply(const ProductFactor& a, const ProductFactor& b, const float* bias, float* y, int64_t m, int64_t n,
              int64_t k) {
  constexpr int64_t line = layout == TileLayout::lines ? lanes : 1;
  const int64_t panels = (n + panel - 1) / panel, chunks = (k + chunk - 1) / chunk;
  const int64_t most = std::min(chunk, (k + line - 1) / line * line),
                fit = block_bytes / (most * static_cast<int64_t>(sizeof(float))) / tile_rows * tile_rows;
  const int64_t threads = omp_in_parallel() ? 1 : omp_get_max_threads();
  const int64_t least = (m + fit - 1) / fit,
                rows = ((m + least - 1) / least + tile_rows - 1) / tile_rows * tile_rows,
                blocks = (m + rows - 1) / rows;
  const int64_t ranges = blocks % threads == 0 || blocks > 4 * threads ? 1 : std::min(threads, panels);
  parallel_for(blocks * ranges, 1, [&](int64_t first_unit, int64_t end_unit) {
    static thread_local std::vector<float> buffer;
    buffer.resize(std::max<size_t>(buffer.size(), rows * most + chunk * panel + 16));
    float* w = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(buffer.data()) + 63) & ~uintptr_t{63});
    float* in = w + chunk * panel;
    float spare[tile_rows * panel] = {}, spare_bias[panel] = {};
    for (int64_t unit = first_unit; unit < end_unit; ++unit) {
      const int64_t first = unit / ranges * rows, here = std::min(rows, m - first), range = unit % ranges;
      for (int64_t part = 0; part < chunks; ++part) {
        const int64_t begin = part * chunk, end = std::min(k, begin + chunk),
                      padded = (end - begin + line - 1) / line * line;
        if constexpr (layout == TileLayout::lines) copy_lines(a, first, here, begin, end, in);
        else copy_columns(a, first, here, begin, end, in);
        // Of no weight, since the tiles have zeros there; but a NaN left over would count.
        std::fill_n(w + (end - begin) * panel, (padded - (end - begin)) * panel, 0.0f);
        const int64_t p0 = panels * range / ranges, p1 = panels * (range + 1) / ranges;
        for (int64_t p = p0; p < p1; ++p) {
          const int64_t columns = std::min<int64_t>(panel, n - p * panel);
          copy_panel(b, p * panel, columns, begin, end, w);
          const bool whole = columns == panel;
          const int64_t next = p + 1 < p1 ? std::min<int64_t>(panel, n - (p + 1) * panel) : 0;
          PanelAhead ahead(b, (p + 1) * panel, next, begin, end, (here + tile_rows - 1) / tile_rows);
          const float* start = bias ? bias + p * panel : nullptr;
          if (start && !whole) start = std::copy_n(start, columns, spare_bias) - columns;
          for (int64_t tile = 0; tile < here; tile += tile_rows) {
            const int64_t count = std::min<int64_t>(tile_rows, here - tile);
            ahead.fetch();
            float* to = y + (first + tile) * n + p * panel;
            if (whole) {
              multiply_rows<panel_vectors, tile_rows, layout>(count, in + tile * padded, padded, w, start, part > 0, to,
                                                              n);
              continue;
            }
            for (int64_t r = 0; part > 0 && r < count; ++r) std::copy_n(to + r * n, columns, spare + r * panel);
            multiply_rows<panel_vectors, tile_rows, layout>(count, in + tile * padded, padded, w, start, part > 0,
                                                            spare, panel);
            for (int64_t r = 0; r < count; ++r) std::copy_n(spare + r * panel, columns, to + r * n);
          }
        }
      }
    }
  });
}

}  // namespace

// For fewer rows copying b takes too long, and for more oneDNN's are a little faster.
bool product_takes(int64_t m, int64_t n, int64_t k, bool mapped) {
  return by_hand && m >= 16 && (m <= 1024 || mapped) && n >= 8 && k >= 8;
}

void product_by_hand(const ProductFactor& a, const ProductFactor& b, const float* bias, float* y, int64_t m, int64_t n,
                     int64_t k) {
  if (a.column == 1) return multiply<TileLayout::lines>(a, b, bias, y, m, n, k);
  multiply<TileLayout::columns>(a, b, bias, y, m, n, k);
}

}  // namespace weft
