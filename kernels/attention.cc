// Forward:  s = scale q k^T + bias, p = softmax(s), y = p v
// Backward: dv = p^T dy, ds = p (dy v^T - rowsum(dy y)), dq = scale ds k, dk = scale ds^T q, dbias = sum of ds over the
// batch Saved: q, k, v, y and the log-sum-exp of every row of s; p is computed again from them. Scores live in blocks
// of queries x keys; a running maximum and sum join the blocks of a row (Dao et al., "FlashAttention", 2022; Milakov
// and Gimelshein, "Online normalizer calculation for softmax", 2018).
#include "kernels/attention.h"

#include <limits>
#include <tuple>
#include <vector>

#include "kernels/device/attention_cuda.h"
#include "kernels/device/parallel.h"
#include "kernels/device/tile.h"
#include "kernels/device/vector_math.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

namespace {

using tile::round_up;

constexpr int64_t query_block = 32, key_block = 256;

template <class A>
constexpr A infinity = std::numeric_limits<A>::infinity();

// What every (batch element, head) of one call has in common.
template <class T>
struct Problem {
  using A = accumulator_t<T>;
  int64_t B, Tq, Tk, H, D;
  A scale;
  bool causal;
  const T *q, *k, *v;
  int64_t keys_padded;            // the row length of `off` and `bias`
  std::vector<A> bias;            // [H, Tq, keys_padded], empty without a bias
  std::vector<A> off;             // [B or 1, keys_padded]: 0 for a key to attend to, else minus infinity
  std::vector<int64_t> key_ends;  // [B]: one past the last key to attend to

  const A* bias_row(int64_t h, int64_t i) const {
    return bias.empty() ? nullptr : bias.data() + (h * Tq + i) * keys_padded;
  }
  const A* off_row(int64_t b) const {
    return off.data() + (static_cast<int64_t>(off.size()) > keys_padded ? b * keys_padded : 0);
  }
  // Keys that a block of queries that ends at i_end may attend to.
  int64_t last_key(int64_t b, int64_t i_end) const { return causal ? std::min(key_ends[b], i_end) : key_ends[b]; }
  int64_t stride() const { return H * D; }
  int64_t query_at(int64_t b, int64_t i, int64_t h) const { return ((b * Tq + i) * H + h) * D; }
  int64_t key_at(int64_t b, int64_t h) const { return (b * Tk * H + h) * D; }
};

template <class T>
Problem<T> problem_of(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  using A = accumulator_t<T>;
  Problem<T> p{q.dim(0),
               q.dim(1),
               k.dim(1),
               q.dim(2),
               q.dim(3),
               static_cast<A>(options.scale),
               options.causal,
               q.data<T>(),
               k.data<T>(),
               v.data<T>(),
               round_up(k.dim(1), tile::panel<A>),
               {},
               {},
               {}};
  p.off.assign((options.mask ? p.B : 1) * p.keys_padded, -infinity<A>);
  p.key_ends.assign(p.B, options.mask ? 0 : p.Tk);
  if (options.mask) {
    const bool* mask = options.mask.data<bool>();
    for (int64_t b = 0; b < p.B; ++b) {
      for (int64_t j = 0; j < p.Tk; ++j) {
        if (!mask[b * p.Tk + j]) continue;
        p.off[b * p.keys_padded + j] = 0;
        p.key_ends[b] = j + 1;
      }
    }
  } else {
    std::fill(p.off.begin(), p.off.begin() + p.Tk, A{0});
  }
  if (options.bias) {
    const T* bias = options.bias.data<T>();
    p.bias.resize(p.H * p.Tq * p.keys_padded);
    parallel_for(p.H * p.Tq, std::max<int64_t>(1, elements_grain / std::max<int64_t>(p.Tk, 1)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t r = begin; r < end; ++r) {
                     A* to = p.bias.data() + r * p.keys_padded;
                     for (int64_t j = 0; j < p.Tk; ++j) to[j] = static_cast<A>(bias[r * p.Tk + j]);
                   }
                 });
  }
  return p;
}

