// Forward:   sum(x)        mean(x)            max(x)                        topk(x)
// Backward:  dy repeated   dy / n repeated    dy at the first maximum       dy[j] at index[j]      0 elsewhere
// Saved:     nothing       nothing            the index of every maximum    the indices
// Sums are taken over pieces of fixed size, so they do not depend on the number of threads.
#include "kernels/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/device/elementwise.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

// kernels/reduce.cu
void sum_around_cuda(const Tensor& x, const Tensor& y, int64_t outer, int64_t n, int64_t inner, double scale);
void repeat_around_cuda(const Tensor& dy, const Tensor& dx, int64_t n, int64_t inner, double scale);
void argmax_cuda(const Tensor& x, const Tensor& index, int64_t outer, int64_t n, int64_t inner);
void topk_cuda(const Tensor& x, const Tensor& values, const Tensor& indices, int64_t k);
void pick_cuda(const Tensor& x, const Tensor& index, const Tensor& y, int64_t n, int64_t k, int64_t inner);
void place_cuda(const Tensor& dy, const Tensor& index, const Tensor& dx, int64_t n, int64_t k, int64_t inner);

namespace {

// x seen as [outer, n, inner] around one axis.
struct Around {
  int64_t outer = 1, n = 1, inner = 1;
  Shape shape;  // of the result
};

Around around(const char* op, const Tensor& x, int axis, bool keep) {
  check(x.defined(), "[{}] x is undefined", op);
  check(x.rank() >= 1 && axis >= -x.rank() && axis < x.rank(),
        "[{}] the axis must lie in [-{}, {}) but is {} for shape {}", op, x.rank(), x.rank(), axis, x.shape());
  const int at = x.shape().index(axis);
  Around a{x.shape().product(0, at), x.dim(at), x.shape().product(at + 1, x.rank()), {}};
  for (int i = 0; i < x.rank(); ++i) {
    if (i != at) a.shape.push_back(x.dim(i));
    if (i == at && keep) a.shape.push_back(1);
  }
  return a;
}

template <class T> accumulator_t<T> sum_run(const T* x, int64_t n) {
  using A = accumulator_t<T>;
  A total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) total += static_cast<A>(x[i]);
  return total;
}

// Pieces of `piece` elements are summed apart and then added up in double, in order.
template <class T> double sum_all(const T* x, int64_t n) {
  constexpr int64_t piece = 4096;
  std::vector<double> parts((n + piece - 1) / piece);
  parallel_for(parts.size(), elements_grain / piece, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) parts[p] = sum_run(x + p * piece, std::min(piece, n - p * piece));
  });
  return std::accumulate(parts.begin(), parts.end(), 0.0);
}

template <class T> void sum_axis(const T* x, T* y, const Around& a, double scale) {
  using A = accumulator_t<T>;
  if (a.inner == 1) {
    constexpr int64_t piece = 4096;
    parallel_for(a.outer, std::max<int64_t>(1, elements_grain / std::max<int64_t>(a.n, 1)),
                 [=](int64_t begin, int64_t end) {
                   for (int64_t o = begin; o < end; ++o) {
                     double total = 0;
                     for (int64_t i = 0; i < a.n; i += piece)
                       total += sum_run(x + o * a.n + i, std::min(piece, a.n - i));
                     y[o] = T(static_cast<A>(total * scale));
                   }
                 });
    return;
  }
  // Columns of `width` neighbours are added down the axis; their sums stay in the nearest cache. Groups of rows keep
  // rounding small.
  constexpr int64_t width = 512, group = 1024;
  const int64_t strips = (a.inner + width - 1) / width;
  parallel_for(a.outer * strips,
               std::max<int64_t>(1, elements_grain / std::max<int64_t>(a.n * std::min(width, a.inner), 1)),
               [=](int64_t begin, int64_t end) {
                 A total[width], part[width];
                 for (int64_t s = begin; s < end; ++s) {
                   const int64_t from = s % strips * width, count = std::min(width, a.inner - from);
                   const T* base = x + s / strips * a.n * a.inner + from;
                   std::fill_n(total, count, A{0});
                   for (int64_t i = 0; i < a.n; i += group) {
                     std::fill_n(part, count, A{0});
                     for (int64_t k = i; k < std::min(a.n, i + group); ++k) {
                       const T* row = base + k * a.inner;
#pragma omp simd
                       for (int64_t c = 0; c < count; ++c) part[c] += static_cast<A>(row[c]);
                     }
#pragma omp simd
                     for (int64_t c = 0; c < count; ++c) total[c] += part[c];
                   }
                   T* out = y + s / strips * a.inner + from;
#pragma omp simd
                   for (int64_t c = 0; c < count; ++c) out[c] = T(total[c] * static_cast<A>(scale));
                 }
               });
}

