// Forward:  z = op(a) op(b) + bias, y = act(z)
// Backward: dz = dy act'(z); d op(a) = dz op(b)^T, d op(b) = op(a)^T dz, dbias = the sum of dz's rows
// Saved: a and b as far as the other's gradient needs them; y for relu, whose mask it holds. For gelu, gelu_tanh and
// silu nothing more: z is computed again from a and b, which costs a third product in the backward and saves a tensor
// of y's size.
#include "kernels/matmul.h"

#include "kernels/device/activation_math.h"
#include "kernels/device/elementwise.h"
#include "kernels/device/gemm.h"
#include "kernels/device/onednn.h"
#include "kernels/device/product.h"
#include "kernels/device/thin_product.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"
#include "tensor/files/mapped_memory.h"

namespace weft {

// activation.cu
template <class Math> void activation_backward_cuda(const Tensor& saved, const Tensor& dy, const Tensor& dx);

namespace {

// A factor of a product: matrices [rows, cols] or, transposed, [cols, rows]; one, or one for each of the batch.
struct Factor {
  Tensor matrix;
  bool transposed = false;
  bool batched = false;
  bool constant = false;  // worth packing once, for b only
};

struct Sizes {
  int64_t batch = 1, m = 1, n = 1, k = 1;
};

struct NoMath {
  template <class A> static A value(A z) { return z; }
  template <class A> static A slope(A) { return 1; }
};

// Calls f with the formulas of the activation.
template <class F> void with_math(Activation activation, F&& f) {
  switch (activation) {
    case Activation::none: return f(NoMath());
    case Activation::relu: return f(ReluMath());
    case Activation::gelu: return f(GeluMath());
    case Activation::gelu_tanh: return f(GeluTanhMath());
    case Activation::silu: return f(SiluMath());
  }
}

// inline: a build without the cuda device, which never calls it, must not refer to kernels.
inline void through_activation_cuda(Activation activation, const Tensor& z, const Tensor& dy, const Tensor& dz) {
  switch (activation) {
    case Activation::none: return dz.copy_from(dy);
    case Activation::relu: return activation_backward_cuda<ReluMath>(z, dy, dz);
    case Activation::gelu: return activation_backward_cuda<GeluMath>(z, dy, dz);
    case Activation::gelu_tanh: return activation_backward_cuda<GeluTanhMath>(z, dy, dz);
    case Activation::silu: return activation_backward_cuda<SiluMath>(z, dy, dz);
  }
}

// dz = dy act'(z); for relu z is y, which has the same sign.
Tensor through_activation(const char* name, Activation activation, const Tensor& z, const Tensor& dy) {
  Tensor dz = empty_like(dy);
  const auto on_cpu = [&]<class T> {
    with_math(activation, [&]<class Math>(Math) {
      using A = accumulator_t<T>;
      elementwise(dz.data<T>(), dz.numel(), [z = z.data<T>(), dy = dy.data<T>()](int64_t i) {
        return T(Math::slope(static_cast<A>(z[i])) * static_cast<A>(dy[i]));
      });
    });
  };
  on_device(name, dy, on_cpu, [&] { through_activation_cuda(activation, z, dy, dz); });
  return dz;
}

// The truth: every element of y is one sum over k in order. Four rows share each row of b.
template <class T>
void product_plain(const Factor& a, const Factor& b, const T* bias, Activation activation, T* y, const Sizes& s) {
  using A = accumulator_t<T>;
  const T *ap = static_cast<const T*>(a.matrix.raw()), *bp = static_cast<const T*>(b.matrix.raw());
  std::vector<T> turned;
  if (b.transposed && s.k > 0) {
    const int64_t count = b.batched ? s.batch : 1;
    turned.resize(count * s.k * s.n);
    T* to = turned.data();
    parallel_for(count * s.k, std::max<int64_t>(1, elements_grain / s.n), [=](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* from = bp + r / s.k * s.k * s.n + r % s.k;
        for (int64_t j = 0; j < s.n; ++j) to[r * s.n + j] = from[j * s.k];
      }
    });
    bp = to;
  }
  const int64_t row_step = a.transposed ? 1 : s.k, k_step = a.transposed ? s.m : 1;
  const int64_t blocks = (s.m + 3) / 4;
  parallel_for(s.batch * blocks, std::max<int64_t>(1, (1 << 14) / (4 * s.n * std::max<int64_t>(s.k, 1))),
               [=](int64_t begin, int64_t end) {
                 std::vector<A> sums(4 * s.n);
                 for (int64_t block = begin; block < end; ++block) {
                   const int64_t batch = block / blocks, row = block % blocks * 4,
                                 rows = std::min<int64_t>(4, s.m - row);
                   const T* a0 = ap + (a.batched ? batch * s.m * s.k : 0) + row * row_step;
                   const T* b0 = bp + (b.batched ? batch * s.k * s.n : 0);
                   for (int64_t i = 0; i < 4 * s.n; ++i) sums[i] = bias ? static_cast<A>(bias[i % s.n]) : A{0};
                   for (int64_t k = 0; k < s.k; ++k) {
                     for (int64_t r = 0; r < rows; ++r) {
                       const A factor = a0[r * row_step + k * k_step];
                       A* sum = sums.data() + r * s.n;
                       const T* from = b0 + k * s.n;
#pragma omp simd
                       for (int64_t j = 0; j < s.n; ++j) sum[j] += factor * static_cast<A>(from[j]);
                     }
                   }
                   T* out = y + (batch * s.m + row) * s.n;
                   with_math(activation, [&]<class Math>(Math) {
                     for (int64_t i = 0; i < rows * s.n; ++i) out[i] = T(Math::value(sums[i]));
                   });
                 }
               });
}

dnnl::memory::desc matrices(DType dtype, int64_t batch, int64_t rows, int64_t cols, bool transposed, bool with_batch) {
  const int64_t row_step = transposed ? 1 : cols, col_step = transposed ? rows : 1;
  if (!with_batch) return {{rows, cols}, onednn::type_of(dtype), dnnl::memory::dims{row_step, col_step}};
  return {{batch, rows, cols}, onednn::type_of(dtype), dnnl::memory::dims{rows * cols, row_step, col_step}};
}

// relu is not among them: oneDNN's is max(x, 0), which turns NaN into 0, so relu is a pass of its own over y.
dnnl::algorithm algorithm_of(Activation activation) {
  switch (activation) {
    case Activation::gelu: return dnnl::algorithm::eltwise_gelu_erf;
    case Activation::gelu_tanh: return dnnl::algorithm::eltwise_gelu_tanh;
    default: return dnnl::algorithm::eltwise_swish;
  }
}

// A weight in a file that is worth leaving there: read by the products, never taken into the program's memory.
bool stays_in_file(const Factor& b) {
  constexpr int64_t least = 512 << 10;
  return b.constant && b.matrix.storage()->owner && b.matrix.nbytes() >= least;
}

bool is_thin(const Factor& a, const Factor& b, const Sizes& s) {
  return !a.transposed && b.transposed && thin_product_takes(s.m, s.n, s.k);
}

// kernels/device/thin_product.h and product.h, on f32 alone.
void product_f32(const Factor& a, const Factor& b, const Tensor& bias, Activation activation, const Tensor& y,
                 const Sizes& s) {
  const auto factor = [](const Factor& f, int64_t rows, int64_t columns) {
    return f.transposed ? ProductFactor{f.matrix.data<float>(), 1, rows}
                        : ProductFactor{f.matrix.data<float>(), columns, 1};
  };
  float* to = y.data<float>();
  const float* from_bias = bias ? bias.data<float>() : nullptr;
  if (is_thin(a, b, s)) {
    thin_product(a.matrix.data<float>(), b.matrix.data<float>(), from_bias, to, s.m, s.n, s.k);
  } else {
    product_by_hand(factor(a, s.m, s.k), factor(b, s.k, s.n), from_bias, to, s.m, s.n, s.k);
  }
  // Its pages are mapped again next time, which takes a few percent of a product of many rows and more of one of few.
  constexpr int64_t many = 256;
  if (s.m >= many && stays_in_file(b)) forget_mapped(b.matrix);
  if (activation == Activation::none || activation == Activation::relu) return;
  with_math(activation, [&]<class Math>(Math) {
    elementwise(to, y.numel(), [to](int64_t i) { return Math::value(to[i]); });
  });
}

// f32 and bf16. oneDNN's matmul: a, b and bias of one dtype, y of that or f32; a packed b may be of f32 whatever a is.
// relu is the caller's.
void product_fast(const Factor& a, const Factor& b, const Tensor& bias, Activation activation, const Tensor& y,
                    const Sizes& s) {
  const DType dtype = a.matrix.dtype();
  if (!onednn::computes(dtype)) {
    const Tensor wide = y.dtype() == DType::f32 ? y : Tensor::empty(y.shape(), DType::f32);
    Factor a32 = a, b32 = b;
    a32.matrix = onednn::widened(a.matrix), b32.matrix = onednn::widened(b.matrix, b.constant);
    product_fast(a32, b32, onednn::widened(bias), activation, wide, s);
    return onednn::round_to(y, wide);
  }
  const bool with_batch = s.batch > 1;
  if (dtype == DType::f32 && !with_batch && (is_thin(a, b, s) || product_takes(s.m, s.n, s.k, stays_in_file(b)))) {
    return product_f32(a, b, bias, activation, y, s);
  }
  // A packed weight pays only where there is one weight for all.
  const bool pack = b.constant && !with_batch;
  onednn::Key key{1,   static_cast<int>(dtype), static_cast<int>(b.matrix.dtype()), static_cast<int>(y.dtype()), s.batch,
                  s.m, s.n, s.k};
  key << (a.transposed | b.transposed << 1 | a.batched << 2 | b.batched << 3 | pack << 4 | bias.defined() << 5)
      << static_cast<int>(activation);
  const auto plan = onednn::plan(key, [&] {
    const auto da = matrices(dtype, a.batched ? s.batch : 1, s.m, s.k, a.transposed, with_batch);
    const auto db = matrices(dtype, b.batched ? s.batch : 1, s.k, s.n, b.transposed, with_batch);
    const auto given = matrices(b.matrix.dtype(), b.batched ? s.batch : 1, s.k, s.n, b.transposed, with_batch);
    const auto dy = matrices(y.dtype(), s.batch, s.m, s.n, false, with_batch);
    const auto any = dnnl::memory::desc({s.k, s.n}, onednn::type_of(dtype), dnnl::memory::format_tag::any);
    dnnl::primitive_attr attributes = onednn::attributes();
    if (activation != Activation::none && activation != Activation::relu) {
      dnnl::post_ops operations;
      operations.append_eltwise(1, algorithm_of(activation), activation == Activation::silu ? 1 : 0, 0);
      attributes.set_post_ops(operations);
    }
    dnnl::memory::desc dbias;
    if (bias) dbias = matrices(dtype, 1, 1, s.n, false, with_batch);
    const dnnl::matmul::desc d =
        bias ? dnnl::matmul::desc(da, pack ? any : db, dbias, dy) : dnnl::matmul::desc(da, pack ? any : db, dy);
    const dnnl::matmul::primitive_desc pd(d, attributes, onednn::engine());
    onednn::Plan made{dnnl::matmul(pd),
                      {{DNNL_ARG_SRC, da}, {DNNL_ARG_WEIGHTS, pd.weights_desc()}, {DNNL_ARG_DST, dy}},
                      pd.scratchpad_desc(),
                      onednn::layout_of(given),
                      onednn::layout_of(pd.weights_desc())};
    if (bias) made.arguments.emplace_back(DNNL_ARG_BIAS, dbias);
    return made;
  });
  const Tensor weights = onednn::packed(b.matrix, *plan, pack);
  if (bias) {
    onednn::run(*plan, {a.matrix.raw(), weights.raw(), y.raw(), bias.raw()});
  } else {
    onednn::run(*plan, {a.matrix.raw(), weights.raw(), y.raw()});
  }
}

// inline as above.
inline void product_cuda(const Factor& a, const Factor& b, const Tensor& bias, Activation activation, const Tensor& y,
                         const Sizes& s, bool sum_batch) {
  const auto factor = [](const Factor& f, int64_t rows, int64_t columns) {
    return GemmFactor{f.matrix.raw(), f.transposed ? 1 : columns, f.transposed ? rows : 1,
                      f.batched ? rows * columns : 0};
  };
  Gemm gemm{y.dtype(), s.batch, s.m, s.n, s.k, factor(a, s.m, s.k), factor(b, s.k, s.n), y.raw(), s.n, s.m * s.n};
  gemm.bias = bias.raw(), gemm.activation = activation, gemm.sum_batch = sum_batch;
  gemm_cuda(gemm);
}

// y [batch, m, n] = act(a b + bias).
void product(const char* name, const Factor& a, const Factor& b, const Tensor& bias, Activation activation,
             const Tensor& y, Sizes s) {
  if (y.numel() == 0) return;
  if (!a.transposed && a.batched && !b.batched) {
    s.m *= s.batch;
    s.batch = 1;
  }
  const auto on_cpu = [&]<class T> {
    if (std::is_same_v<T, double> || s.k == 0) {
      product_plain<T>(a, b, bias ? bias.data<T>() : nullptr, activation, y.data<T>(), s);
    } else {
      product_fast(a, b, bias, activation, y, s);
      if (activation == Activation::relu) {
        elementwise(y.data<T>(), y.numel(), [y = y.data<T>()](int64_t i) { return y[i] < T(0) ? T(0) : y[i]; });
      }
    }
  };
  on_device(name, y, on_cpu, [&] { product_cuda(a, b, bias, activation, y, s, false); });
}

// y [m, n] = the sum over the batch of a b.
void summed_product(const char* name, const Factor& a, const Factor& b, const Tensor& y, const Sizes& s) {
  const auto on_cpu = [&]<class T> {
    const Tensor products = Tensor::empty({s.batch, s.m, s.n}, parameter_dtype(y.dtype()), y.device());
    product(name, a, b, {}, Activation::none, products, s);
    y.copy_from(unbroadcast(products, y.shape()));
  };
  on_device(name, y, on_cpu, [&] { product_cuda(a, b, {}, Activation::none, y, s, true); });
}

// What the backward needs; a, b, bias and y are undefined where it does not.
struct Saved {
  Tensor a, b, bias, y;
  Shape a_shape, b_shape;
  DType dtype = DType::f32;
  Sizes sizes;
  bool transpose_a = false, transpose_b = false, batched_b = false, constant_b = false, has_bias = false;
  bool need_a = false, need_b = false, need_bias = false;
  Activation activation = Activation::none;
};

Tensors product_backward(const char* name, const Saved& s, const Tensor& dy) {
  const auto [batch, m, n, k] = s.sizes;
  const bool batched_a = batch > 1;
  Tensor dz = dy;
  if (s.activation == Activation::relu) {
    dz = through_activation(name, s.activation, s.y, dy);
  } else if (s.activation != Activation::none) {
    const Tensor z = empty_like(dy);
    product(name, {s.a, s.transpose_a, batched_a}, {s.b, s.transpose_b, s.batched_b, s.constant_b}, s.bias,
            Activation::none, z, s.sizes);
    dz = through_activation(name, s.activation, z, dy);
  }
  Tensor da, db, dbias;
  if (s.need_a) {
    da = Tensor::empty(s.a_shape, s.dtype, dy.device());
    if (s.transpose_a) {
      product(name, {s.b, s.transpose_b, s.batched_b}, {dz, true, batched_a}, {}, Activation::none, da,
              {batch, k, m, n});
    } else {
      product(name, {dz, false, batched_a}, {s.b, !s.transpose_b, s.batched_b, s.constant_b}, {}, Activation::none, da,
              {batch, m, k, n});
    }
  }
  if (s.need_b && dy.numel() == 0) {
    db = Tensor::zeros(s.b_shape, s.dtype, dy.device());
  } else if (s.need_b) {
    Sizes sizes = s.transpose_b ? Sizes{batch, n, k, m} : Sizes{batch, k, n, m};
    bool batched = batched_a;
    // One b for the whole batch: its gradient is a sum over the batch, which is one longer product unless a is
    // transposed.
    const bool fold = batched && !s.batched_b && !s.transpose_a, sum = batched && !s.batched_b && s.transpose_a;
    if (fold) {
      sizes.k *= batch;
      sizes.batch = 1;
      batched = false;
    }
    db = Tensor::empty(s.b_shape, s.dtype, dy.device());
    const Factor g{dz, s.transpose_b, batched}, x{s.a, s.transpose_a != !s.transpose_b, batched};
    const Factor &left = s.transpose_b ? g : x, &right = s.transpose_b ? x : g;
    if (sum) {
      summed_product(name, left, right, db, sizes);
    } else {
      product(name, left, right, {}, Activation::none, db, sizes);
    }
  }
  if (s.need_bias) dbias = unbroadcast(dz, {n});
  if (s.has_bias) return {da, db, dbias};
  return {da, db};
}

// a and b are already known to fit `sizes`.
Tensor matmul_op(const char* name, const Tensor& a, const Tensor& b, const Tensor& bias, const MatmulOptions& options,
                 const Sizes& sizes, bool batched_b, bool constant_b, const Shape& y_shape) {
  if (bias) {
    check_same(name, a, bias);
    check(bias.shape() == Shape{sizes.n}, "[{}] bias must have shape [{}] but has {}", name, sizes.n, bias.shape());
  }
  Tensor y = Tensor::empty(y_shape, a.dtype(), a.device());
  product(name, {a, options.transpose_a, sizes.batch > 1}, {b, options.transpose_b, batched_b, constant_b}, bias,
          options.activation, y, sizes);

  Saved s;
  s.need_a = a.needs_grad(), s.need_b = b.needs_grad(), s.need_bias = bias && bias.needs_grad();
  const bool recompute = options.activation != Activation::none && options.activation != Activation::relu;
  if (s.need_b || recompute) s.a = a.detach();
  if (s.need_a || recompute) s.b = b.detach();
  if (recompute && bias) s.bias = bias.detach();
  if (options.activation == Activation::relu) s.y = y;
  s.a_shape = a.shape(), s.b_shape = b.shape(), s.dtype = a.dtype(), s.sizes = sizes;
  s.transpose_a = options.transpose_a, s.transpose_b = options.transpose_b, s.batched_b = batched_b,
  s.constant_b = constant_b;
  s.has_bias = bias.defined(), s.activation = options.activation;
  const auto backward = [name, s = std::move(s)](const Tensor& dy) { return product_backward(name, s, dy); };
  if (bias) return record(name, y, {a, b, bias}, backward);
  return record(name, y, {a, b}, backward);
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, const Tensor& bias, const MatmulOptions& options) {
  check_same("matmul", a, b);
  check(a.rank() >= 2 && b.rank() >= 2, "[matmul] a and b must have at least 2 axes but have shapes {} and {}",
        a.shape(), b.shape());
  const bool batched_b = b.rank() > 2;
  bool leading = b.rank() == 2 || b.rank() == a.rank();
  for (int i = 0; leading && batched_b && i < a.rank() - 2; ++i) leading = a.dim(i) == b.dim(i);
  check(leading, "[matmul] b must have 2 axes or a's leading axes but the shapes are {} and {}", a.shape(), b.shape());
  Sizes s;
  s.batch = a.shape().product(0, a.rank() - 2);
  s.m = a.dim(options.transpose_a ? -1 : -2), s.k = a.dim(options.transpose_a ? -2 : -1);
  s.n = b.dim(options.transpose_b ? -2 : -1);
  const int64_t k = b.dim(options.transpose_b ? -1 : -2);
  check(s.k == k, "[matmul] the inner extents must be equal but are {} and {} (shapes {}{} and {}{})", s.k, k,
        a.shape(), options.transpose_a ? " transposed" : "", b.shape(), options.transpose_b ? " transposed" : "");
  Shape y_shape = a.shape();
  y_shape[-2] = s.m, y_shape[-1] = s.n;
  return matmul_op("matmul", a, b, bias, options, s, batched_b && s.batch > 1, false, y_shape);
}

bool linear_takes(const Tensor& x, const Tensor& master) {
  return x.defined() && master.defined() && x.device() == Device::cpu && master.device() == Device::cpu &&
         x.dtype() == DType::bf16 && master.dtype() == DType::f32 && !master.needs_grad();
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation) {
  if (!linear_takes(x, weight)) check_same("linear", x, weight);
  check(x.rank() >= 1 && weight.rank() == 2 && weight.dim(1) == x.dim(-1),
        "[linear] weight must be [out, in] with in the last extent of x, but the shapes are {} and x {}",
        weight.shape(), x.shape());
  Sizes s;
  s.m = x.rows(), s.k = x.cols(), s.n = weight.dim(0);
  Shape y_shape = x.shape();
  y_shape[-1] = s.n;
  return matmul_op("linear", x, weight, bias, {false, true, activation}, s, false, !weight.needs_grad(), y_shape);
}

}  // namespace weft