// Runs body(t) for t in [0, n), whichever thread is free taking the next: masked rows are cheap, whole ones are not.
template <class Body>
void each_task(int64_t n, Body&& body) {
#pragma omp parallel for schedule(dynamic) if (n > 1 && !omp_in_parallel())
  for (int64_t t = 0; t < n; ++t) body(t);
}

tile::Scratch& scratch() {
  thread_local tile::Scratch buffers;
  return buffers;
}

// One row of a block of scores: where it comes from, what is added to it.
template <class A>
struct ScoreRow {
  A* s;
  const A *bias, *off;  // bias may be null
  A scale;
  int64_t limit;  // columns from here on lie beyond the diagonal

  // scale s + bias + off of the columns from j on.
  tile::Vector<A> operator()(int64_t j) const {
    using V = tile::Vector<A>;
    V x = tile::load<V>(s + j) * scale + tile::load<V>(off + j);
    if (bias) x += tile::load<V>(bias + j);
    if (j + tile::lanes < A >> limit) [[unlikely]] {
      for (int64_t l = std::max<int64_t>(limit - j, 0); l < tile::lanes<A>; ++l) x[l] = -infinity<A>;
    }
    return x;
  }
};

// n elements of x times factor, rounded to T.
template <class T>
void store_row(const accumulator_t<T>* x, int64_t n, accumulator_t<T> factor, T* to) {
  using V = tile::Vector<accumulator_t<T>>;
  constexpr int lanes = tile::lanes<accumulator_t<T>>;
  int64_t d = 0;
  for (; d + lanes <= n; d += lanes) tile::store_rounded(to + d, tile::load<V>(x + d) * factor);
  for (; d < n; ++d) to[d] = T(x[d] * factor);
}

template <class T>
accumulator_t<T> dot(const T* a, const T* b, int64_t n) {
  using A = accumulator_t<T>;
  tile::Vector<A> sums{};
  int64_t d = 0;
  for (; d + tile::lanes<A> <= n; d += tile::lanes<A>) sums += tile::load_as_sum(a + d) * tile::load_as_sum(b + d);
  A sum = tile::fold<A>(sums, [](auto x, auto y) { return x + y; });
  for (; d < n; ++d) sum += static_cast<A>(a[d]) * static_cast<A>(b[d]);
  return sum;
}

