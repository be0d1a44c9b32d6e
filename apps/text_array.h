// The embeddings of all texts of a table as NumPy arrays, a row an item: GLAMI-1M's authors' cache in one file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "apps/embedder.h"
#include "data/glami.h"

namespace weft {

struct TextArrayCount {
  int64_t items = 0, distinct = 0, computed = 0;  // computed: by this call
};

/// Writes FILE.npy f32 [items, ...embedder.shape()], FILE_ids.npy i64 [items] with the items' item_id and, of whole
/// hidden states, FILE_mask.npy bool [items, max_tokens]. A text that occurs again is copied. Until it is whole the
/// array is FILE.npy.part, with FILE.npy.state beside; after an interruption the same call goes on from there to the
/// same bytes. Throws std::runtime_error if FILE.npy is there already, or was begun from other texts or settings.
TextArrayCount write_text_array(const TextEmbedder& embedder, const std::vector<GlamiTable>& tables,
                                const std::filesystem::path& file, int64_t batch, bool quiet);

}  // namespace weft
