// The embeddings that are nearest to a query, by comparing it with every one.
#pragma once

#include <vector>

#include "apps/embedding_store.h"

namespace weft {

struct Hit {
  double score;  // the cosine
  uint64_t key;
};

/// The `top` embeddings of largest cosine with each query [Q, D], best first, ties in the order of the parts; part by
/// part, since a catalogue need not fit the device. An embedding without a direction is an error.
std::vector<std::vector<Hit>> nearest(const std::vector<EmbeddingStore::Part>& parts, const Tensor& queries,
                                      int64_t top, Device device);

}  // namespace weft