// Queries [q_begin, q_end) of batch element b, head h.
template <class T>
void forward_task(const Problem<T>& p, int64_t b, int64_t h, int64_t q_begin, int64_t q_end, T* y,
                  accumulator_t<T>* lse) {
  using A = accumulator_t<T>;
  using Unit = typename tile::Operand<T>::Unit;
  constexpr int depth = tile::Operand<T>::depth, lanes = tile::lanes<A>;
  const int64_t D = p.D, width = round_up(D, lanes), keys = p.last_key(b, q_end),
                keys_tiled = round_up(keys, tile::panel<Unit>);
  const int64_t block = std::min(key_block, keys_tiled);

  using tile::Scratch;
  Scratch& memory = scratch();
  const int64_t k_units = tile::transposed_units<Unit>(keys, width, depth), v_units = keys_tiled * width / depth;
  const int64_t q_units = query_block * width / depth, p_units = query_block * block / depth;
  memory.reset(Scratch::bytes_for<Unit>(k_units) + Scratch::bytes_for<Unit>(v_units) +
               Scratch::bytes_for<Unit>(q_units) + Scratch::bytes_for<Unit>(p_units) +
               Scratch::bytes_for<A>(query_block * block) + Scratch::bytes_for<A>(query_block * width));
  Unit *k_packed = memory.take<Unit>(k_units), *v_packed = memory.take<Unit>(v_units);
  Unit *q_packed = memory.take<Unit>(q_units), *p_packed = memory.take<Unit>(p_units);
  A *s = memory.take<A>(query_block * block), *sum = memory.take<A>(query_block * width);

  tile::pack_transposed(p.k + p.key_at(b, h), p.stride(), keys, D, width, k_packed);
  tile::pack_right(p.v + p.key_at(b, h), p.stride(), keys, D, width, v_packed);

  for (int64_t i0 = q_begin; i0 < q_end; i0 += query_block) {
    const int64_t rows = std::min(query_block, q_end - i0), last = p.last_key(b, i0 + rows);
    A top[query_block], total[query_block];
    std::fill(top, top + rows, -infinity<A>);
    std::fill(total, total + rows, A{0});
    if (last == 0) std::fill(sum, sum + rows * width, A{0});
    tile::pack_rows(p.q + p.query_at(b, i0, h), p.stride(), rows, D, width, q_packed);
    for (int64_t j0 = 0; j0 < last; j0 += key_block) {
      const int64_t cols = std::min(key_block, last - j0), cols_tiled = round_up(cols, lanes);
      tile::multiply<Unit>(rows, cols, (D + depth - 1) / depth, {q_packed, width / depth, 1},
                           {k_packed + j0 * width / depth, tile::panel<Unit>, tile::panel<Unit> * width / depth}, s,
                           block, false);
      for (int64_t r = 0; r < rows; ++r) {
        using V = tile::Vector<A>;
        A* row = s + r * block;
        const A* bias = p.bias_row(h, i0 + r);
        const ScoreRow<A> scores{row, bias ? bias + j0 : nullptr, p.off_row(b) + j0, p.scale,
                                 p.causal ? i0 + r + 1 - j0 : cols_tiled};
        V most{};
        most += top[r];
        for (int64_t j = 0; j < cols_tiled; j += lanes) {
          const V x = scores(j);
          tile::store(row + j, x);
          most = x > most ? x : most;
        }
        const A highest = tile::fold<A>(most, [](V x, V y) { return x > y ? x : y; });
        const A shift = highest == -infinity<A> ? A{0} : highest;
        V sums{};
        for (int64_t j = 0; j < cols_tiled; j += lanes) {
          const V e = tile::exp_below(tile::load<V>(row + j) - shift);
          tile::store(row + j, e);
          sums += e;
        }
        const A added = tile::fold<A>(sums, [](V x, V y) { return x + y; });
        if (j0 > 0) {
          const A factor = fast_exp(top[r] - shift);
          total[r] *= factor;
          A* to = sum + r * width;
          for (int64_t d = 0; d < width; d += lanes) tile::store(to + d, tile::load<V>(to + d) * factor);
        }
        total[r] += added;
        top[r] = highest;
      }
      const auto weights = tile::left_of<Unit>(s, block, rows, cols_tiled, p_packed);
      tile::multiply<Unit>(rows, width, (cols + depth - 1) / depth, weights,
                           {v_packed + j0 * width / depth, width, tile::panel<Unit>}, sum, width, j0 > 0);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const A factor = total[r] == 0 ? A{0} : 1 / total[r];
      store_row(sum + r * width, D, factor, y + p.query_at(b, i0 + r, h));
      // Plus infinity makes every weight of the row 0 when it is computed again.
      lse[(b * p.H + h) * p.Tq + i0 + r] = total[r] == 0 ? infinity<A> : top[r] + std::log(total[r]);
    }
  }
}

template <class T>
void attention_forward(const Problem<T>& p, T* y, accumulator_t<T>* lse) {
  // Long sequences of few heads are cut into chunks of queries, so that every thread has work.
  const int64_t heads = p.B * p.H, threads = omp_get_max_threads(), blocks = (p.Tq + query_block - 1) / query_block;
  const int64_t chunks = heads == 0 || heads >= 2 * threads
                             ? 1
                             : std::clamp<int64_t>((2 * threads + heads - 1) / heads, 1, std::max<int64_t>(blocks, 1));
  each_task(heads * chunks, [&](int64_t t) {
    const int64_t chunk = t % chunks, head = t / chunks;
    const int64_t begin = blocks * chunk / chunks * query_block,
                  end = std::min(p.Tq, blocks * (chunk + 1) / chunks * query_block);
    forward_task(p, head / p.H, head % p.H, begin, end, y, lse);
  });
}

