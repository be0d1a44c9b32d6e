// An approximate index that is built once and kept beside the embeddings.
#pragma once

#include <filesystem>

#include "apps/approximate_index.h"

namespace weft {

/// The index of a store's parts: what `file` holds, if it was made of these very embeddings; otherwise one built now
/// and kept there, whole or not at all. The embeddings' files are the same if their names, sizes and times are, or else
/// their bytes. A file that cannot be used or kept is one line on stderr, no error.
ApproximateIndex cached_index(const std::vector<EmbeddingStore::Part>& parts, const UnitRows& rows,
                              const std::filesystem::path& file, bool quiet);

}  // namespace weft