// dx [outer, n, inner] = dy [outer, inner] * scale.
template <class T> void repeat_axis(const T* dy, T* dx, const Around& a, double scale) {
  using A = accumulator_t<T>;
  write_blocks(dx, a.outer * a.n * a.inner, [=](T* out, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const int64_t row = a.inner == 1 ? i / a.n : i / a.inner, col = a.inner == 1 ? i % a.n : i % a.inner;
      const int64_t count = std::min((a.inner == 1 ? a.n : a.inner) - col, end - i);
      T* to = out + (i - begin);
      if (a.inner == 1) {
        std::fill_n(to, count, T(static_cast<A>(dy[row]) * static_cast<A>(scale)));
      } else {
        const T* from = dy + row / a.n * a.inner + col;
#pragma omp simd
        for (int64_t c = 0; c < count; ++c) to[c] = T(static_cast<A>(from[c]) * static_cast<A>(scale));
      }
      i += count;
    }
  });
}

Tensor sum_everything(const char* name, const Tensor& x, double scale) {
  Tensor y = Tensor::empty({}, x.dtype(), x.device());
  on_device(name, x,
            [&]<class T> { *y.data<T>() = T(static_cast<accumulator_t<T>>(sum_all(x.data<T>(), x.numel()) * scale)); },
            [&] { sum_around_cuda(x, y, 1, x.numel(), 1, scale); });
  return record(name, y, {x}, [name, scale, shape = x.shape()](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::empty(shape, dy.dtype(), dy.device());
    on_device(name, dy, [&]<class T> { repeat_axis(dy.data<T>(), dx.data<T>(), {1, shape.numel(), 1, {}}, scale); },
              [&] { repeat_around_cuda(dy, dx, shape.numel(), 1, scale); });
    return {dx};
  });
}

Tensor sum_over(const char* name, const Tensor& x, const Around& a, double scale) {
  Tensor y = Tensor::empty(a.shape, x.dtype(), x.device());
  on_device(name, x, [&]<class T> { sum_axis(x.data<T>(), y.data<T>(), a, scale); },
            [&] { sum_around_cuda(x, y, a.outer, a.n, a.inner, scale); });
  return record(name, y, {x}, [name, a, scale, shape = x.shape()](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::empty(shape, dy.dtype(), dy.device());
    on_device(name, dy, [&]<class T> { repeat_axis(dy.data<T>(), dx.data<T>(), a, scale); },
              [&] { repeat_around_cuda(dy, dx, a.n, a.inner, scale); });
    return {dx};
  });
}

// Whether u comes before v where the largest comes first.
template <class A> bool greater(A u, A v) { return u > v || (std::isnan(u) && !std::isnan(v)); }

template <class T> void argmax_axis(const T* x, int64_t* index, const Around& a) {
  using A = accumulator_t<T>;
  const int64_t grain = std::max<int64_t>(1, elements_grain / std::max<int64_t>(a.n, 1));
  if (a.inner == 1) {
    parallel_for(a.outer, grain, [=](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        const T* row = x + o * a.n;
        // The maximum first, which vectorises, then where it is.
        A top = -std::numeric_limits<A>::infinity();
        bool nan = false;
#pragma omp simd reduction(max : top) reduction(| : nan)
        for (int64_t i = 0; i < a.n; ++i) {
          const A v = static_cast<A>(row[i]);
          top = std::max(top, v);
          nan |= v != v;
        }
        int64_t at = 0;
        while (nan ? !std::isnan(static_cast<A>(row[at])) : static_cast<A>(row[at]) != top) ++at;
        index[o] = at;
      }
    });
    return;
  }
  parallel_for(a.outer * a.inner, grain, [=](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      const T* column = x + o / a.inner * a.n * a.inner + o % a.inner;
      int64_t at = 0;
      for (int64_t i = 1; i < a.n; ++i) {
        if (greater<A>(static_cast<A>(column[i * a.inner]), static_cast<A>(column[at * a.inner]))) at = i;
      }
      index[o] = at;
    }
  });
}

