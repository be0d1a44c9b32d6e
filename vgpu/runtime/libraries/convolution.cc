#include "vgpu/runtime/libraries/convolution.h"

namespace vgpu {

std::vector<float> ImageShape::read(const void* data, Rounding rounding) const {
  std::vector<float> values(static_cast<size_t>(count()));
#pragma omp parallel for
  for (int64_t i = 0; i < n; ++i) {
    size_t to = static_cast<size_t>(i * h * w * c);
    for (int64_t y = 0; y < h; ++y) {
      for (int64_t x = 0; x < w; ++x) {
        for (int64_t k = 0; k < c; ++k, ++to) {
          int64_t at = channels_last ? static_cast<int64_t>(to) : ((i * c + k) * h + y) * w + x;
          values[to] = round_operand(load(data, at, type), rounding);
        }
      }
    }
  }
  return values;
}

void ImageShape::write(void* data, const std::vector<float>& values, float alpha, float beta) const {
#pragma omp parallel for
  for (int64_t i = 0; i < n; ++i) {
    size_t from = static_cast<size_t>(i * h * w * c);
    for (int64_t y = 0; y < h; ++y) {
      for (int64_t x = 0; x < w; ++x) {
        for (int64_t k = 0; k < c; ++k, ++from) {
          int64_t at = channels_last ? static_cast<int64_t>(from) : ((i * c + k) * h + y) * w + x;
          float value = alpha * values[from];
          if (beta != 0) value += beta * load(data, at, type);
          store(data, at, type, value);
        }
      }
    }
  }
}

bool Convolution::valid() const {
  return groups > 0 && x.c % groups == 0 && y.c % groups == 0 && w.n == y.c && w.c == x.c / groups && x.n == y.n &&
         y.h == output_height() && y.w == output_width();
}

double Convolution::flop() const { return 2.0 * static_cast<double>(y.count()) * static_cast<double>(w.c * w.h * w.w); }

template <class Visit>
void Convolution::for_each_tap(Visit&& visit) const {
  for (int64_t p = 0; p < y.h; ++p) {
    for (int64_t r = 0; r < w.h; ++r) {
      int64_t row = p * stride_h + r * dilation_h - pad_h;
      if (row < 0 || row >= x.h) continue;
      for (int64_t q = 0; q < y.w; ++q) {
        for (int64_t s = 0; s < w.w; ++s) {
          int64_t column = q * stride_w + s * dilation_w - pad_w;
          if (column >= 0 && column < x.w) visit(p, q, r, s, row, column);
        }
      }
    }
  }
}

std::vector<float> Convolution::forward(const std::vector<float>& image, const std::vector<float>& filter) const {
  std::vector<float> out(static_cast<size_t>(y.count()), 0.0f);
  int64_t outputs = y.c / groups;
#pragma omp parallel for
  for (int64_t n = 0; n < x.n; ++n) {
    for_each_tap([&](int64_t p, int64_t q, int64_t r, int64_t s, int64_t row, int64_t column) {
      const float* in = image.data() + ((n * x.h + row) * x.w + column) * x.c;
      float* to = out.data() + ((n * y.h + p) * y.w + q) * y.c;
      for (int64_t k = 0; k < y.c; ++k) {
        const float* group_in = in + k / outputs * w.c;
        const float* taps = filter.data() + ((k * w.h + r) * w.w + s) * w.c;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < w.c; ++c) sum += group_in[c] * taps[c];
        to[k] += sum;
      }
    });
  }
  return out;
}

std::vector<float> Convolution::backward_data(const std::vector<float>& filter, const std::vector<float>& dy) const {
  std::vector<float> dx(static_cast<size_t>(x.count()), 0.0f);
  int64_t outputs = y.c / groups;
#pragma omp parallel for
  for (int64_t n = 0; n < x.n; ++n) {
    for_each_tap([&](int64_t p, int64_t q, int64_t r, int64_t s, int64_t row, int64_t column) {
      float* to = dx.data() + ((n * x.h + row) * x.w + column) * x.c;
      const float* from = dy.data() + ((n * y.h + p) * y.w + q) * y.c;
      for (int64_t k = 0; k < y.c; ++k) {
        float* group_to = to + k / outputs * w.c;
        const float* taps = filter.data() + ((k * w.h + r) * w.w + s) * w.c;
        for (int64_t c = 0; c < w.c; ++c) group_to[c] += from[k] * taps[c];
      }
    });
  }
  return dx;
}

std::vector<float> Convolution::backward_filter(const std::vector<float>& image, const std::vector<float>& dy) const {
  std::vector<float> dw(static_cast<size_t>(w.count()), 0.0f);
  int64_t outputs = y.c / groups;
#pragma omp parallel for
  for (int64_t k = 0; k < y.c; ++k) {
    for (int64_t n = 0; n < x.n; ++n) {
      for_each_tap([&](int64_t p, int64_t q, int64_t r, int64_t s, int64_t row, int64_t column) {
        const float* in = image.data() + ((n * x.h + row) * x.w + column) * x.c + k / outputs * w.c;
        float gradient = dy[static_cast<size_t>(((n * y.h + p) * y.w + q) * y.c + k)];
        float* taps = dw.data() + ((k * w.h + r) * w.w + s) * w.c;
        for (int64_t c = 0; c < w.c; ++c) taps[c] += gradient * in[c];
      });
    }
  }
  return dw;
}

}  // namespace vgpu
