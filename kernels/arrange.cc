// Forward: bytes are copied.  Backward: the copy undone; gather and index_select add up what came from one element.
// Saved: the indices.
#include "kernels/arrange.h"

#include <fmt/ranges.h>

#include <array>
#include <cstring>
#include <numeric>

#include "kernels/device/copies.h"
#include "kernels/device/permuted.h"
#include "kernels/device/rows.h"
#include "kernels/device/scatter.h"
#include "kernels/device/tile.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

// kernels/arrange.cu
void permute_cuda(const Tensor& x, const Tensor& y, const Permuted& p);
void gather_cuda(const Tensor& x, const Tensor& index, const Tensor& y, int64_t n, int64_t k, int64_t inner);
void gather_backward_cuda(const Tensor& dy, const Tensor& index, const Tensor& dx, int64_t outer, int64_t n, int64_t k, int64_t inner);
void one_hot_cuda(const Tensor& ids, const Tensor& y, int64_t classes);

namespace {

void check_operand(const char* op, const Tensor& x) {
  check(x.defined(), "[{}] x is undefined", op);
}

int checked_axis(const char* op, const Tensor& x, int axis) {
  check(axis >= -x.rank() && axis < x.rank(), "[{}] the axis must lie in [-{}, {}) but is {} for shape {}", op,
        x.rank(), x.rank(), axis, x.shape());
  return x.shape().index(axis);
}

// `count` runs of `bytes`, at these distances from each other.
void copy_runs(void* to, int64_t to_step, const void* from, int64_t from_step, int64_t count, int64_t bytes) {
  parallel_for(count * bytes, 1 << 18, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const int64_t run = i / bytes, at = i % bytes, n = std::min(bytes - at, end - i);
      std::memcpy(static_cast<char*>(to) + run * to_step + at, static_cast<const char*>(from) + run * from_step + at,
                  n);
      i += n;
    }
  });
}

// Elements [begin, begin + part's extent) of `axis` of `whole`, to or from `part`.
void copy_part(const Tensor& whole, const Tensor& part, int axis, int64_t begin, bool into_whole) {
  const int64_t outer = whole.shape().product(0, axis),
                inner = whole.shape().product(axis + 1, whole.rank()) * size_of(whole.dtype());
  const int64_t whole_step = whole.dim(axis) * inner, part_step = part.dim(axis) * inner;
  char* at = static_cast<char*>(whole.raw()) + begin * inner;
  const auto with = [&](auto&& copy) {
    if (into_whole) {
      copy(at, whole_step, part.raw(), part_step, outer, part_step);
    } else {
      copy(part.raw(), part_step, at, whole_step, outer, part_step);
    }
  };
  on_place(whole, [&] { with(copy_runs); }, [&] { with(copy_runs_cuda); });
}

Tensor cut_out(const Tensor& x, int axis, int64_t begin, int64_t end) {
  Shape shape = x.shape();
  shape[axis] = end - begin;
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  copy_part(x, y, axis, begin, false);
  return y;
}

Permuted permuted(const Shape& x, const std::vector<int>& axes) {
  std::array<int64_t, Shape::max_rank> stride{};
  for (int i = x.rank() - 1; i >= 0; --i) stride[i] = x.product(i + 1, x.rank());
  Permuted p;
  for (int a : axes) {
    if (x[a] == 1) continue;
    if (p.rank > 0 && p.from[p.rank - 1] == stride[a] * x[a]) {
      p.extent[p.rank - 1] *= x[a];
      p.from[p.rank - 1] = stride[a];
    } else {
      p.extent[p.rank] = x[a], p.from[p.rank] = stride[a];
      ++p.rank;
    }
  }
  if (p.rank == 0) p.extent[0] = p.from[0] = 1, p.rank = 1;
  int64_t step = 1;
  for (int i = p.rank - 1; i >= 0; --i) p.to[i] = step, step *= p.extent[i];
  return p;
}

// Calls body(x offset, y offset) for the steps [begin, end) of the axes of p other than `a` and `b`.
template <class Body> void walk(const Permuted& p, int a, int b, int64_t begin, int64_t end, Body&& body) {
  for (int64_t i = begin; i < end; ++i) {
    int64_t rest = i, from = 0, to = 0;
    for (int k = p.rank - 1; k >= 0; --k) {
      if (k == a || k == b) continue;
      from += rest % p.extent[k] * p.from[k], to += rest % p.extent[k] * p.to[k];
      rest /= p.extent[k];
    }
    body(from, to);
  }
}

