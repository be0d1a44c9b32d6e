// The three passes of a convolution in f64 as plain loops: the truth that every other way is compared with.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/device/conv_cuda.h"
#include "kernels/device/parallel.h"

namespace weft {

// Weights [O, CG, KH, KW] as [KH, KW, O, CG] (by_output) or [KH, KW, G, CG, OG], so that the plain loops run along
// rows.
template <class T> std::vector<T> turned(const T* w, const ConvSizes& s, bool by_output) {
  std::vector<T> result(s.o * s.cg() * s.kh * s.kw);
  for (int64_t o = 0; o < s.o; ++o) {
    for (int64_t c = 0; c < s.cg(); ++c) {
      for (int64_t k = 0; k < s.kh * s.kw; ++k) {
        const int64_t at = by_output ? o * s.cg() + c : (o / s.og() * s.cg() + c) * s.og() + o % s.og();
        result[k * s.o * s.cg() + at] = w[(o * s.cg() + c) * s.kh * s.kw + k];
      }
    }
  }
  return result;
}

// Calls f(iy, ix, k) for the taps k of output pixel (oy, ox) that lie inside the image.
template <class F> void for_taps(const ConvSizes& s, int64_t oy, int64_t ox, F&& f) {
  for (int64_t p = 0; p < s.kh; ++p) {
    const int64_t iy = oy * s.stride + p - s.padding;
    if (iy < 0 || iy >= s.h) continue;
    for (int64_t q = 0; q < s.kw; ++q) {
      const int64_t ix = ox * s.stride + q - s.padding;
      if (ix >= 0 && ix < s.w) f(iy, ix, p * s.kw + q);
    }
  }
}

inline void forward_plain(const double* x, const double* w, const double* bias, double* y, const ConvSizes& s) {
  const std::vector<double> wt = turned(w, s, false);
  parallel_for(s.n * s.oh, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t ox = 0; ox < s.ow; ++ox) {
        double* out = y + (row * s.ow + ox) * s.o;
        for (int64_t o = 0; o < s.o; ++o) out[o] = bias ? bias[o] : 0;
        for_taps(s, row % s.oh, ox, [&](int64_t iy, int64_t ix, int64_t k) {
          const double* in = x + ((row / s.oh * s.h + iy) * s.w + ix) * s.c;
          for (int64_t c = 0; c < s.c; ++c) {
            const double* wr = wt.data() + (k * s.c + c) * s.og();
            double* group = out + c / s.cg() * s.og();
#pragma omp simd
            for (int64_t o = 0; o < s.og(); ++o) group[o] += in[c] * wr[o];
          }
        });
      }
    }
  });
}

inline void backward_data_plain(const double* dy, const double* w, double* dx, const ConvSizes& s) {
  const std::vector<double> wt = turned(w, s, true);
  std::fill(dx, dx + s.n * s.h * s.w * s.c, 0.0);
  parallel_for(s.n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin * s.oh; row < end * s.oh; ++row) {
      for (int64_t ox = 0; ox < s.ow; ++ox) {
        const double* g = dy + (row * s.ow + ox) * s.o;
        for_taps(s, row % s.oh, ox, [&](int64_t iy, int64_t ix, int64_t k) {
          double* in = dx + ((row / s.oh * s.h + iy) * s.w + ix) * s.c;
          for (int64_t o = 0; o < s.o; ++o) {
            const double* wr = wt.data() + (k * s.o + o) * s.cg();
            double* group = in + o / s.og() * s.cg();
#pragma omp simd
            for (int64_t c = 0; c < s.cg(); ++c) group[c] += g[o] * wr[c];
          }
        });
      }
    }
  });
}

inline void backward_weights_plain(const double* x, const double* dy, double* dw, const ConvSizes& s) {
  parallel_for(s.o, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> sums(s.kh * s.kw * s.cg());
    for (int64_t o = begin; o < end; ++o) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (int64_t row = 0; row < s.n * s.oh; ++row) {
        for (int64_t ox = 0; ox < s.ow; ++ox) {
          const double g = dy[(row * s.ow + ox) * s.o + o];
          for_taps(s, row % s.oh, ox, [&](int64_t iy, int64_t ix, int64_t k) {
            const double* in = x + ((row / s.oh * s.h + iy) * s.w + ix) * s.c + o / s.og() * s.cg();
            double* sum = sums.data() + k * s.cg();
#pragma omp simd
            for (int64_t c = 0; c < s.cg(); ++c) sum[c] += g * in[c];
          });
        }
      }
      for (int64_t c = 0; c < s.cg(); ++c) {
        for (int64_t k = 0; k < s.kh * s.kw; ++k) dw[(o * s.cg() + c) * s.kh * s.kw + k] = sums[k * s.cg() + c];
      }
    }
  });
}

}  // namespace weft
