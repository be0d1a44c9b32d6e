#include "tensor/files/torch_file.h"

#include <algorithm>
#include <unordered_set>

#include "tensor/atomic_file.h"
#include "tensor/files/legacy_torch.h"

namespace weft {

namespace {

using Kind = PickleValue::Kind;

// The name under which everything in the archive lies: that of the one data.pkl.
std::string folder_of(const ZipArchive& archive) {
  constexpr std::string_view pickle = "/data.pkl";
  const ZipArchive::Member* found = nullptr;
  for (const ZipArchive::Member& m : archive.members()) {
    if (!m.name.ends_with(pickle) || m.name.find('/') != m.name.size() - pickle.size()) continue;
    check_input(!found, "{}: one data.pkl was expected but there are several", archive.path());
    found = &m;
  }
  check_input(found, "{}: a PyTorch file was expected but the zip archive has no data.pkl", archive.path());
  return std::string(found->name.substr(0, found->name.size() - pickle.size() + 1));
}

// Walks a pickled value and lists its tensors. Values may be shared or hold themselves, so steps, levels and memory are
// bounded.
class TensorLister {
 public:
  TensorLister(const Pickle& pickle, const std::string& path, uint64_t memory, std::vector<TorchFile::Entry>& entries)
      : pickle_(pickle), path_(path), memory_(memory), steps_(memory / 16), entries_(entries) {}

  void list(const PickleValue& value, std::string& name, int level) {
    check_input(level <= 64, "{}: value {}: at most 64 levels were expected", path_, quote(name));
    check_input(steps_-- > 0, "{}: value {}: the file's values must not be shared this often", path_, quote(name));
    if (value.is(Kind::tensor)) return add(value, name);
    const auto items = pickle_.items(value);
    if (value.is(Kind::object)) {
      for (const PickleValue& state : items) list(state, name, level + 1);
    } else if (value.is(Kind::dict)) {
      for (size_t i = 0; i + 1 < items.size(); i += 2) below(items[i + 1], key_name(items[i]), name, level);
    } else {
      for (size_t i = 0; i < items.size(); ++i) below(items[i], std::to_string(i), name, level);
    }
  }

 private:
  void below(const PickleValue& value, std::string_view key, std::string& name, int level) {
    if (value.kind < Kind::list || value.kind > Kind::tensor) return;  // holds no tensor
    check_input(name.size() + key.size() < 4096, "{}: tensor {}: a name of at most 4096 bytes was expected", path_,
                quote(name));
    const size_t before = name.size();
    if (!name.empty()) name += '.';
    name += key;
    list(value, name, level + 1);
    name.resize(before);
  }

  std::string key_name(const PickleValue& key) const {
    if (key.is(Kind::text)) return std::string(pickle_.text(key).substr(0, 4096));
    if (key.is(Kind::integer)) return std::to_string(key.integer);
    return fmt::format("<{}>", name_of(key.kind));
  }

  void add(const PickleValue& value, const std::string& name) {
    const uint64_t bytes = 480 + 2 * name.size();  // with its places in indices
    check_input(bytes <= memory_, "{}: tensor {}: the file must not list more tensors than its size allows", path_, quote(name));
    memory_ -= bytes;
    const PickledTensor& t = pickle_.tensor(value);
    entries_.push_back({name.empty() ? "tensor" : name, pickle_.storages()[t.storage].dtype, t.shape, value.index});
  }

  const Pickle& pickle_;
  const std::string& path_;
  uint64_t memory_, steps_;
  std::vector<TorchFile::Entry>& entries_;
};

bool is_contiguous(const Shape& shape, const Shape& strides) {
  int64_t expected = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    if (shape[axis] != 1 && strides[axis] != expected) return false;
    expected *= shape[axis];
  }
  return true;
}

}  // namespace

TorchFile::TorchFile(std::shared_ptr<const MappedFile> file) : file_(std::move(file)), label_(file_->path()) {
  if (is_legacy_torch(file_->bytes())) {
    LegacyTorch legacy = read_legacy_torch(*file_);
    pickle_ = std::move(legacy.pickle);
    bytes_ = std::move(legacy.storages);
  } else {
    read_archive();
  }
  check_tensors();
  std::string name;
  const uint64_t memory = (uint64_t{16} << 20) + file_->bytes().size() / 4;
  TensorLister(*pickle_, file_->path(), memory, entries_).list(pickle_->root(), name, 0);
  std::unordered_set<std::string_view> names;
  for (const Entry& e : entries_) {
    check_input(names.insert(e.name).second, "{}: tensor {}: every name must occur once but it occurs twice",
                file_->path(), quote(e.name));
  }
}