template <class T>
struct Gradients {
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;  // null where not needed
  accumulator_t<T>* dbias = nullptr;              // [H, Tq, keys_padded]: this group's sum, added to
};

template <class T>
void backward_task(const Problem<T>& p, int64_t b, int64_t h, const T* y, const T* dy, const accumulator_t<T>* lse,
                   const Gradients<T>& out) {
  using A = accumulator_t<T>;
  using Unit = typename tile::Operand<T>::Unit;
  constexpr int depth = tile::Operand<T>::depth, lanes = tile::lanes<A>;
  const int64_t D = p.D, width = round_up(D, lanes), keys = p.key_ends[b],
                keys_tiled = round_up(keys, tile::panel<Unit>);
  const int64_t block = std::min(key_block, keys_tiled), score_units = query_block * block / depth;

  using tile::Scratch;
  Scratch& memory = scratch();
  const int64_t key_units = keys_tiled * width / depth, query_units = query_block * width / depth;
  memory.reset(3 * Scratch::bytes_for<Unit>(key_units) + 4 * Scratch::bytes_for<Unit>(query_units) +
               Scratch::bytes_for<Unit>(score_units) + 2 * Scratch::bytes_for<A>(query_block * block) +
               Scratch::bytes_for<A>(query_block * width) + 2 * Scratch::bytes_for<A>(keys_tiled * width));
  Unit *k_transposed = memory.take<Unit>(key_units), *v_transposed = memory.take<Unit>(key_units),
       *k_right = memory.take<Unit>(key_units);
  Unit *q_left = memory.take<Unit>(query_units), *dy_left = memory.take<Unit>(query_units);
  // Without pairs the left and the right operand with rows of one width are the same.
  Unit *q_right = depth > 1 ? memory.take<Unit>(query_units) : q_left,
       *dy_right = depth > 1 ? memory.take<Unit>(query_units) : dy_left;
  Unit* packed = memory.take<Unit>(score_units);
  A *s = memory.take<A>(query_block * block), *ds = memory.take<A>(query_block * block),
    *dq = memory.take<A>(query_block * width);
  A *dk = memory.take<A>(keys_tiled * width), *dv = memory.take<A>(keys_tiled * width);

  tile::pack_transposed(p.k + p.key_at(b, h), p.stride(), keys, D, width, k_transposed);
  tile::pack_transposed(p.v + p.key_at(b, h), p.stride(), keys, D, width, v_transposed);
  tile::pack_right(p.k + p.key_at(b, h), p.stride(), keys, D, width, k_right);
  // A block of keys that early queries do not see is first added to by a later one.
  if (p.causal || p.Tq == 0) {
    std::fill(dk, dk + keys_tiled * width, A{0});
    std::fill(dv, dv + keys_tiled * width, A{0});
  }

  for (int64_t i0 = 0; i0 < p.Tq; i0 += query_block) {
    const int64_t rows = std::min(query_block, p.Tq - i0), last = p.last_key(b, i0 + rows), at = p.query_at(b, i0, h);
    const int64_t row_units = (rows + depth - 1) / depth;
    tile::pack_rows(p.q + at, p.stride(), rows, D, width, q_left);
    tile::pack_rows(dy + at, p.stride(), rows, D, width, dy_left);
    if (depth > 1) {
      tile::pack_right(p.q + at, p.stride(), rows, D, width, q_right);
      tile::pack_right(dy + at, p.stride(), rows, D, width, dy_right);
    }
    A delta[query_block];
    for (int64_t r = 0; r < rows; ++r) {
      delta[r] = dot(y + at + r * p.stride(), dy + at + r * p.stride(), D);
    }
    if (last == 0) std::fill(dq, dq + rows * width, A{0});
    for (int64_t j0 = 0; j0 < last; j0 += key_block) {
      const int64_t cols = std::min(key_block, last - j0), cols_tiled = round_up(cols, lanes),
                    from = j0 * width / depth;
      const int64_t panel_step = tile::panel<Unit> * width / depth, depth_units = (D + depth - 1) / depth;
      tile::multiply<Unit>(rows, cols, depth_units, {q_left, width / depth, 1},
                           {k_transposed + from, tile::panel<Unit>, panel_step}, s, block, false);
      tile::multiply<Unit>(rows, cols, depth_units, {dy_left, width / depth, 1},
                           {v_transposed + from, tile::panel<Unit>, panel_step}, ds, block, false);
      for (int64_t r = 0; r < rows; ++r) {
        using V = tile::Vector<A>;
        A *s_row = s + r * block, *ds_row = ds + r * block;
        const A *bias = p.bias_row(h, i0 + r), shift = lse[(b * p.H + h) * p.Tq + i0 + r], less = delta[r];
        const ScoreRow<A> scores{s_row, bias ? bias + j0 : nullptr, p.off_row(b) + j0, p.scale,
                                 p.causal ? i0 + r + 1 - j0 : cols_tiled};
        A* total = out.dbias ? out.dbias + (h * p.Tq + i0 + r) * p.keys_padded + j0 : nullptr;
        for (int64_t j = 0; j < cols_tiled; j += lanes) {
          const V e = tile::exp_below(scores(j) - shift), d = e * (tile::load<V>(ds_row + j) - less);
          tile::store(s_row + j, e);
          tile::store(ds_row + j, d);
          if (total) tile::store(total + j, tile::load<V>(total + j) + d);
        }
      }
      if (out.dv) {
        const auto weights = tile::left_transposed_of<Unit>(s, block, rows, cols_tiled, packed);
        tile::multiply<Unit>(cols, width, row_units, weights, {dy_right, width, tile::panel<Unit>}, dv + j0 * width,
                             width, p.causal || i0 > 0);
      }
      if (out.dk) {
        const auto weights = tile::left_transposed_of<Unit>(ds, block, rows, cols_tiled, packed);
        tile::multiply<Unit>(cols, width, row_units, weights, {q_right, width, tile::panel<Unit>}, dk + j0 * width,
                             width, p.causal || i0 > 0);
      }
      if (out.dq) {
        const auto weights = tile::left_of<Unit>(ds, block, rows, cols_tiled, packed);
        tile::multiply<Unit>(rows, width, (cols + depth - 1) / depth, weights,
                             {k_right + from, width, tile::panel<Unit>}, dq, width, j0 > 0);
      }
    }
    for (int64_t r = 0; out.dq && r < rows; ++r) store_row(dq + r * width, D, p.scale, out.dq + at + r * p.stride());
  }
  for (int64_t j = 0; j < p.Tk; ++j) {
    const int64_t at = p.key_at(b, h) + j * p.stride();
    // Keys after the last attended one have no gradient.
    for (const auto& [to, sums, factor] : {std::tuple(out.dk, dk, p.scale), std::tuple(out.dv, dv, A{1})}) {
      if (!to) continue;
      if (j < keys) {
        store_row(sums + j * width, D, factor, to + at);
      } else {
        std::fill(to + at, to + at + D, T(0));
      }
    }
  }
}

