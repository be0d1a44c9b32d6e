// Forward:  s = scale q k^T + bias, p = softmax(s), y = p v
// Backward: dv = p^T dy, ds = p (dy v^T - rowsum(dy y)), dq = scale ds k, dk = scale ds^T q, dbias = sum of ds over the
// batch. Saved: q, k, v, y and the log-sum-exp of every row of s; p is computed again from them. Scores live in blocks
// of keys x queries, so that the softmax of 16 queries runs down the lanes of a vector and keys are read where they
// are; a running maximum and sum join the blocks of a query (Dao et al., "FlashAttention", 2022; Milakov and
// Gimelshein, "Online normalizer calculation for softmax", 2018).
#include "kernels/attention.h"

#include <tuple>
#include <vector>

#include "kernels/device/attention_cuda.h"
#include "kernels/device/attention_scores.h"
#include "kernels/device/parallel.h"
#include "kernels/device/tile.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

namespace {

using namespace attention_scores;

// Where batch elements of T rows begin, and the end.
std::vector<int64_t> equal_starts(int64_t B, int64_t T) {
  std::vector<int64_t> starts(B + 1);
  for (int64_t b = 0; b <= B; ++b) starts[b] = b * T;
  return starts;
}

// Everything but what says which rows and keys belong to a batch element.
template <class T>
Problem<T> common_problem(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options, int64_t B,
                          int64_t Tq, int64_t Tk) {
  using A = accumulator_t<T>;
  Problem<T> p{.B = B,
               .Tq = Tq,
               .Tk = Tk,
               .H = q.dim(-2),
               .D = q.dim(-1),
               .scale = static_cast<A>(options.scale),
               .causal = options.causal,
               .q = q.data<T>(),
               .k = k.data<T>(),
               .v = v.data<T>(),
               .panels = {Tq, Tk},
               .bias = {},
               .off = {},
               .key_ends = {},
               .query_starts = {},
               .key_starts = {}};
  if (options.bias) {
    p.bias.resize(p.H * p.panels.head());
    parallel_for(p.H, std::max<int64_t>(1, elements_grain / std::max<int64_t>(p.Tq * p.Tk, 1)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t h = begin; h < end; ++h) {
                     tile::pack_transposed<T, A, 1>(options.bias.data<T>() + h * p.Tq * p.Tk, p.Tk, p.Tq, p.Tk, p.Tk,
                                                    p.bias.data() + h * p.panels.head());
                   }
                 });
  }
  return p;
}

template <class T>
Problem<T> padded_problem(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  using A = accumulator_t<T>;
  Problem<T> p = common_problem<T>(q, k, v, options, q.dim(0), q.dim(1), k.dim(1));
  p.query_starts = equal_starts(p.B, p.Tq);
  p.key_starts = equal_starts(p.B, p.Tk);
  p.off.assign((options.mask ? p.B : 1) * p.Tk, options.mask ? -infinity<A> : A{0});
  p.key_ends.assign(p.B, options.mask ? 0 : p.Tk);
  if (!options.mask) return p;
  const bool* mask = options.mask.data<bool>();
  for (int64_t b = 0; b < p.B; ++b) {
    for (int64_t j = 0; j < p.Tk; ++j) {
      if (!mask[b * p.Tk + j]) continue;
      p.off[b * p.Tk + j] = 0;
      p.key_ends[b] = j + 1;
    }
  }
  return p;
}

// The longest text; with a bias the length that it is for.
int64_t packed_length(const Tensor& offsets, const Tensor& bias) {
  const int64_t* start = offsets.data<int64_t>();
  int64_t longest = bias ? bias.dim(1) : 0;
  for (int64_t b = 0; b + 1 < offsets.numel(); ++b) longest = std::max(longest, start[b + 1] - start[b]);
  return longest;
}

template <class T>
Problem<T> packed_problem(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets,
                          const AttentionOptions& options) {
  const int64_t length = packed_length(offsets, options.bias);
  Problem<T> p = common_problem<T>(q, k, v, options, offsets.numel() - 1, length, length);
  const int64_t* start = offsets.data<int64_t>();
  p.query_starts.assign(start, start + offsets.numel());
  p.key_starts = p.query_starts;
  p.off.assign(length, 0);
  for (int64_t b = 0; b < p.B; ++b) p.key_ends.push_back(p.keys(b));
  return p;
}