void TorchFile::read_archive() {
  check_input(ZipArchive::is_zip(file_->bytes()), "{}: offset 0: a zip archive was expected", file_->path());
  const ZipArchive archive(file_);
  const std::string folder = folder_of(archive);  // of all members, with its slash
  torch_script_ = archive.find(folder + "constants.pkl") != nullptr;
  if (const auto* order = archive.find(folder + "byteorder")) {
    check_input(archive.bytes(*order) == "little", "{}: byteorder: \"little\" was expected but it is {}", archive.path(),
                quote(archive.bytes(*order)));
  }
  label_ = fmt::format("{}: {}data.pkl", archive.path(), folder);
  const uint64_t memory = (uint64_t{16} << 20) + file_->bytes().size() / 2;
  pickle_ = std::make_unique<Pickle>(archive.bytes(*archive.find(folder + "data.pkl")), label_,
                                     Pickle::Options{.memory = memory, .torch_script = torch_script_});
  find_storages(archive, folder);
}

void TorchFile::find_storages(const ZipArchive& archive, const std::string& folder) {
  bytes_.reserve(pickle_->storages().size());
  std::string name;
  for (const PickledStorage& s : pickle_->storages()) {
    check_input(s.key.size() <= 256, "{}: storage {}: a key of at most 256 bytes was expected", archive.path(), quote(s.key));
    name = folder + "data/" + std::string(s.key);
    const ZipArchive::Member* member = archive.find(name);
    check_input(member, "{}: member {} is missing", archive.path(), quote(name));
    const std::string_view bytes = archive.bytes(*member);
    const auto element = static_cast<uint64_t>(size_of(s.dtype));
    check_input(bytes.size() % element == 0 && bytes.size() / element == s.count,
                "{}: member {}: {} elements of {} were announced but it has {} bytes", archive.path(), quote(name), s.count,
                s.dtype, bytes.size());
    bytes_.push_back(bytes);
  }
}

void TorchFile::check_tensors() const {
  // Every tensor of the pickle is reached by its storage's index, whether it will be listed or not.
  for (const PickledTensor& t : pickle_->tensors()) {
    const PickledStorage& s = pickle_->storages()[t.storage];
    check_input(tensor_bytes(t.shape, s.dtype).has_value(), "{}: shape {} has more bytes than can be counted", label_, t.shape);
    const auto count = static_cast<uint64_t>(t.shape.numel());
    if (count == 0) continue;
    uint64_t last = t.offset;
    bool inside = true;
    for (int axis = 0; axis < t.shape.rank(); ++axis) {
      uint64_t span = 0;
      inside &= !__builtin_mul_overflow(static_cast<uint64_t>(t.shape[axis] - 1), static_cast<uint64_t>(t.strides[axis]), &span) &&
                !__builtin_add_overflow(last, span, &last);
    }
    check_input(inside && last < s.count && count <= s.count,
                "{}: a tensor of shape {}, strides {} and offset {} must lie in its storage {} of {} elements but does not",
                label_, t.shape, t.strides, t.offset, quote(s.key), s.count);
  }
}

void TorchFile::forget(const Entry& entry) const {
  file_->forget(bytes_[pickle_->tensors()[entry.tensor].storage]);
}

Tensor TorchFile::tensor(const Entry& entry) const {
  const PickledTensor& t = pickle_->tensors()[entry.tensor];
  const auto element = static_cast<size_t>(size_of(entry.dtype));
  const std::string label = fmt::format("{}: tensor {}", file_->path(), quote(entry.name));
  if (t.shape.numel() == 0) return Tensor::empty(t.shape, entry.dtype);
  const std::string_view storage = bytes_[t.storage].substr(t.offset * element);
  if (is_contiguous(t.shape, t.strides)) return tensor_at(storage, t.shape, entry.dtype, file_, label);
  return strided_tensor_at(storage, t.shape, t.strides, entry.dtype, label);
}

}  // namespace weft
