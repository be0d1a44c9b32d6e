#include "apps/approximate_index.h"

#include <faiss/Clustering.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/invlists/InvertedLists.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <numeric>

#include "apps/progress.h"
#include "data/hash.h"
#include "kernels/device/parallel.h"

// OpenBLAS with threads of its own (Debian's pthread build, where both are installed) would not know of --threads.
extern "C" void openblas_set_num_threads(int threads);

namespace weft {

namespace {

// As a faiss::Index counts.
using Id = faiss::Index::idx_t;
static_assert(sizeof(Id) == sizeof(int64_t));

// The cells as faiss looks at them: a cell's vectors are gathered when a search comes to it.
class GatheredLists final : public faiss::InvertedLists {
 public:
  GatheredLists(const ApproximateIndex& index, const UnitRows& rows)
      : InvertedLists(static_cast<size_t>(index.cells()), static_cast<size_t>(rows.width()) * sizeof(float)),
        begins_(index.begins.data<int64_t>()),
        ids_(index.rows.data<int64_t>()),
        rows_(rows) {}

  size_t list_size(size_t cell) const override { return static_cast<size_t>(begins_[cell + 1] - begins_[cell]); }
  const Id* get_ids(size_t cell) const override { return ids_ + begins_[cell]; }
  const uint8_t* get_codes(size_t cell) const override {
    auto vectors = std::make_unique_for_overwrite<float[]>(list_size(cell) * static_cast<size_t>(rows_.width()));
    for (int64_t i = begins_[cell]; i < begins_[cell + 1]; ++i) {
      rows_.copy(ids_[i], vectors.get() + (i - begins_[cell]) * rows_.width());
    }
    return reinterpret_cast<const uint8_t*>(vectors.release());
  }
  void release_codes(size_t, const uint8_t* codes) const override { delete[] reinterpret_cast<const float*>(codes); }

  size_t add_entries(size_t, size_t, const Id*, const uint8_t*) override { fixed(); }
  void update_entries(size_t, size_t, size_t, const Id*, const uint8_t*) override { fixed(); }
  void resize(size_t, size_t) override { fixed(); }

 private:
  [[noreturn]] static void fixed() { throw std::logic_error("the cells of an index do not change"); }
  const int64_t* begins_;
  const Id* ids_;
  const UnitRows& rows_;
};

int64_t cells_for(int64_t n) {
  const auto wanted = std::bit_ceil(static_cast<uint64_t>(std::ceil(1.5 * std::sqrt(static_cast<double>(n)))));
  return std::max<int64_t>(1, std::min<int64_t>(static_cast<int64_t>(wanted), n / 39));
}

// `count` of n rows, spread over all of them: one of each equal stretch.
std::vector<float> sample(const UnitRows& rows, int64_t count, uint64_t seed) {
  const int64_t n = rows.size();
  std::vector<float> vectors(static_cast<size_t>(count * rows.width()));
  SplitMix random(seed);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = n * i / count, end = n * (i + 1) / count;
    rows.copy(begin + static_cast<int64_t>(random.below(static_cast<uint64_t>(end - begin))),
              vectors.data() + i * rows.width());
  }
  return vectors;
}

// The cell of every row, block by block.
std::vector<Id> assign(const UnitRows& rows, const faiss::Index& quantizer, bool quiet) {
  constexpr int64_t block = 16384;
  Progress progress("index", rows.size(), "embeddings", quiet);
  std::vector<Id> cell_of(static_cast<size_t>(rows.size()));
  std::vector<float> vectors(static_cast<size_t>(std::min(block, rows.size()) * rows.width())), scores(block);
  for (int64_t begin = 0; begin < rows.size(); begin += block) {
    const int64_t count = std::min(block, rows.size() - begin);
    for (int64_t i = 0; i < count; ++i) rows.copy(begin + i, vectors.data() + i * rows.width());
    quantizer.search(count, vectors.data(), 1, scores.data(), cell_of.data() + begin);
    progress.update(begin + count);
  }
  return cell_of;
}

}  // namespace

UnitRows::UnitRows(std::vector<EmbeddingStore::Part> parts) : parts_(std::move(parts)), begins_{0} {
  for (const EmbeddingStore::Part& part : parts_) begins_.push_back(begins_.back() + part.keys.numel());
}

size_t UnitRows::part_of(int64_t row) const {
  return static_cast<size_t>(std::upper_bound(begins_.begin(), begins_.end(), row) - begins_.begin() - 1);
}

uint64_t UnitRows::key(int64_t row) const {
  const size_t part = part_of(row);
  return static_cast<uint64_t>(parts_[part].keys.data<int64_t>()[row - begins_[part]]);
}

void UnitRows::copy(int64_t row, float* to) const {
  const size_t part = part_of(row);
  const int64_t d = width();
  const float* from = parts_[part].embeddings.data<float>() + (row - begins_[part]) * d;
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < d; ++i) squares += from[i] * from[i];
  const float scale = 1 / std::sqrt(squares);
  check_input(std::isfinite(scale) && scale > 0,
              "the embedding under key {} must have a direction but its length is {}", key(row), std::sqrt(squares));
  for (int64_t i = 0; i < d; ++i) to[i] = from[i] * scale;
}

