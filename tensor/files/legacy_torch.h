// What torch.save wrote before PyTorch 1.6, and still does if asked to (torch/serialization.py, _legacy_save), such as
// torchvision's weights of 2019: four pickles one after another (a magic number, the protocol, the machine, the value),
// a fifth of the storages' keys, and then of each storage the number of its elements (i64) and the elements.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "tensor/files/mapped_file.h"
#include "tensor/files/pickle.h"

namespace weft {

/// Whether the bytes begin as such a file.
bool is_legacy_torch(std::string_view bytes);

struct LegacyTorch {
  std::unique_ptr<Pickle> pickle;          // the value
  std::vector<std::string_view> storages;  // the bytes of every storage of the pickle, views of the file
};

/// Reads the pickles and finds the storages. Every storage that the value names must be in the list of keys once and
/// have the count of elements that was announced, and the last must end the file. Errors (std::runtime_error) are one
/// line with file and byte or storage.
LegacyTorch read_legacy_torch(const MappedFile& file);

}  // namespace weft
