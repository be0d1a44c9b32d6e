// PyTorch's files: the zip archives of torch.save since PyTorch 1.6 (.pt, .pth, .bin), what it wrote before
// (tensor/files/legacy_torch.h), and the archives of torch.jit.save, in which the state dicts of sub-modules are a graph
// of objects (github.com/pytorch/pytorch, torch/serialization.py and torch/csrc/jit/serialization). Compiled code in the
// latter is never looked at.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "tensor/files/pickle.h"
#include "tensor/files/zip.h"

namespace weft {

class TorchFile {
 public:
  /// A tensor somewhere in the file's value. Dicts, lists and objects join into a name with dots: "state.0.exp_avg".
  struct Entry {
    std::string name;
    DType dtype = DType::f32;
    Shape shape;
    uint64_t tensor = 0;  // index in the pickle
  };

  /// Reads the archive's directory and its pickle and checks every storage and every tensor against the file: a storage
  /// has exactly the bytes that its elements need, a tensor's strides stay inside of it, and no tensor has more elements
  /// than its storage. Errors (std::runtime_error) are one line with file and place. Names that occur twice, and values
  /// more than 64 levels deep, are errors.
  explicit TorchFile(std::shared_ptr<const MappedFile> file);

  const std::vector<Entry>& entries() const { return entries_; }
  /// The value that was saved, with what is no tensor.
  const Pickle& pickle() const { return *pickle_; }
  bool is_torch_script() const { return torch_script_; }
  /// A view of the mapping where the elements lie in order and aligned, a copy otherwise. Tensors that share a storage
  /// in the file share it here.
  Tensor tensor(const Entry& entry) const;
  /// Gives the pages of the tensor's storage back.
  void forget(const Entry& entry) const;

 private:
  void read_archive();
  void find_storages(const ZipArchive& archive, const std::string& folder);
  void check_tensors() const;

  std::shared_ptr<const MappedFile> file_;
  std::string label_;  // of errors in the pickle
  bool torch_script_ = false;
  std::unique_ptr<Pickle> pickle_;
  std::vector<std::string_view> bytes_;  // of every storage of the pickle
  std::vector<Entry> entries_;
};

}  // namespace weft