template <class T>
Problem<T> problem_of(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets,
                      const AttentionOptions& options) {
  return offsets ? packed_problem<T>(q, k, v, offsets, options) : padded_problem<T>(q, k, v, options);
}

// Runs body(t) for t in [0, n), whichever thread is free taking the next few: masked rows are cheap, whole ones are
// not.
template <class Body>
void each_task(int64_t n, Body&& body) {
  const int64_t run = std::max<int64_t>(1, n / (8 * omp_get_max_threads()));
#pragma omp parallel for schedule(dynamic, run) if (n > 1 && !omp_in_parallel())
  for (int64_t t = 0; t < n; ++t) body(t);
}

tile::Scratch& scratch() {
  thread_local tile::Scratch buffers;
  return buffers;
}

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
  using V = tile::Vector<A>;
  using Unit = typename tile::Operand<T>::Unit;
  using Block = tile::LeftBlock<T>;
  constexpr int depth = tile::Operand<T>::depth, lanes = tile::lanes<A>;
  const int64_t D = p.D, width = round_up(D, lanes), keys = p.last_key(b, q_end),
                block_keys = std::min(key_block, round_up(keys, tile::tile_rows));

  using tile::Scratch;
  Scratch& memory = scratch();
  const int64_t k_units = tile::LeftRows<T>::units(keys, D, width),
                v_units = round_up(keys, tile::tile_rows) * width / depth;
  const int64_t q_units = tile::transposed_units<Unit>(query_block, width, depth),
                p_units = Block::units(block_keys, query_block);
  memory.reset(Scratch::bytes_for<Unit>(k_units) + Scratch::bytes_for<Unit>(v_units) +
               Scratch::bytes_for<Unit>(q_units) + Scratch::bytes_for<Unit>(p_units) +
               Scratch::bytes_for<A>(block_keys * query_block) + Scratch::bytes_for<A>(query_block * width));
  Unit *k_packed = memory.take<Unit>(k_units), *v_packed = memory.take<Unit>(v_units),
       *q_packed = memory.take<Unit>(q_units);
  Unit* weights = memory.take<Unit>(p_units);
  const Block block{memory.take<A>(block_keys * query_block), query_block, nullptr, weights};
  A* sum = memory.take<A>(query_block * width);

  const tile::LeftRows<T> k_rows(p.k + p.key_at(b, h), p.stride(), keys, D, width, k_packed);
  tile::pack_right(p.v + p.key_at(b, h), p.stride(), keys, D, width, v_packed);

  for (int64_t i0 = q_begin; i0 < q_end; i0 += query_block) {
    const int64_t rows = std::min(query_block, q_end - i0), last = p.last_key(b, i0 + rows);
    Running<A> running;
    std::fill(running.top, running.top + query_block, -infinity<A>);
    std::fill(running.total, running.total + query_block, A{0});
    if (last == 0) std::fill(sum, sum + rows * width, A{0});
    tile::pack_transposed(p.q + p.query_at(b, i0, h), p.stride(), rows, D, width, q_packed);
    for (int64_t j0 = 0; j0 < last; j0 += key_block) {
      const int64_t cols = std::min(key_block, last - j0);
      k_rows.multiply(j0, cols, rows, {q_packed, tile::panel<Unit>, tile::panel<Unit> * width / depth}, block.sums,
                      query_block);
      exponentials_of_block(p, b, h, i0, j0, rows, cols, block, running);
      for (int64_t r = 0; j0 > 0 && r < rows; ++r) {
        A* to = sum + r * width;
        for (int64_t d = 0; d < width; d += lanes) tile::store(to + d, tile::load<V>(to + d) * running.factor[r]);
      }
      tile::multiply<Unit>(rows, width, (cols + depth - 1) / depth, block.transposed(),
                           {v_packed + j0 * width / depth, width, tile::panel<Unit>}, sum, width, j0 > 0);
    }
    A* to = lse + p.lse_at(b, h) + i0;
    for (int64_t r = 0; r < rows; ++r) {
      const A total = running.total[r];
      store_row(sum + r * width, D, total == 0 ? A{0} : 1 / total, y + p.query_at(b, i0 + r, h));
    }
#pragma omp simd
    for (int64_t r = 0; r < rows; ++r) {
      // Plus infinity makes every weight of the row 0 when it is computed again.
      const A log_sum = running.top[r] + fast_log(running.total[r]);
      to[r] = running.total[r] == 0 ? infinity<A> : log_sum;
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
                  end = std::min(p.queries(head / p.H), blocks * (chunk + 1) / chunks * query_block);
    if (begin < end) forward_task(p, head / p.H, head % p.H, begin, end, y, lse);
  });
}