// dbias is summed over the batch in a fixed order: within a group of batch elements by one task, then over the groups.
template <class T>
void attention_backward(const Problem<T>& p, const T* y, const T* dy, const accumulator_t<T>* lse, Gradients<T> out,
                        T* dbias) {
  using A = accumulator_t<T>;
  if (p.H == 0) return;
  const int64_t groups =
      dbias ? std::clamp<int64_t>((2 * omp_get_max_threads() + p.H - 1) / p.H, 1, std::max<int64_t>(p.B, 1)) : p.B;
  const int64_t partial = p.H * p.Tq * p.keys_padded;
  std::vector<A> sums(dbias ? groups * partial : 0);
  each_task(groups * p.H, [&](int64_t t) {
    const int64_t h = t % p.H, group = t / p.H;
    Gradients<T> mine = out;
    if (dbias) mine.dbias = sums.data() + group * partial;
    for (int64_t b = p.B * group / groups; b < p.B * (group + 1) / groups; ++b)
      backward_task(p, b, h, y, dy, lse, mine);
  });
  if (!dbias) return;
  parallel_for(p.H * p.Tq, std::max<int64_t>(1, elements_grain / std::max<int64_t>(p.Tk, 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t r = begin; r < end; ++r) {
                   A* total = sums.data() + r * p.keys_padded;
                   for (int64_t group = 1; group < groups; ++group) {
                     const A* more = sums.data() + group * partial + r * p.keys_padded;
#pragma omp simd
                     for (int64_t j = 0; j < p.Tk; ++j) total[j] += more[j];
                   }
#pragma omp simd
                   for (int64_t j = 0; j < p.Tk; ++j) dbias[r * p.Tk + j] = T(total[j]);
                 }
               });
}

