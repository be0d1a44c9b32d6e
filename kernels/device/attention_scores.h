// Blocks of attention scores, keys x queries: what is added to the products of q and k, their softmax block by block,
// and its gradient. One query is one lane, so that maxima and sums run over vectors and never across one.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/device/tile.h"
#include "tensor/dispatch.h"

namespace weft::attention_scores {

using tile::round_up;

inline constexpr int64_t query_block = 32, key_block = 128;

template <class A>
constexpr A infinity = std::numeric_limits<A>::infinity();

// A bias or its gradient as the blocks of scores lie: [H, panels of queries, keys, panel].
template <class A>
struct QueryPanels {
  int64_t panels, keys;

  QueryPanels(int64_t queries, int64_t keys) : panels(round_up(queries, query_block) / tile::panel<A>), keys(keys) {}
  int64_t head() const { return panels * keys * tile::panel<A>; }
  // Of query i (the first of a vector) and key j; one panel further is the next key.
  int64_t at(int64_t h, int64_t i, int64_t j) const {
    return h * head() + (i / tile::panel<A> * keys + j) * tile::panel<A> + i % tile::panel<A>;
  }
};

// What every (batch element, head) of one call has in common. Batch element b has the rows of q from query_starts[b] to
// query_starts[b + 1], and so for k and v.
template <class T>
struct Problem {
  using A = accumulator_t<T>;
  int64_t B, Tq, Tk, H, D;  // Tq and Tk are those of the longest batch element
  A scale;
  bool causal;
  const T *q, *k, *v;
  QueryPanels<A> panels;
  std::vector<A> bias;            // empty without a bias
  std::vector<A> off;             // [B or 1, Tk]: 0 for a key to attend to, else minus infinity
  std::vector<int64_t> key_ends;  // [B]: one past the last key to attend to
  std::vector<int64_t> query_starts, key_starts;  // [B + 1]

  const A* off_row(int64_t b) const { return off.data() + (static_cast<int64_t>(off.size()) > Tk ? b * Tk : 0); }
  // Keys that a block of queries that ends at i_end may attend to.
  int64_t last_key(int64_t b, int64_t i_end) const { return causal ? std::min(key_ends[b], i_end) : key_ends[b]; }
  int64_t queries(int64_t b) const { return query_starts[b + 1] - query_starts[b]; }
  int64_t keys(int64_t b) const { return key_starts[b + 1] - key_starts[b]; }
  int64_t stride() const { return H * D; }
  int64_t query_at(int64_t b, int64_t i, int64_t h) const { return ((query_starts[b] + i) * H + h) * D; }
  int64_t key_at(int64_t b, int64_t h) const { return (key_starts[b] * H + h) * D; }
  // Of the log-sum-exp of a batch element's rows: [H, queries], one element after the other.
  int64_t lse_at(int64_t b, int64_t h) const { return query_starts[b] * H + h * queries(b); }
};

// The scores of one vector of queries in a block of keys: products of q and k in column `i` of s, and what is added to
// them.
template <class T>
struct ScoreColumn {
  using A = accumulator_t<T>;
  using V = tile::Vector<A>;

  const A* s;           // [keys, query_block], at this vector's column
  const A *bias, *off;  // of the block's first key; bias may be null
  A scale;
  int64_t diagonal;  // key j of the block lies beyond query l of the vector if j - l > diagonal

  ScoreColumn(const Problem<T>& p, const A* block, int64_t b, int64_t h, int64_t i0, int64_t i, int64_t j0)
      : s(block + i),
        bias(p.bias.empty() ? nullptr : p.bias.data() + p.panels.at(h, i0 + i, j0)),
        off(p.off_row(b) + j0),
        scale(p.scale),
        diagonal(p.causal ? i0 + i - j0 : key_block) {}

