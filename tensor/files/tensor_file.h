// Named tensors from a file of any format that weft reads: safetensors, PyTorch's, TorchScript, .npy, .npz, and models in
// several files with an index. One door, whatever lies behind it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "tensor/files/npy.h"
#include "tensor/files/torch_file.h"
#include "tensor/safetensors.h"

namespace weft {

/// An open file. Copies share its mapping, which lives as long as any tensor taken from it.
class TensorFile {
 public:
  struct Entry {
    std::string name;
    DType dtype = DType::f32;
    Shape shape;

   private:
    friend class TensorFile;
    uint32_t part = 0, index = 0;  // the file's part that has it, and which one of that part's
  };

  /// Opens by content, not by name: a file of any of the formats; `*.index.json` with its shards beside it; a folder with
  /// one of the names that the Hugging Face hub uses (model.safetensors, pytorch_model.bin, ...). Errors as the reader
  /// of the format has them: std::runtime_error, one line.
  explicit TensorFile(const std::filesystem::path& path);

  /// The file, the index, or the file that was found in the folder.
  const std::filesystem::path& path() const { return path_; }
  /// "safetensors", "PyTorch", "TorchScript", "npy" or "npz"; with " in N files" after it if there is an index.
  const std::string& format() const { return format_; }
  const std::vector<Entry>& entries() const { return entries_; }
  /// Null if the file has no tensor of that name.
  const Entry* find(const std::string& name) const;
  /// A view of the mapping, not to be written to, where the elements lie in order and aligned; a copy otherwise.
  Tensor load(const Entry& entry) const;
  /// The same by name, which must be there.
  Tensor load(const std::string& name) const;
  /// Gives a tensor's pages back: to be called when its bytes were used and will not be soon.
  void forget(const Entry& entry) const;

  /// The tensors whose names begin with `prefix`, without it: the state dict in a checkpoint, say.
  TensorFile below(std::string_view prefix) const;
  /// The PyTorch file behind this, with its values that are no tensors; null for the other formats.
  const TorchFile* torch() const;

 private:
  struct Npy {
    std::shared_ptr<const MappedFile> file;
    std::vector<NamedArray> arrays;
  };
  using Part = std::variant<Safetensors, std::shared_ptr<const TorchFile>, Npy>;
  TensorFile() = default;
  void add_part(const std::filesystem::path& path);
  void add_shards(const std::filesystem::path& index);
  void add_entry(const std::string& name, DType dtype, const Shape& shape, size_t index);
  void index_names();

  std::filesystem::path path_;
  std::string format_;
  std::shared_ptr<std::vector<Part>> parts_ = std::make_shared<std::vector<Part>>();
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> index_;
};

}  // namespace weft