// y[r][c] = x[c][r] for a block of height rows of x, at most a line, and width elements of each, at most 4 lines. `stream`: past
// the caches, where lines are aligned.
template <class T>
void transpose_block(const T* x, int64_t x_row, T* y, int64_t y_row, int64_t height, int64_t width,
                     [[maybe_unused]] bool stream) {
#ifdef __AVX512BW__
  constexpr int64_t line = 64 / sizeof(T);
  if constexpr (sizeof(T) == 2 || sizeof(T) == 4) {
    using Word = uint32_t;
    using V = tile::Vector<Word>;
    if (height == line && width == line) {
      stream = stream && (reinterpret_cast<uintptr_t>(y) | y_row * sizeof(T)) % 64 == 0;
      if constexpr (sizeof(T) == 4) {
        V block[line];
        for (int64_t l = 0; l < line; ++l) block[l] = tile::load<V>(x + l * x_row);
        tile::transpose<Word>(block);
        for (int64_t l = 0; l < line; ++l) store_line(y + l * y_row, &block[l], stream);
      } else {
        // Neighbouring rows become words of two elements, which are transposed in two halves of 16 columns.
        for (int64_t half = 0; half < line; half += line / 2) {
          V block[line / 2];
          for (int64_t l = 0; l < line / 2; ++l) {
            typedef uint16_t Half __attribute__((vector_size(32)));
            const T* at = x + 2 * l * x_row + half;
            block[l] = __builtin_convertvector(tile::load<Half>(at), V) |
                       __builtin_convertvector(tile::load<Half>(at + x_row), V) << 16;
          }
          tile::transpose<Word>(block);
          for (int64_t l = 0; l < line / 2; ++l) store_line(y + (half + l) * y_row, &block[l], stream);
        }
      }
      return;
    }
  }
#endif
  // Through a buffer, so that every line of x is read once even where its rows lie a power of two apart.
  T buffer[64 / sizeof(T)][256 / sizeof(T)];
  for (int64_t c = 0; c < height; ++c) std::memcpy(buffer[c], x + c * x_row, width * sizeof(T));
  for (int64_t r = 0; r < width; ++r) {
    T* out = y + r * y_row;
    for (int64_t c = 0; c < height; ++c) out[c] = buffer[c][r];
  }
}

template <class T> void permute_loop(const T* x, T* y, const Permuted& p, int64_t n) {
  const int last = p.rank - 1;
  const int64_t inner = p.extent[last];
  if (p.from[last] == 1) {
    if (p.rank == 1) return copy_runs(y, 0, x, 0, 1, n * sizeof(T));
    parallel_for(n / inner, std::max<int64_t>(1, elements_grain / inner), [=, &p](int64_t begin, int64_t end) {
      walk(p, last, last, begin, end,
           [=](int64_t from, int64_t to) { std::memcpy(y + to, x + from, inner * sizeof(T)); });
    });
    return;
  }
  // A transposition between the axis that is dense in x and the one that is dense in y, in blocks of a line by a line.
  constexpr int64_t line = 64 / sizeof(T), strip = 4 * line;
  int dense = 0;
  while (p.from[dense] != 1) ++dense;
  const int64_t rows = p.extent[dense], strips = (rows + strip - 1) / strip;
  const bool stream = streams<T>(n);
  parallel_for(n / (inner * rows) * strips, std::max<int64_t>(1, elements_grain / (inner * strip)),
               [=, &p](int64_t begin, int64_t end) {
                 for (int64_t unit = begin; unit < end; ++unit) {
                   const int64_t r0 = unit % strips * strip, r1 = std::min(rows, r0 + strip);
                   walk(p, dense, last, unit / strips, unit / strips + 1, [&](int64_t from, int64_t to) {
                     for (int64_t c = 0; c < inner; c += line) {
                       // Where lines of y are cut off, the strip goes in one piece.
                       const int64_t height = std::min(line, inner - c), step = height < line ? strip : line;
                       for (int64_t r = r0; r < r1; r += step) {
                         transpose_block(x + from + r + c * p.from[last], p.from[last], y + to + r * p.to[dense] + c,
                                         p.to[dense], height, std::min(step, r1 - r), stream);
                       }
                     }
                   });
                 }
                 if (stream) stream_fence();
               });
}

