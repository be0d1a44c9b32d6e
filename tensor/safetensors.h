// Files of named tensors (github.com/huggingface/safetensors): 8 bytes header length, a JSON header, the tensors' bytes
// one after another. Read by mapping the file: tensors are views of it, and nothing is trusted before it is checked.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "tensor/files/mapped_file.h"
#include "tensor/tensor.h"

namespace weft {

/// An open file. Copies share the mapping, which lives as long as any tensor taken from it. Every error is a
/// std::runtime_error of one line: file, tensor or byte offset, what was expected, what was found.
class Safetensors {
 public:
  struct Entry {
    std::string name;
    DType dtype = DType::f32;
    Shape shape;
    uint64_t begin = 0, end = 0;  // bytes after the header
  };

  /// Maps and validates: header of at most 100 MB that is one JSON object without duplicate keys, known dtypes, at most
  /// 6 axes, byte ranges that agree with shape and dtype and cover the file without holes or overlap.
  /// Errors begin with `name` if there is one: what the user knows a temporary file by.
  explicit Safetensors(const std::filesystem::path& path, const std::string& name = "");

  /// What errors begin with.
  const std::string& path() const { return path_; }
  /// Whether both are the same opening of a file.
  bool is(const Safetensors& other) const { return file_ == other.file_; }
  /// In the order of their bytes.
  const std::vector<Entry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Null if the file has no tensor of that name.
  const Entry* find(const std::string& name) const;
  /// A view of the mapping, not to be written to; a copy where the file's bytes are not aligned for the dtype. An error
  /// if the name is missing or a BOOL is neither 0 nor 1.
  Tensor tensor(const std::string& name) const;
  /// To be called when a tensor's bytes were copied: they no longer count as the program's memory.
  void forget(const std::string& name) const;

 private:
  std::string path_;
  std::vector<Entry> entries_;
  std::map<std::string, std::string> metadata_;
  std::unordered_map<std::string, size_t> index_;
  std::shared_ptr<const MappedFile> file_;
  std::string_view data_;  // what follows the header
};

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// Writes tensors and metadata atomically (tensor/atomic_file.h). Wider elements come first so that each is aligned
/// when mapped; among equals the given order is kept. Writing to a file that is mapped is safe.
void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

/// A tensor that is made when its turn to be written comes, and then dropped.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::function<Tensor()> make;
};
/// The same, with no more than one tensor at a time in memory.
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace weft
