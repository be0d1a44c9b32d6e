// Python's pickle, protocol 2, as far as PyTorch's files need it (docs.python.org/3/library/pickletools.html): a machine
// with an allowlist of instructions and of names, which builds plain values and never calls anything.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace weft {

/// One value, 16 bytes; what does not fit in is in the Pickle that it came from.
struct PickleValue {
  enum class Kind : uint8_t {
    none, boolean, integer, real, text, list, tuple, dict,
    object,   // of a class that TorchScript compiled; its one item is its state
    storage,  // elements of a tensor, in another member of the archive
    tensor,
    opaque,   // something that need not be understood, such as a NumPy scalar
    global,   // a name of the allowlist
  };
  Kind kind;
  uint32_t length;  // bytes of a text
  union {
    int64_t integer = 0;  // also boolean
    double real;
    uint64_t index;  // of the Pickle's list for this kind; where a text begins; which name
  };

  PickleValue(Kind kind = Kind::none, uint32_t length = 0) : kind(kind), length(length) {}
  bool is(Kind k) const { return kind == k; }
};

std::string_view name_of(PickleValue::Kind kind);

/// A tensor's elements as `torch.save` names them.
struct PickledStorage {
  std::string_view key;  // of the archive's member
  DType dtype = DType::f32;
  uint64_t count = 0;                   // elements
  uint64_t begin = 0, whole_count = 0;  // where a view begins in the storage, and that one's elements
};

/// A view of a storage; nothing is checked against it yet.
struct PickledTensor {
  uint64_t storage = 0;  // index into Pickle::storages()
  uint64_t offset = 0;   // elements
  Shape shape, strides;
};

/// A pickle's values. Views its bytes, which must outlive it.
class Pickle {
 public:
  struct Options {
    uint64_t memory = uint64_t{32} << 20;  // bytes that the values may take
    bool torch_script = false;             // objects of `__torch__` classes are allowed
    bool legacy = false;                   // of before PyTorch 1.6: other bytes follow, storages may be views of storages
    uint64_t begin = 0;                    // the first byte; errors name bytes of the whole
  };

  /// Runs the whole pickle. Errors (std::runtime_error) are one line begun with `label` and the byte: an instruction or
  /// a name that is not on the allowlist, a value of another kind than the instruction takes, too much memory.
  Pickle(std::string_view bytes, std::string label, const Options& options);

  const PickleValue& root() const { return root_; }
  /// The byte after the last one that was read.
  uint64_t end() const { return end_; }
  /// Elements of a list or tuple; keys and values of a dict by turns, in the order of writing; an object's state.
  std::span<const PickleValue> items(const PickleValue& value) const;
  std::string_view text(const PickleValue& value) const { return bytes_.substr(value.index, value.length); }
  const PickledTensor& tensor(const PickleValue& value) const { return tensors_[value.index]; }
  const std::deque<PickledStorage>& storages() const { return storages_; }
  const std::deque<PickledTensor>& tensors() const { return tensors_; }
  /// The value under a text key of a dict; null if there is none or `dict` is none.
  const PickleValue* find(const PickleValue& dict, std::string_view key) const;

 private:
  friend class PickleMachine;
  std::string_view bytes_;
  uint64_t end_ = 0;
  PickleValue root_;
  std::deque<std::vector<PickleValue>> sequences_;  // of lists, tuples, dicts and objects
  std::deque<PickledStorage> storages_;
  std::deque<PickledTensor> tensors_;
};

}  // namespace weft
