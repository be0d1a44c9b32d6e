#include "tensor/files/tensor_file.h"

#include <map>
#include <nlohmann/json.hpp>

#include "tensor/atomic_file.h"
#include "tensor/files/legacy_torch.h"
#include "tensor/json_file.h"

namespace weft {

namespace fs = std::filesystem;

namespace {

constexpr const char* names_in_folders[] = {
    "model.safetensors",     "model.safetensors.index.json", "open_clip_model.safetensors",
    "pytorch_model.bin",     "pytorch_model.bin.index.json", "open_clip_pytorch_model.bin",
};

fs::path find_in_folder(const fs::path& path) {
  if (!fs::is_directory(path)) return path;
  for (const char* name : names_in_folders) {
    if (fs::exists(path / name)) return path / name;
  }
  fail("{}: a folder with model.safetensors or pytorch_model.bin was expected but it has neither", path.string());
}

}  // namespace

TensorFile::TensorFile(const fs::path& path) : path_(find_in_folder(path)) {
  if (path_.filename().string().ends_with(".index.json")) {
    add_shards(path_);
  } else {
    add_part(path_);
  }
  index_names();
}

void TensorFile::add_part(const fs::path& path) {
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  const std::string_view bytes = file->bytes();
  if (is_npy(bytes)) {
    format_ = "npy";
    Npy npy{file, {{path.stem().string(), parse_npy(bytes, file->path())}}};
    add_entry(npy.arrays[0].name, npy.arrays[0].array.dtype, npy.arrays[0].array.shape, 0);
    parts_->push_back(std::move(npy));
  } else if (ZipArchive::is_zip(bytes) && ZipArchive(file).holds_only(".npy")) {
    format_ = "npz";
    Npy npy{file, parse_npz(ZipArchive(file))};
    for (const NamedArray& a : npy.arrays) add_entry(a.name, a.array.dtype, a.array.shape, &a - npy.arrays.data());
    parts_->push_back(std::move(npy));
  } else if (ZipArchive::is_zip(bytes) || is_legacy_torch(bytes)) {
    auto torch = std::make_shared<const TorchFile>(file);
    format_ = torch->is_torch_script() ? "TorchScript" : "PyTorch";
    for (const TorchFile::Entry& e : torch->entries()) add_entry(e.name, e.dtype, e.shape, &e - torch->entries().data());
    parts_->push_back(std::move(torch));
  } else {
    // A safetensors file has its length first and then a brace; anything else is named as what it is not.
    check_input(bytes.size() >= 9 && bytes[8] == '{',
                "{}: a safetensors, PyTorch (.pt, .pth, .bin), .npy or .npz file was expected but it begins with {}",
                path.string(), quote(bytes.substr(0, 8)));
    format_ = "safetensors";
    Safetensors tensors(path);
    for (const auto& e : tensors.entries()) add_entry(e.name, e.dtype, e.shape, &e - tensors.entries().data());
    parts_->push_back(std::move(tensors));
  }
}

void TensorFile::add_shards(const fs::path& index) {
  const nlohmann::json json = read_json_file(index);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  check_input(json.is_object() && map != json.end() && map->is_object(),
              "{}: an object with \"weight_map\" (tensor: file) was expected", index.string());
  std::map<std::string, std::vector<std::string>> names_of;  // of each file
  for (const auto& [name, file] : map->items()) {
    check_input(file.is_string(), "{}: tensor {}: the name of a file was expected", index.string(), quote(name));
    const auto& text = file.get_ref<const std::string&>();
    // Only files beside the index: no path leads out of the folder.
    check_input(!text.empty() && text != "." && text != ".." && text.find('/') == std::string::npos &&
                    text.find('\0') == std::string::npos && !text.ends_with(".json"),
                "{}: tensor {}: a file beside the index was expected but found {}", index.string(), quote(name), quote(text));
    names_of[text].push_back(name);
  }
  check_input(!names_of.empty() && names_of.size() <= 1024, "{}: from 1 to 1024 files were expected but there are {}",
              index.string(), names_of.size());
  std::vector<Entry> listed;
  for (const auto& [file, names] : names_of) {
    entries_.clear();
    index_.clear();
    add_part(index.parent_path() / file);
    index_names();
    for (const std::string& name : names) {
      const Entry* entry = find(name);
      check_input(entry, "{}: tensor {}: {} was expected to have it but does not", index.string(), quote(name), quote(file));
      listed.push_back(*entry);
    }
  }
  entries_ = std::move(listed);
  format_ += fmt::format(" in {} files", names_of.size());
}

void TensorFile::add_entry(const std::string& name, DType dtype, const Shape& shape, size_t index) {
  Entry entry;
  entry.name = name;
  entry.dtype = dtype;
  entry.shape = shape;
  entry.part = static_cast<uint32_t>(parts_->size());
  entry.index = static_cast<uint32_t>(index);
  entries_.push_back(std::move(entry));
}

void TensorFile::index_names() {
  index_.clear();
  for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].name, i);
}

const TensorFile::Entry* TensorFile::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

Tensor TensorFile::load(const Entry& entry) const {
  const Part& part = (*parts_)[entry.part];
  if (const auto* file = std::get_if<Safetensors>(&part)) return file->tensor(file->entries()[entry.index].name);
  if (const auto* file = std::get_if<std::shared_ptr<const TorchFile>>(&part)) {
    return (*file)->tensor((*file)->entries()[entry.index]);
  }
  const Npy& npy = std::get<Npy>(part);
  const NamedArray& a = npy.arrays[entry.index];
  return npy_tensor(a.array, npy.file, fmt::format("{}: array {}", npy.file->path(), quote(a.name)));
}

Tensor TensorFile::load(const std::string& name) const {
  const Entry* entry = find(name);
  check_input(entry, "{}: tensor {} is missing", path_.string(), quote(name));
  return load(*entry);
}

void TensorFile::forget(const Entry& entry) const {
  const Part& part = (*parts_)[entry.part];
  if (const auto* file = std::get_if<Safetensors>(&part)) return file->forget(file->entries()[entry.index].name);
  if (const auto* file = std::get_if<std::shared_ptr<const TorchFile>>(&part)) {
    return (*file)->forget((*file)->entries()[entry.index]);
  }
  const Npy& npy = std::get<Npy>(part);
  npy.file->forget(npy.arrays[entry.index].array.bytes);
}

TensorFile TensorFile::below(std::string_view prefix) const {
  TensorFile part;
  part.path_ = path_;
  part.format_ = format_;
  part.parts_ = parts_;
  for (const Entry& entry : entries_) {
    if (!entry.name.starts_with(prefix)) continue;
    part.entries_.push_back(entry);
    part.entries_.back().name.erase(0, prefix.size());
  }
  part.index_names();
  return part;
}

const TorchFile* TensorFile::torch() const {
  const auto* file = parts_->empty() ? nullptr : std::get_if<std::shared_ptr<const TorchFile>>(&parts_->front());
  return file ? file->get() : nullptr;
}

}  // namespace weft