Tensor permute_bytes(const Tensor& x, const std::vector<int>& axes) {
  Shape shape;
  for (int a : axes) shape.push_back(x.dim(a));
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  if (x.numel() == 0) return y;
  const Permuted p = permuted(x.shape(), axes);
  const auto loop = [&]<class T>(T*) {
    permute_loop(static_cast<const T*>(x.raw()), static_cast<T*>(y.raw()), p, x.numel());
  };
  const auto on_cpu = [&] {
    switch (size_of(x.dtype())) {
      case 1: return loop(static_cast<uint8_t*>(nullptr));
      case 2: return loop(static_cast<uint16_t*>(nullptr));
      case 4: return loop(static_cast<uint32_t*>(nullptr));
      default: return loop(static_cast<uint64_t*>(nullptr));
    }
  };
  on_place(x, on_cpu, [&] { permute_cuda(x, y, p); });
  return y;
}

// x seen as [outer, n, inner]; index and y as [outer, k, inner].
struct Gather {
  int64_t outer, n, k, inner;
};

template <class T> void gather_forward(const T* x, const int64_t* index, T* y, const Gather& g) {
  parallel_for(g.outer * g.k, std::max<int64_t>(1, elements_grain / std::max<int64_t>(g.inner, 1)),
               [=](int64_t begin, int64_t end) {
                 for (int64_t r = begin; r < end; ++r) {
                   const T* from = x + r / g.k * g.n * g.inner;
                   for (int64_t c = 0; c < g.inner; ++c)
                     y[r * g.inner + c] = from[index[r * g.inner + c] * g.inner + c];
                 }
               });
}

// Strips of neighbouring columns go to one thread each; their sums are taken in the order of k.
template <class T> void gather_backward(const T* dy, const int64_t* index, T* dx, const Gather& g) {
  using A = accumulator_t<T>;
  constexpr int64_t width = 64;
  const int64_t strips = (g.inner + width - 1) / width;
  parallel_for(g.outer * strips, std::max<int64_t>(1, elements_grain / std::max<int64_t>(g.k * width, 1)),
               [=](int64_t begin, int64_t end) {
                 std::vector<A> sum(g.n * width);
                 for (int64_t s = begin; s < end; ++s) {
                   const int64_t outer = s / strips, from = s % strips * width, count = std::min(width, g.inner - from);
                   std::fill(sum.begin(), sum.end(), A{0});
                   for (int64_t k = 0; k < g.k; ++k) {
                     const int64_t row = (outer * g.k + k) * g.inner + from;
                     for (int64_t c = 0; c < count; ++c) sum[index[row + c] * width + c] += static_cast<A>(dy[row + c]);
                   }
                   for (int64_t i = 0; i < g.n; ++i) {
                     for (int64_t c = 0; c < count; ++c)
                       dx[(outer * g.n + i) * g.inner + from + c] = T(sum[i * width + c]);
                   }
                 }
               });
}

}  // namespace

Tensor concat(const Tensors& tensors, int axis) {
  check(!tensors.empty(), "[concat] at least 1 tensor must be given");
  for (const Tensor& t : tensors) check_operand("concat", t);
  const int at = checked_axis("concat", tensors[0], axis);
  Shape shape = tensors[0].shape();
  shape[at] = 0;
  for (const Tensor& t : tensors) {
    check_same("concat", tensors[0], t);
    Shape other = t.shape();
    const bool ranks_equal = other.rank() == shape.rank();
    if (ranks_equal) other[at] = shape[at];
    check(ranks_equal && other == shape, "[concat] the shapes must be equal but for axis {} but are {} and {}", axis,
          tensors[0].shape(), t.shape());
    shape[at] += t.dim(at);
  }
  Tensor y = Tensor::empty(shape, tensors[0].dtype(), tensors[0].device());
  std::vector<int64_t> begins{0};
  std::vector<bool> needed;
  for (const Tensor& t : tensors) {
    copy_part(y, t, at, begins.back(), true);
    begins.push_back(begins.back() + t.dim(at));
    needed.push_back(t.needs_grad());
  }
  return record("concat", y, tensors, [at, begins, needed](const Tensor& dy) -> Tensors {
    Tensors gradients(needed.size());
    for (size_t i = 0; i < needed.size(); ++i) {
      if (needed[i]) gradients[i] = cut_out(dy, at, begins[i], begins[i + 1]);
    }
    return gradients;
  });
}