void check_shapes(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  check_same("attention", q, k);
  check_same("attention", q, v);
  check(q.rank() == 4, "[attention] q must be [B, Tq, H, D] but has shape {}", q.shape());
  const Shape keys{q.dim(0), k.rank() == 4 ? k.dim(1) : 0, q.dim(2), q.dim(3)};
  check(k.shape() == keys, "[attention] k must be [B, Tk, H, D] for q {} but has shape {}", q.shape(), k.shape());
  check(v.shape() == keys, "[attention] v must have k's shape {} but has shape {}", keys, v.shape());
  check(!options.causal || q.dim(1) == k.dim(1),
        "[attention] causal needs as many queries as keys but there are {} and {}", q.dim(1), k.dim(1));
  if (options.mask) {
    const Shape shape{q.dim(0), k.dim(1)};
    check(options.mask.dtype() == DType::boolean && options.mask.shape() == shape,
          "[attention] mask must be bool {} but is {} {}", shape, options.mask.dtype(), options.mask.shape());
    check(options.mask.device() == q.device(), "[attention] mask must be on device {} but is on {}", q.device(),
          options.mask.device());
  }
  if (options.bias) {
    const Shape shape{q.dim(2), q.dim(1), k.dim(1)};
    check(options.bias.dtype() == q.dtype() && options.bias.shape() == shape,
          "[attention] bias must be {} {} but is {} {}", q.dtype(), shape, options.bias.dtype(), options.bias.shape());
  }
}

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  check_shapes(q, k, v, options);
  Tensor y = empty_like(q), lse = Tensor::empty({q.dim(0), q.dim(2), q.dim(1)}, parameter_dtype(q.dtype()), q.device());
  on_device(
      "attention", q,
      [&]<class T> {
        attention_forward(problem_of<T>(q, k, v, options), y.data<T>(), lse.data<accumulator_t<T>>());
      },
      [&] { attention_forward_cuda(q, k, v, options, y, lse); });
  Tensors inputs{q, k, v};
  if (options.bias) inputs.push_back(options.bias);
  std::vector<bool> needed;
  for (const Tensor& x : inputs) needed.push_back(x.needs_grad());
  AttentionOptions kept = options;
  if (kept.bias) kept.bias = kept.bias.detach();
  return record("attention", y, inputs,
                [q = q.detach(), k = k.detach(), v = v.detach(), kept, y, lse, needed](const Tensor& dy) -> Tensors {
                  Tensors gradients(needed.size());
                  const Tensor inputs[] = {q, k, v, kept.bias};
                  for (size_t i = 0; i < needed.size(); ++i) {
                    if (needed[i]) gradients[i] = empty_like(inputs[i]);
                  }
                  const auto on_cpu = [&]<class T> {
                    const auto at = [&](size_t i) {
                      return i < needed.size() && needed[i] ? gradients[i].data<T>() : nullptr;
                    };
                    attention_backward(problem_of<T>(q, k, v, kept), y.data<T>(), dy.data<T>(),
                                       lse.data<accumulator_t<T>>(), {at(0), at(1), at(2)}, at(3));
                  };
                  on_device("attention", q, on_cpu,
                            [&] { attention_backward_cuda(q, k, v, kept, y, lse, dy, gradients); });
                  return gradients;
                });
}

}  // namespace weft