template <class T>
struct Gradients {
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;  // null where not needed
  accumulator_t<T>* dbias = nullptr;              // QueryPanels: this group's sum, added to
};

template <class T>
void backward_task(const Problem<T>& p, int64_t b, int64_t h, const T* y, const T* dy, const accumulator_t<T>* lse,
                   const Gradients<T>& out) {
  using A = accumulator_t<T>;
  using Unit = typename tile::Operand<T>::Unit;
  using Block = tile::LeftBlock<T>;
  constexpr int depth = tile::Operand<T>::depth, lanes = tile::lanes<A>;
  const int64_t D = p.D, width = round_up(D, lanes), queries = p.queries(b);
  const int64_t keys = p.key_ends[b], keys_tiled = round_up(keys, tile::tile_rows);
  const int64_t block_keys = std::min(key_block, keys_tiled);

  using tile::Scratch;
  Scratch& memory = scratch();
  const int64_t row_units = tile::LeftRows<T>::units(keys, D, width), key_units = keys_tiled * width / depth;
  const int64_t query_units = tile::transposed_units<Unit>(query_block, width, depth),
                block_units = Block::units(block_keys, query_block);
  memory.reset(2 * Scratch::bytes_for<Unit>(row_units) + Scratch::bytes_for<Unit>(key_units) +
               4 * Scratch::bytes_for<Unit>(query_units) + 3 * Scratch::bytes_for<Unit>(block_units) +
               2 * Scratch::bytes_for<A>(block_keys * query_block) + Scratch::bytes_for<A>(query_block * width) +
               2 * Scratch::bytes_for<A>(keys_tiled * width));
  Unit *k_packed = memory.take<Unit>(row_units), *v_packed = memory.take<Unit>(row_units),
       *k_right = memory.take<Unit>(key_units);
  Unit *q_transposed = memory.take<Unit>(query_units), *dy_transposed = memory.take<Unit>(query_units);
  Unit *q_right = memory.take<Unit>(query_units), *dy_right = memory.take<Unit>(query_units);
  Unit *weights_along = memory.take<Unit>(block_units), *slopes_along = memory.take<Unit>(block_units),
       *slopes_across = memory.take<Unit>(block_units);
  const Block weights{memory.take<A>(block_keys * query_block), query_block, weights_along, nullptr};
  const Block slopes{memory.take<A>(block_keys * query_block), query_block, slopes_along, slopes_across};
  A *dq = memory.take<A>(query_block * width), *dk = memory.take<A>(keys_tiled * width),
    *dv = memory.take<A>(keys_tiled * width);

  const tile::LeftRows<T> k_rows(p.k + p.key_at(b, h), p.stride(), keys, D, width, k_packed),
      v_rows(p.v + p.key_at(b, h), p.stride(), keys, D, width, v_packed);
  if (out.dq) tile::pack_right(p.k + p.key_at(b, h), p.stride(), keys, D, width, k_right);
  // A block of keys that early queries do not see is first added to by a later one.
  if (p.causal || queries == 0) {
    std::fill(dk, dk + keys_tiled * width, A{0});
    std::fill(dv, dv + keys_tiled * width, A{0});
  }

  for (int64_t i0 = 0; i0 < queries; i0 += query_block) {
    const int64_t rows = std::min(query_block, queries - i0), last = p.last_key(b, i0 + rows), at = p.query_at(b, i0, h);
    tile::pack_transposed(p.q + at, p.stride(), rows, D, width, q_transposed);
    tile::pack_transposed(dy + at, p.stride(), rows, D, width, dy_transposed);
    if (out.dk) tile::pack_right(p.q + at, p.stride(), rows, D, width, q_right);
    if (out.dv) tile::pack_right(dy + at, p.stride(), rows, D, width, dy_right);
    Saved<A> saved;
    for (int64_t r = 0; r < query_block; ++r) {
      // The lanes beyond the last query get weights of 0.
      saved.lse[r] = r < rows ? lse[p.lse_at(b, h) + i0 + r] : infinity<A>;
      saved.delta[r] = r < rows ? dot(y + at + r * p.stride(), dy + at + r * p.stride(), D) : A{0};
    }
    if (last == 0) std::fill(dq, dq + rows * width, A{0});
    for (int64_t j0 = 0; j0 < last; j0 += key_block) {
      const int64_t cols = std::min(key_block, last - j0), panel_step = tile::panel<Unit> * width / depth;
      const int64_t row_depth = (rows + depth - 1) / depth;
      k_rows.multiply(j0, cols, rows, {q_transposed, tile::panel<Unit>, panel_step}, weights.sums, query_block);
      v_rows.multiply(j0, cols, rows, {dy_transposed, tile::panel<Unit>, panel_step}, slopes.sums, query_block);
      slopes_of_block(p, b, h, i0, j0, rows, cols, weights, slopes, saved, out.dbias);
      const bool add = p.causal || i0 > 0;
      if (out.dv) {
        tile::multiply<Unit>(cols, width, row_depth, weights.straight(), {dy_right, width, tile::panel<Unit>},
                             dv + j0 * width, width, add);
      }
      if (out.dk) {
        tile::multiply<Unit>(cols, width, row_depth, slopes.straight(), {q_right, width, tile::panel<Unit>},
                             dk + j0 * width, width, add);
      }
      if (out.dq) {
        tile::multiply<Unit>(rows, width, (cols + depth - 1) / depth, slopes.transposed(),
                             {k_right + j0 * width / depth, width, tile::panel<Unit>}, dq, width, j0 > 0);
      }
    }
    for (int64_t r = 0; out.dq && r < rows; ++r) store_row(dq + r * width, D, p.scale, out.dq + at + r * p.stride());
  }
  for (int64_t j = 0; j < p.keys(b); ++j) {
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

// dbias [Tq, Tk] of head h = the sum of the groups' panels, in the order of the groups.
template <class T>
void sum_bias_gradients(const Problem<T>& p, int64_t h, int64_t groups, const accumulator_t<T>* sums, T* dbias) {
  using A = accumulator_t<T>;
  using V = tile::Vector<A>;
  constexpr int lanes = tile::lanes<A>;
  for (int64_t i = 0; i < p.Tq; i += lanes) {
    for (int64_t j = 0; j < p.Tk; j += lanes) {
      V block[lanes];
      for (int64_t l = 0; l < lanes; ++l) {
        block[l] = V{};
        for (int64_t group = 0; j + l < p.Tk && group < groups; ++group) {
          block[l] += tile::load<V>(sums + group * p.H * p.panels.head() + p.panels.at(h, i, j + l));
        }
      }
      tile::transpose<A>(block);
      for (int64_t l = 0; l < std::min<int64_t>(lanes, p.Tq - i); ++l) {
        T* to = dbias + (h * p.Tq + i + l) * p.Tk + j;
        if (j + lanes <= p.Tk) {
          tile::store_rounded(to, block[l]);
        } else {
          for (int64_t k = 0; j + k < p.Tk; ++k) to[k] = T(block[l][k]);
        }
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
  const int64_t partial = p.H * p.panels.head();
  std::vector<A> sums(dbias ? groups * partial : 0);
  each_task(groups * p.H, [&](int64_t t) {
    const int64_t h = t % p.H, group = t / p.H;
    Gradients<T> mine = out;
    if (dbias) mine.dbias = sums.data() + group * partial;
    for (int64_t b = p.B * group / groups; b < p.B * (group + 1) / groups; ++b)
      backward_task(p, b, h, y, dy, lse, mine);
  });
  if (dbias) each_task(p.H, [&](int64_t h) { sum_bias_gradients(p, h, groups, sums.data(), dbias); });
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

void check_packed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets,
                  const AttentionOptions& options) {
  check_same("attention_packed", q, k);
  check_same("attention_packed", q, v);
  check(q.rank() == 3, "[attention_packed] q must be [N, H, D] but has shape {}", q.shape());
  check(k.shape() == q.shape() && v.shape() == q.shape(),
        "[attention_packed] k and v must have q's shape {} but have shapes {} and {}", q.shape(), k.shape(), v.shape());
  check(!options.mask, "[attention_packed] a mask has no place here: the offsets say where texts end");
  check(offsets.defined() && offsets.dtype() == DType::i64 && offsets.rank() == 1 && offsets.numel() > 0 &&
            offsets.device() == Device::cpu,
        "[attention_packed] offsets must be i64 [B + 1] on the cpu");
  const int64_t* start = offsets.data<int64_t>();
  const int64_t texts = offsets.numel() - 1;
  check(start[0] == 0 && start[texts] == q.dim(0) && std::is_sorted(start, start + texts + 1),
        "[attention_packed] offsets must rise from 0 to the {} rows but go from {} to {}", q.dim(0), start[0],
        start[texts]);
  if (!options.bias) return;
  const int64_t longest = packed_length(offsets, {}), T = options.bias.rank() == 3 ? options.bias.dim(1) : 0;
  const Shape shape{q.dim(1), T, T};
  check(options.bias.dtype() == q.dtype() && options.bias.shape() == shape && T >= longest,
        "[attention_packed] bias must be {} [{}, T, T] with T at least {} but is {} {}", q.dtype(), q.dim(1), longest,
        options.bias.dtype(), options.bias.shape());
}

// The op itself: padded texts, or packed ones where there are offsets.
Tensor attend(const char* name, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets,
              const AttentionOptions& options) {
  Tensor y = empty_like(q);
  // The cpu keeps the numbers of packed texts' rows one after the other, the cuda device padded to the longest.
  const Shape rows = !offsets                        ? Shape{q.dim(0), q.dim(2), q.dim(1)}
                     : q.device() == Device::cpu ? Shape{q.dim(0) * q.dim(1)}
                                                 : Shape{offsets.numel() - 1, q.dim(1), packed_length(offsets, options.bias)};
  const Tensor lse = Tensor::empty(rows, parameter_dtype(q.dtype()), q.device());
  on_device(
      name, q,
      [&]<class T> {
        attention_forward(problem_of<T>(q, k, v, offsets, options), y.data<T>(), lse.data<accumulator_t<T>>());
      },
      [&] { attention_forward_cuda(q, k, v, offsets, options, y, lse); });
  Tensors inputs{q, k, v};
  if (options.bias) inputs.push_back(options.bias);
  std::vector<bool> needed;
  for (const Tensor& x : inputs) needed.push_back(x.needs_grad());
  AttentionOptions kept = options;
  if (kept.bias) kept.bias = kept.bias.detach();
  return record(name, y, inputs,
                [name, q = q.detach(), k = k.detach(), v = v.detach(), offsets, kept, y, lse,
                 needed](const Tensor& dy) -> Tensors {
                  Tensors gradients(needed.size());
                  const Tensor inputs[] = {q, k, v, kept.bias};
                  for (size_t i = 0; i < needed.size(); ++i) {
                    if (needed[i]) gradients[i] = empty_like(inputs[i]);
                  }
                  const auto on_cpu = [&]<class T> {
                    const auto at = [&](size_t i) {
                      return i < needed.size() && needed[i] ? gradients[i].data<T>() : nullptr;
                    };
                    attention_backward(problem_of<T>(q, k, v, offsets, kept), y.data<T>(), dy.data<T>(),
                                       lse.data<accumulator_t<T>>(), {at(0), at(1), at(2)}, at(3));
                  };
                  on_device(name, q, on_cpu, [&] { attention_backward_cuda(q, k, v, offsets, kept, y, lse, dy, gradients); });
                  return gradients;
                });
}

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  check_shapes(q, k, v, options);
  return attend("attention", q, k, v, {}, options);
}

Tensor attention_packed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets,
                        const AttentionOptions& options) {
  check_packed(q, k, v, offsets, options);
  return attend("attention_packed", q, k, v, offsets.clone(), options);
}

}  // namespace weft
