// Forward:   a + b      a - b      a * b                  a / b
// Backward:  dy, dy     dy, -dy    dy * b, dy * a         dy / b, -dy a / b^2     each summed over its broadcast axes
// Saved:     nothing    nothing    what the other needs   b, and a for db
#include "kernels/arithmetic.h"

#include <array>

#include "kernels/cast.h"
#include "kernels/device/broadcast.h"
#include "kernels/device/elementwise.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

// kernels/arithmetic.cu
void binary_cuda(BinaryOp op, const Pairing& p, const Tensor& a, const Tensor& b, const Tensor& y);
void unary_cuda(UnaryOp op, const Tensor& x, const Tensor& y, double c);

namespace {

Pairing pair_up(const char* op, const Tensor& a, const Tensor& b) {
  Pairing p;
  const int rank = std::max(a.rank(), b.rank());
  for (int i = 0; i < rank; ++i) p.shape.push_back(0);
  // Innermost first; a_stride and b_stride are in elements, 0 where an axis is repeated.
  std::array<int64_t, Shape::max_rank> extent{}, sa{}, sb{};
  int64_t a_step = 1, b_step = 1;
  int n = 0;
  for (int i = 1; i <= rank; ++i) {
    const int64_t da = i <= a.rank() ? a.dim(-i) : 1, db = i <= b.rank() ? b.dim(-i) : 1;
    check(da == db || da == 1 || db == 1, "[{}] the shapes must be equal or broadcast but are {} and {}", op, a.shape(),
          b.shape());
    const int64_t d = da == 1 ? db : da, ta = da == 1 ? 0 : a_step, tb = db == 1 ? 0 : b_step;
    a_step *= da;
    b_step *= db;
    p.shape[-i] = d;
    if (d == 1) continue;
    if (n > 0 && ta == sa[n - 1] * extent[n - 1] && tb == sb[n - 1] * extent[n - 1]) {
      extent[n - 1] *= d;
    } else {
      extent[n] = d, sa[n] = ta, sb[n] = tb;
      ++n;
    }
  }
  if (n == 0) extent[n++] = 1;
  p.rank = n;
  for (int i = 0; i < n; ++i) {
    p.extent[i] = extent[n - 1 - i], p.a_stride[i] = sa[n - 1 - i], p.b_stride[i] = sb[n - 1 - i];
  }
  return p;
}

// Walks over runs of the innermost joined axis; the inner loop has a and b either in step with y or held.
template <class Ta, class Tb, class T, class F>
void binary_loop(const Pairing& p, const Ta* a, const Tb* b, T* y, F f) {
  using A = accumulator_t<T>;
  const int last = p.rank - 1;
  const int64_t inner = p.extent[last], n = p.shape.numel();
  const bool a_held = p.a_stride[last] == 0, b_held = p.b_stride[last] == 0;
  write_blocks(y, n, [=, &p](T* out, int64_t begin, int64_t end) {
    std::array<int64_t, Shape::max_rank> at{};
    int64_t row = begin / inner, col = begin % inner, a_base = 0, b_base = 0;
    for (int i = last - 1; i >= 0; --i) {
      at[i] = row % p.extent[i];
      row /= p.extent[i];
      a_base += at[i] * p.a_stride[i], b_base += at[i] * p.b_stride[i];
    }
    for (int64_t done = begin; done < end;) {
      const int64_t count = std::min(inner - col, end - done);
      const Ta* ar = a + a_base + (a_held ? 0 : col);
      const Tb* br = b + b_base + (b_held ? 0 : col);
      T* yr = out + (done - begin);
      if (b_held) {
        const A held = static_cast<A>(*br);
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) yr[i] = T(f(static_cast<A>(ar[i]), held));
      } else if (a_held) {
        const A held = static_cast<A>(*ar);
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) yr[i] = T(f(held, static_cast<A>(br[i])));
      } else {
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) yr[i] = T(f(static_cast<A>(ar[i]), static_cast<A>(br[i])));
      }
      done += count;
      col = 0;
      for (int i = last - 1; i >= 0; --i) {
        a_base += p.a_stride[i], b_base += p.b_stride[i];
        if (++at[i] < p.extent[i]) break;
        a_base -= p.a_stride[i] * at[i], b_base -= p.b_stride[i] * at[i];
        at[i] = 0;
      }
    }
  });
}

template <class F> Tensor binary(const char* op, const Tensor& a, const Tensor& b, F f) {
  check_same(op, a, b);
  const Pairing p = pair_up(op, a, b);
  Tensor y = Tensor::empty(p.shape, a.dtype(), a.device());
  on_device(op, a, [&]<class T> { binary_loop(p, a.data<T>(), b.data<T>(), y.data<T>(), f); }, [&] { binary_cuda(F::op, p, a, b, y); });
  return y;
}

// dy * f(a, b) summed over the axes that `shape` does not have. A term that is summed is not rounded to bf16 before.
template <class F>
Tensor product_sum(const char* op, const Tensor& dy, const Tensor& a, const Tensor& b, const Shape& shape, F f) {
  const DType exact = parameter_dtype(dy.dtype());
  const Pairing p = pair_up(op, a, b);
  Tensor factor = Tensor::empty(p.shape, exact, dy.device());
  const bool summed = !(dy.shape() == shape);
  const Pairing q = pair_up(op, dy, factor);
  Tensor product = Tensor::empty(q.shape, summed ? exact : dy.dtype(), dy.device());
  on_device(op, dy, [&]<class T> {
    using A = accumulator_t<T>;
    binary_loop(p, a.data<T>(), b.data<T>(), factor.data<A>(), f);
    const auto multiply = [&]<class Out>(Out* y) {
      binary_loop(q, dy.data<T>(), factor.data<A>(), y, [](auto g, auto v) { return g * v; });
    };
    if (summed) {
      multiply(product.data<A>());
    } else {
      multiply(product.data<T>());
    }
  }, [&] {
    binary_cuda(F::op, p, a, b, factor);
    binary_cuda(BinaryOp::times, q, dy, factor, product);
  });
  return cast(unbroadcast(product, shape), dy.dtype());
}