ApproximateIndex ApproximateIndex::build(const UnitRows& rows, int64_t cells, uint64_t seed, bool quiet) {
  const int64_t n = rows.size(), d = rows.width();
  check_input(n > 0, "there are no embeddings to index: run weft-embed first");
  if (cells == 0) cells = cells_for(n);
  weft::check(cells >= 1 && cells <= n, "[approximate_index] from 1 to {} cells were expected but there are {}", n,
              cells);
  openblas_set_num_threads(omp_get_max_threads());
  faiss::ClusteringParameters parameters;
  parameters.niter = 10;
  parameters.spherical = true;
  parameters.min_points_per_centroid = 1;  // a warning on stderr otherwise
  parameters.max_points_per_centroid = 64;
  parameters.seed = 1234;
  faiss::IndexFlatIP quantizer(d);
  {
    const int64_t count = std::min<int64_t>(n, cells * parameters.max_points_per_centroid);
    const std::vector<float> vectors = sample(rows, count, seed);
    faiss::Clustering(static_cast<int>(d), static_cast<int>(cells), parameters).train(count, vectors.data(), quantizer);
  }
  const std::vector<Id> cell_of = assign(rows, quantizer, quiet);

  ApproximateIndex index{Tensor::empty({cells, d}), Tensor::empty({cells + 1}, DType::i64),
                         Tensor::empty({n}, DType::i64)};
  std::copy_n(quantizer.get_xb(), cells * d, index.centroids.data<float>());
  int64_t* begins = index.begins.data<int64_t>();
  std::fill_n(begins, cells + 1, 0);
  for (const Id cell : cell_of) ++begins[cell + 1];
  std::partial_sum(begins, begins + cells + 1, begins);
  std::vector<int64_t> next(begins, begins + cells);
  for (int64_t row = 0; row < n; ++row)
    index.rows.data<int64_t>()[next[static_cast<size_t>(cell_of[static_cast<size_t>(row)])]++] = row;
  return index;
}

void ApproximateIndex::check(int64_t n, int64_t width, const std::string& label) const {
  check_input(centroids.dtype() == DType::f32 && centroids.rank() == 2 && cells() >= 1 && centroids.dim(1) == width,
              "{}: centroids f32 [cells, {}] were expected but they are {} {}", label, width, centroids.dtype(),
              centroids.shape());
  check_input(begins.dtype() == DType::i64 && begins.shape() == Shape{cells() + 1},
              "{}: begins i64 [{}] were expected but they are {} {}", label, cells() + 1, begins.dtype(),
              begins.shape());
  check_input(rows.dtype() == DType::i64 && rows.shape() == Shape{n},
              "{}: rows i64 [{}] were expected but they are {} {}", label, n, rows.dtype(), rows.shape());
  const float* c = centroids.data<float>();
  check_input(std::all_of(c, c + centroids.numel(), [](float x) { return std::isfinite(x); }),
              "{}: centroids: finite numbers were expected but there is another", label);
  const int64_t* b = begins.data<int64_t>();
  check_input(b[0] == 0 && b[cells()] == n && std::is_sorted(b, b + cells() + 1),
              "{}: begins: numbers that rise from 0 to {} were expected but they do not", label, n);
  std::vector<bool> seen(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = rows.data<int64_t>()[i];
    check_input(row >= 0 && row < n && !seen[static_cast<size_t>(row)],
                "{}: rows: each of 0 to {} once was expected but place {} has {}", label, n - 1, i, row);
    seen[static_cast<size_t>(row)] = true;
  }
}

std::vector<std::vector<Hit>> nearest(const ApproximateIndex& index, const UnitRows& rows, const Tensor& queries,
                                      int64_t top, int64_t probes) {
  const int64_t count = queries.dim(0), d = rows.width();
  const UnitRows units({{Tensor::empty({count}, DType::i64), queries.to(Device::cpu)}});
  std::vector<float> vectors(static_cast<size_t>(count * d));
  for (int64_t q = 0; q < count; ++q) units.copy(q, vectors.data() + q * d);

  faiss::IndexFlatIP quantizer(d);
  quantizer.add(index.cells(), index.centroids.data<float>());
  faiss::IndexIVFFlat cells(&quantizer, static_cast<size_t>(d), static_cast<size_t>(index.cells()),
                            faiss::METRIC_INNER_PRODUCT);
  GatheredLists lists(index, rows);
  cells.replace_invlists(&lists);
  cells.ntotal = rows.size();
  cells.nprobe = static_cast<size_t>(std::min(probes, index.cells()));
  cells.parallel_mode = count == 1 ? 1 : 0;  // threads share one query's cells, or the queries
  top = std::min(top, rows.size());
  std::vector<float> scores(static_cast<size_t>(count * top));
  std::vector<Id> ids(static_cast<size_t>(count * top));
  cells.search(count, vectors.data(), top, scores.data(), ids.data());

  std::vector<std::vector<Hit>> hits(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0) hits[i / static_cast<size_t>(top)].push_back({scores[i], rows.key(ids[i])});
  }
  return hits;
}

}  // namespace weft
