// Embeddings in cells around centroids, so that a search compares the query with those of the nearest cells only:
// faiss's inverted file (github.com/facebookresearch/faiss, Jegou et al. 2011). The index has centroids and row
// numbers; the embeddings themselves are read from where they are mapped.
#pragma once

#include <vector>

#include "apps/nearest.h"

namespace weft {

/// The embeddings of a store's parts as one table of unit vectors. Keeps the parts alive.
class UnitRows {
 public:
  explicit UnitRows(std::vector<EmbeddingStore::Part> parts);

  int64_t size() const { return begins_.back(); }
  int64_t width() const { return parts_.empty() ? 0 : parts_[0].embeddings.dim(1); }
  uint64_t key(int64_t row) const;
  /// One row, scaled to length 1, into `to` [D]. An error that names its key if it has no direction.
  void copy(int64_t row, float* to) const;

 private:
  size_t part_of(int64_t row) const;
  std::vector<EmbeddingStore::Part> parts_;
  std::vector<int64_t> begins_;  // the first row of each part, and the end
};

struct ApproximateIndex {
  Tensor centroids;  // [cells, D], unit vectors
  Tensor begins;     // i64 [cells + 1]: a cell's place in `rows`
  Tensor rows;       // i64 [n], every row once, cell by cell

  int64_t cells() const { return centroids.dim(0); }

  /// k-means over a sample of the rows, by cosine, then every row into the cell of its nearest centroid. `cells` 0:
  /// about 2 sqrt(n), a power of two, with at least 39 rows each (below that, faiss says, centroids follow single
  /// rows).
  static ApproximateIndex build(const UnitRows& rows, int64_t cells, uint64_t seed, bool quiet);
  /// Whether the three agree with each other and with n rows of that width; errors (std::runtime_error) begin with
  /// `label`.
  void check(int64_t n, int64_t width, const std::string& label) const;
};

/// Cells that a search looks at unless told otherwise: docs/performance.md says what they find.
inline constexpr int64_t default_probes = 64;

/// As `nearest`, among the embeddings of the `probes` cells nearest to each query: fewer than `top` if they have no
/// more. With as many probes as there are cells the result is the exact one. On the cpu.
std::vector<std::vector<Hit>> nearest(const ApproximateIndex& index, const UnitRows& rows, const Tensor& queries,
                                      int64_t top, int64_t probes);

}  // namespace weft