  // scale s + bias + off of key j.
  V operator()(int64_t j) const {
    V x = tile::load<V>(s + j * query_block) * scale + off[j];
    if (bias) x += tile::load<V>(bias + j * tile::panel<A>);
    if (j > diagonal) [[unlikely]] {
      for (int64_t l = 0; l < std::min<int64_t>(j - diagonal, tile::lanes<A>); ++l) x[l] = -infinity<A>;
    }
    return x;
  }
};

// One query a lane: the maximum and the sum of the exponentials of its scores so far.
template <class A>
struct Running {
  alignas(64) A top[query_block], total[query_block], factor[query_block];
};

// Turns a block of scores, keys x queries, into exp(score - maximum). `factor` becomes what sums of earlier blocks are
// multiplied by.
template <class T>
void exponentials_of_block(const Problem<T>& p, int64_t b, int64_t h, int64_t i0, int64_t j0, int64_t rows,
                           int64_t cols, const tile::LeftBlock<T>& block, Running<accumulator_t<T>>& running) {
  using A = accumulator_t<T>;
  using V = tile::Vector<A>;
  for (int64_t i = 0; i < rows; i += tile::lanes<A>) {
    const ScoreColumn<T> scores(p, block.sums, b, h, i0, i, j0);
    const V before = tile::load<V>(running.top + i);
    V most = before;
    A* column = block.sums + i;
    for (int64_t j = 0; j < cols; ++j) {
      const V x = scores(j);
      tile::store(column + j * query_block, x);
      most = x > most ? x : most;
    }
    // Where nothing but minus infinity was seen, any finite shift gives exp = 0.
    const V shift = most == -infinity<A> ? V{} : most;
    const V factor = tile::exp_below<A>(before - shift);
    V sums{};
    const auto weight = [&](int64_t j) {
      const V e = tile::exp_below<T>(tile::load<V>(column + j * query_block) - shift);
      sums += e;
      return e;
    };
    int64_t j = 0;
    for (; j + 2 <= cols; j += 2) {
      const V first = weight(j);
      block.store_rows(j, i, first, weight(j + 1));
    }
    if (j < cols) block.store_rows(j, i, weight(j), V{});
    tile::store(running.top + i, most);
    tile::store(running.factor + i, factor);
    tile::store(running.total + i, tile::load<V>(running.total + i) * factor + sums);
  }
}

// Of every query of a block: the log-sum-exp of its scores and dy y.
template <class A>
struct Saved {
  alignas(64) A lse[query_block], delta[query_block];
};

// From scores and dy v^T, both keys x queries: weights = exp(score - lse), slopes = weights (dy v^T - delta). Keys from
// `cols` to a whole tile get 0.
template <class T>
void slopes_of_block(const Problem<T>& p, int64_t b, int64_t h, int64_t i0, int64_t j0, int64_t rows, int64_t cols,
                     const tile::LeftBlock<T>& weights, const tile::LeftBlock<T>& slopes,
                     const Saved<accumulator_t<T>>& saved, accumulator_t<T>* dbias) {
  using A = accumulator_t<T>;
  using V = tile::Vector<A>;
  for (int64_t i = 0; i < rows; i += tile::lanes<A>) {
    const ScoreColumn<T> scores(p, weights.sums, b, h, i0, i, j0);
    const V lse = tile::load<V>(saved.lse + i), delta = tile::load<V>(saved.delta + i);
    A* total = dbias ? dbias + p.panels.at(h, i0 + i, j0) : nullptr;
    for (int64_t j = 0; j < round_up(cols, tile::tile_rows); j += 2) {
      V e[2]{}, d[2]{};
#pragma GCC unroll 2
      for (int64_t k = 0; k < 2; ++k) {
        if (j + k >= cols) continue;
        e[k] = tile::exp_below<T>(scores(j + k) - lse);
        d[k] = e[k] * (tile::load<V>(slopes.sums + (j + k) * query_block + i) - delta);
        if (!total) continue;
        A* to = total + (j + k) * tile::panel<A>;
        tile::store(to, tile::load<V>(to) + d[k]);
      }
      weights.store_rows(j, i, e[0], e[1]);
      slopes.store_rows(j, i, d[0], d[1]);
    }
  }
}

}  // namespace weft::attention_scores
