#include "apps/nearest.h"

#include <algorithm>
#include <cmath>

#include "kernels/matmul.h"
#include "kernels/reduce.h"
#include "models/clip.h"

namespace weft {

std::vector<std::vector<Hit>> nearest(const std::vector<EmbeddingStore::Part>& parts, const Tensor& queries,
                                      int64_t top, Device device) {
  const Tensor units = normalize(queries.to(device));
  std::vector<std::vector<Hit>> hits(static_cast<size_t>(queries.dim(0)));
  for (const EmbeddingStore::Part& part : parts) {
    if (part.keys.numel() == 0) continue;
    const Tensor cosines = matmul(units, normalize(part.embeddings.to(device)), {}, {.transpose_b = true});
    const TopK best = topk(cosines, std::min<int64_t>(top, part.keys.numel()));
    const Tensor values = best.values.to(Device::cpu), rows = best.indices.to(Device::cpu);
    const int64_t found = rows.dim(1);
    for (size_t q = 0; q < hits.size(); ++q) {
      for (int64_t i = static_cast<int64_t>(q) * found, end = i + found; i < end; ++i) {
        const auto key = static_cast<uint64_t>(part.keys.data<int64_t>()[rows.data<int64_t>()[i]]);
        const double score = values.data<float>()[i];
        check_input(std::isfinite(score), "the embedding under key {} must have a direction but its cosine is {}", key,
                    score);
        hits[q].push_back({score, key});
      }
      std::stable_sort(hits[q].begin(), hits[q].end(), [](const Hit& a, const Hit& b) { return a.score > b.score; });
      hits[q].resize(std::min<size_t>(hits[q].size(), static_cast<size_t>(top)));
    }
  }
  return hits;
}

}  // namespace weft