Tensor slice(const Tensor& x, int axis, int64_t begin, int64_t end) {
  check_operand("slice", x);
  const int at = checked_axis("slice", x, axis);
  check(0 <= begin && begin <= end && end <= x.dim(at),
        "[slice] 0 <= begin <= end <= {} must hold but begin is {} and end is {}", x.dim(at), begin, end);
  return record("slice", cut_out(x, at, begin, end), {x}, [at, begin, whole = x.shape()](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::zeros(whole, dy.dtype(), dy.device());
    copy_part(dx, dy, at, begin, true);
    return {dx};
  });
}

Tensor permute(const Tensor& x, const std::vector<int>& axes) {
  check_operand("permute", x);
  std::vector<int> order, back(x.rank(), -1);
  for (int a : axes) {
    order.push_back(checked_axis("permute", x, a));
    back[order.back()] = static_cast<int>(order.size()) - 1;
  }
  check(static_cast<int>(axes.size()) == x.rank() && std::find(back.begin(), back.end(), -1) == back.end(),
        "[permute] the axes must name each of the {} axes once but are {}", x.rank(), axes);
  return record("permute", permute_bytes(x, order), {x},
                [back](const Tensor& dy) -> Tensors { return {permute_bytes(dy, back)}; });
}

Tensor transpose(const Tensor& x, int a, int b) {
  check_operand("transpose", x);
  std::vector<int> axes(x.rank());
  std::iota(axes.begin(), axes.end(), 0);
  std::swap(axes[checked_axis("transpose", x, a)], axes[checked_axis("transpose", x, b)]);
  return permute(x, axes);
}

Tensor gather(const Tensor& x, int axis, const Tensor& index) {
  check_operand("gather", x);
  const int at = checked_axis("gather", x, axis);
  const Ids ids = checked_ids("gather", index, x.dim(at), x.device());
  Shape expected = x.shape();
  if (index.rank() == x.rank()) expected[at] = index.dim(at);
  check(index.shape() == expected,
        "[gather] the index must have x's shape but for axis {} but the shapes are {} and {}", axis, index.shape(),
        x.shape());
  const Gather g{x.shape().product(0, at), x.dim(at), index.dim(at), x.shape().product(at + 1, x.rank())};
  Tensor y = Tensor::empty(index.shape(), x.dtype(), x.device());
  const auto on_cpu = [&] {
    on_any_dtype(x.dtype(), [&]<class T> { gather_forward(x.data<T>(), ids.host.data<int64_t>(), y.data<T>(), g); });
  };
  on_place(x, on_cpu, [&] { gather_cuda(x, ids.near, y, g.n, g.k, g.inner); });
  return record("gather", y, {x}, [g, index = ids.near, whole = x.shape()](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::empty(whole, dy.dtype(), dy.device());
    on_device("gather", dy, [&]<class T> { gather_backward(dy.data<T>(), index.data<int64_t>(), dx.data<T>(), g); },
              [&] { gather_backward_cuda(dy, index, dx, g.outer, g.n, g.k, g.inner); });
    return {dx};
  });
}

Tensor index_select(const Tensor& x, const Tensor& ids) {
  check_operand("index_select", x);
  check(x.rank() >= 1, "[index_select] x must have at least 1 axis but has shape {}", x.shape());
  check(ids.defined() && ids.rank() == 1, "[index_select] ids must have 1 axis but has shape {}", ids.shape());
  const Ids rows = checked_ids("index_select", ids, x.dim(0), x.device());
  Shape shape = x.shape();
  shape[0] = ids.dim(0);
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  const int64_t row = x.shape().product(1, x.rank());
  look_up_rows(x, y, rows, row * size_of(x.dtype()));
  return record("index_select", y, {x}, [row, rows, whole = x.shape()](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::empty(whole, dy.dtype(), dy.device());
    scatter_add("index_select", dx, whole[0], row, rows, dy);
    return {dx};
  });
}

Tensor one_hot(const Tensor& ids, int64_t classes, DType dtype) {
  check(classes >= 1, "[one_hot] classes must be at least 1 but is {}", classes);
  const Ids checked = checked_ids("one_hot", ids, classes, ids.device());
  Shape shape = ids.shape();
  shape.push_back(classes);
  Tensor y = Tensor::zeros(shape, dtype, ids.device());
  const auto on_cpu = [&] {
    on_any_dtype(dtype, [&]<class T> {
      for (int64_t i = 0; i < ids.numel(); ++i) y.data<T>()[i * classes + ids.data<int64_t>()[i]] = convert<T>(1.0f);
    });
  };
  on_place(ids, on_cpu, [&] { one_hot_cuda(checked.near, y, classes); });
  return no_gradient("one_hot", y, "its input is an index");
}

}  // namespace weft