Tensor argmax_index(const char* op, const Tensor& x, const Around& a) {
  check(a.n > 0 || a.outer * a.inner == 0, "[{}] the axis must have at least 1 element but the shape is {}", op,
        x.shape());
  Tensor index = Tensor::empty(a.shape, DType::i64, x.device());
  on_device(op, x, [&]<class T> { argmax_axis(x.data<T>(), index.data<int64_t>(), a); },
            [&] { argmax_cuda(x, index, a.outer, a.n, a.inner); });
  return index;
}

}  // namespace

Tensor sum(const Tensor& x) {
  check(x.defined(), "[sum] x is undefined");
  return sum_everything("sum", x, 1);
}

Tensor mean(const Tensor& x) {
  check(x.defined(), "[mean] x is undefined");
  return sum_everything("mean", x, 1.0 / static_cast<double>(x.numel()));
}

Tensor sum(const Tensor& x, int axis, bool keep) { return sum_over("sum", x, around("sum", x, axis, keep), 1); }

Tensor mean(const Tensor& x, int axis, bool keep) {
  const Around a = around("mean", x, axis, keep);
  return sum_over("mean", x, a, 1.0 / static_cast<double>(a.n));
}

Tensor max(const Tensor& x, int axis, bool keep) {
  const Around a = around("max", x, axis, keep);
  const Tensor index = argmax_index("max", x, a);
  Tensor y = Tensor::empty(a.shape, x.dtype(), x.device());
  const auto place = [a, index](int64_t o) { return (o / a.inner * a.n + index.data<int64_t>()[o]) * a.inner + o % a.inner; };
  on_device("max", x, [&]<class T> {
    for (int64_t o = 0; o < y.numel(); ++o) y.data<T>()[o] = x.data<T>()[place(o)];
  }, [&] { pick_cuda(x, index, y, a.n, 1, a.inner); });
  return record("max", y, {x}, [a, index, place, shape = x.shape()](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::zeros(shape, dy.dtype(), dy.device());
    on_device("max", dy, [&]<class T> {
      for (int64_t o = 0; o < dy.numel(); ++o) dx.data<T>()[place(o)] = dy.data<T>()[o];
    }, [&] { place_cuda(dy, index, dx, a.n, 1, a.inner); });
    return {dx};
  });
}

Tensor argmax(const Tensor& x, int axis) {
  return no_gradient("argmax", argmax_index("argmax", x, around("argmax", x, axis, false)), "it is piecewise constant");
}

TopK topk(const Tensor& x, int64_t k) {
  check(x.defined(), "[topk] x is undefined");
  check(x.rank() >= 1 && k >= 1 && k <= x.cols(), "[topk] k must lie in [1, {}] but is {} for shape {}", x.cols(), k,
        x.shape());
  Shape shape = x.shape();
  shape[-1] = k;
  Tensor values = Tensor::empty(shape, x.dtype(), x.device()), indices = Tensor::empty(shape, DType::i64, x.device());
  const int64_t cols = x.cols();
  on_device("topk", x, [&]<class T> {
    int64_t* index = indices.data<int64_t>();
    using A = accumulator_t<T>;
    parallel_for(x.rows(), std::max<int64_t>(1, elements_grain / cols), [&](int64_t begin, int64_t end) {
      std::vector<int64_t> order(cols);
      for (int64_t r = begin; r < end; ++r) {
        const T* row = x.data<T>() + r * cols;
        std::iota(order.begin(), order.end(), 0);
        std::partial_sort(order.begin(), order.begin() + k, order.end(), [row](int64_t i, int64_t j) {
          const A u = static_cast<A>(row[i]), v = static_cast<A>(row[j]);
          return greater<A>(u, v) || (!greater<A>(v, u) && i < j);
        });
        for (int64_t j = 0; j < k; ++j) {
          index[r * k + j] = order[j];
          values.data<T>()[r * k + j] = row[order[j]];
        }
      }
    });
  }, [&] { topk_cuda(x, values, indices, k); });
  // `indices` is captured without its place on the tape.
  values = record("topk", values, {x}, [indices, k, cols, whole = x.shape()](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::zeros(whole, dy.dtype(), dy.device());
    on_device("topk", dy, [&]<class T> {
      const int64_t* index = indices.data<int64_t>();
      for (int64_t i = 0; i < dy.numel(); ++i) dx.data<T>()[i / k * cols + index[i]] = dy.data<T>()[i];
    }, [&] {
      // A row's k places are those of an axis of extent `cols` with nothing inside it.
      place_cuda(dy, indices, dx, cols, k, 1);
    });
    return {dx};
  });
  return {values, no_gradient("topk's index", indices, "it is piecewise constant")};
}

}  // namespace weft