// f(dy, x) summed likewise.
template <class F> Tensor binary_sum(const char* op, const Tensor& dy, const Tensor& x, const Shape& shape, F f) {
  if (dy.shape() == shape) return binary(op, dy, x, f);
  const Pairing p = pair_up(op, dy, x);
  Tensor terms = Tensor::empty(p.shape, parameter_dtype(dy.dtype()), dy.device());
  on_device(op, dy, [&]<class T> { binary_loop(p, dy.data<T>(), x.data<T>(), terms.data<accumulator_t<T>>(), f); },
            [&] { binary_cuda(F::op, p, dy, x, terms); });
  return cast(unbroadcast(terms, shape), dy.dtype());
}

// f(x), which is `kind` with the number c.
template <class F> Tensor unary(const char* op, const Tensor& x, UnaryOp kind, double c, F f) {
  check(x.defined(), "[{}] x is undefined", op);
  Tensor y = empty_like(x);
  on_device(op, x, [&]<class T> {
    elementwise(y.data<T>(), y.numel(),
                [f, x = x.data<T>()](int64_t i) { return T(f(static_cast<accumulator_t<T>>(x[i]))); });
  }, [&] { unary_cuda(kind, x, y, c); });
  return y;
}

template <BinaryOp O> struct Function {
  static constexpr BinaryOp op = O;
  template <class A> A operator()(A a, A b) const {
    if constexpr (O == BinaryOp::plus) return a + b;
    if constexpr (O == BinaryOp::minus) return a - b;
    if constexpr (O == BinaryOp::times) return a * b;
    if constexpr (O == BinaryOp::over) return a / b;
    if constexpr (O == BinaryOp::minus_times) return -a * b;
    return -a / (b * b);
  }
};
constexpr Function<BinaryOp::plus> plus;
constexpr Function<BinaryOp::minus> minus;
constexpr Function<BinaryOp::times> times;
constexpr Function<BinaryOp::over> over;
constexpr Function<BinaryOp::minus_times> minus_times;
constexpr Function<BinaryOp::minus_over_square> minus_over_square;

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  return record(
      "add", binary("add", a, b, plus), {a, b},
      [as = a.shape(), bs = b.shape(), da = a.needs_grad(), db = b.needs_grad()](const Tensor& dy) -> Tensors {
        return {da ? unbroadcast(dy, as) : Tensor(), db ? unbroadcast(dy, bs) : Tensor()};
      });
}

Tensor sub(const Tensor& a, const Tensor& b) {
  return record(
      "sub", binary("sub", a, b, minus), {a, b},
      [as = a.shape(), bs = b.shape(), da = a.needs_grad(), db = b.needs_grad()](const Tensor& dy) -> Tensors {
        return {da ? unbroadcast(dy, as) : Tensor(), db ? neg(unbroadcast(dy, bs)) : Tensor()};
      });
}

Tensor mul(const Tensor& a, const Tensor& b) {
  const Tensor for_b = b.needs_grad() ? a.detach() : Tensor(), for_a = a.needs_grad() ? b.detach() : Tensor();
  return record("mul", binary("mul", a, b, times), {a, b},
                [as = a.shape(), bs = b.shape(), for_a, for_b](const Tensor& dy) -> Tensors {
                  return {for_a ? binary_sum("mul", dy, for_a, as, times) : Tensor(),
                          for_b ? binary_sum("mul", dy, for_b, bs, times) : Tensor()};
                });
}

Tensor div(const Tensor& a, const Tensor& b) {
  const Tensor for_b = b.needs_grad() ? a.detach() : Tensor();
  return record("div", binary("div", a, b, over), {a, b},
                [as = a.shape(), da = a.needs_grad(), b = b.detach(), for_b](const Tensor& dy) -> Tensors {
                  return {da ? binary_sum("div", dy, b, as, over) : Tensor(),
                          for_b ? product_sum("div", dy, for_b, b, b.shape(), minus_over_square) : Tensor()};
                });
}

Tensor add(const Tensor& a, double b) {
  return record("add", unary("add", a, UnaryOp::plus, b, [b](auto x) { return x + static_cast<decltype(x)>(b); }), {a},
                [](const Tensor& dy) -> Tensors { return {dy}; });
}

Tensor mul(const Tensor& a, double b) {
  return record("mul", unary("mul", a, UnaryOp::times, b, [b](auto x) { return x * static_cast<decltype(x)>(b); }), {a},
                [b](const Tensor& dy) -> Tensors { return {mul(dy, b)}; });
}

Tensor div(double a, const Tensor& b) {
  Tensor y = unary("div", b, UnaryOp::under, a, [a](auto x) { return static_cast<decltype(x)>(a) / x; });
  return record("div", y, {b}, [b = b.detach(), y](const Tensor& dy) -> Tensors {
    return {binary("div", binary("div", dy, b, over), y, minus_times)};
  });
}

Tensor neg(const Tensor& x) {
  return record("neg", unary("neg", x, UnaryOp::minus, 0, [](auto v) { return -v; }), {x},
                [](const Tensor& dy) -> Tensors { return {neg(dy)}; });
}

}  // namespace weft
