#include "tensor/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "tensor/atomic_file.h"
#include "tensor/json_file.h"

namespace weft {

namespace {

using nlohmann::json;

constexpr uint64_t header_limit = 100'000'000;
constexpr std::pair<DType, const char*> dtype_names[] = {
    {DType::f32, "F32"}, {DType::bf16, "BF16"}, {DType::f16, "F16"}, {DType::f64, "F64"},
    {DType::i32, "I32"}, {DType::i64, "I64"},   {DType::u8, "U8"},   {DType::boolean, "BOOL"},
};

const char* file_name_of(DType dtype) {
  return std::find_if(std::begin(dtype_names), std::end(dtype_names), [&](const auto& n) { return n.first == dtype; })
      ->second;
}

// The header as a stream of events, so that duplicate keys are seen and depth costs no stack.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  HeaderReader(const std::string& path, std::vector<Safetensors::Entry>& entries,
               std::map<std::string, std::string>& metadata, uint64_t memory)
      : path_(path), entries_(entries), metadata_(metadata), memory_(memory) {}

  bool start_object(size_t) override {
    if (place_ == Place::outside) return enter(Place::top);
    if (place_ != Place::top) wrong("an object");
    if (name_ == "__metadata__") return enter(Place::metadata);
    entry_ = {};
    entry_.name = name_;
    seen_dtype_ = seen_shape_ = seen_offsets_ = false;
    return enter(Place::tensor);
  }

  bool end_object() override {
    if (place_ == Place::tensor) {
      require(seen_dtype_, "dtype");
      require(seen_shape_, "shape");
      require(seen_offsets_, "data_offsets");
      check_size();
      entries_.push_back(entry_);
    }
    return enter(place_ == Place::top ? Place::outside : Place::top);
  }

  bool key(std::string& key) override {
    spend(key);
    if (place_ == Place::top) {
      check_input(names_.insert(key).second, "{}: tensor {}: every name must occur once but it occurs twice", path_,
                  quote(key));
      name_ = key;
      label_ = quote(key);
    } else if (place_ == Place::metadata) {
      check_input(metadata_.emplace(key, "").second, "{}: metadata {}: every key must occur once but it occurs twice",
                  path_, quote(key));
      key_ = key;
    } else {
      bool* seen = key == "dtype"          ? &seen_dtype_
                   : key == "shape"        ? &seen_shape_
                   : key == "data_offsets" ? &seen_offsets_
                                           : nullptr;
      check_input(seen, "{}: tensor {}: the keys must be dtype, shape and data_offsets but one is {}", path_, label_,
                  quote(key));
      check_input(!*seen, "{}: tensor {}: every key must occur once but {} occurs twice", path_, label_, key);
      *seen = true;
      key_ = key;
    }
    return true;
  }

  bool string(std::string& value) override {
    if (place_ == Place::metadata) {
      spend(value);
      metadata_[key_] = value;
    } else if (place_ == Place::tensor && key_ == "dtype") {
      const auto found = std::find_if(std::begin(dtype_names), std::end(dtype_names),
                                      [&](const auto& n) { return n.second == value; });
      check_input(found != std::end(dtype_names),
                  "{}: tensor {}: the dtype must be one of F32, BF16, F16, F64, I32, I64, U8, BOOL but is {}", path_,
                  label_, quote(value));
      entry_.dtype = found->first;
    } else {
      wrong("a string");
    }
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::tensor || key_ == "dtype") wrong("an array");
    count_ = 0;
    return enter(key_ == "shape" ? Place::shape : Place::offsets);
  }

  bool end_array() override {
    check_input(place_ == Place::shape || count_ == 2, "{}: tensor {}: data_offsets must have 2 numbers but has {}",
                path_, label_, count_);
    return enter(Place::tensor);
  }

  bool number_unsigned(uint64_t value) override {
    if (place_ == Place::shape) {
      check_input(count_ < Shape::max_rank, "{}: tensor {}: at most {} axes are supported but the shape has more",
                  path_, label_, Shape::max_rank);
      check_input(value <= std::numeric_limits<int64_t>::max(), "{}: tensor {}: extent {} is too large", path_, label_,
                  value);
      entry_.shape.push_back(static_cast<int64_t>(value));
    } else if (place_ == Place::offsets) {
      if (count_ < 2) (count_ == 0 ? entry_.begin : entry_.end) = value;
    } else {
      wrong("a number");
    }
    ++count_;
    return true;
  }

  bool number_integer(int64_t value) override { wrong(fmt::format("{}", value)); }
  bool number_float(double, const std::string& text) override { wrong(quote(text)); }
  bool boolean(bool) override { wrong("a boolean"); }
  bool null() override { wrong("null"); }
  bool binary(json::binary_t&) override { wrong("binary data"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail("{}: offset {}: the header must be JSON in UTF-8 but is not", path_, position + 7);  // positions count from 1
  }

 private:
  enum class Place { outside, top, metadata, tensor, shape, offsets };

  bool enter(Place place) {
    place_ = place;
    return true;
  }

  // A tensor's three keys pay for its entry, its place in the index and what vectors hold while they grow.
  void spend(const std::string& text) {
    const uint64_t bytes = 160 + 2 * text.size();
    check_input(bytes <= memory_, "{}: the header must need no more memory than the file has but it lists too much", path_);
    memory_ -= bytes;
  }

  [[noreturn]] void wrong(const std::string& found) {
    switch (place_) {
      case Place::outside: fail("{}: the header must be an object but is {}", path_, found);
      case Place::top: fail("{}: tensor {}: an object was expected but found {}", path_, label_, found);
      case Place::metadata: fail("{}: metadata {}: a string was expected but found {}", path_, quote(key_), found);
      case Place::tensor:
        fail("{}: tensor {}: {} must be {} but is {}", path_, label_, key_, key_ == "dtype" ? "a string" : "an array",
             found);
      default: fail("{}: tensor {}: {} must hold numbers of at least 0 but holds {}", path_, label_, key_, found);
    }
  }

  void require(bool seen, const char* key) { check_input(seen, "{}: tensor {}: {} is missing", path_, label_, key); }

  void check_size() {
    const std::optional<int64_t> needed = tensor_bytes(entry_.shape, entry_.dtype);
    check_input(needed.has_value(), "{}: tensor {}: shape {} has more bytes than can be counted", path_, label_, entry_.shape);
    const int64_t bytes = *needed;
    check_input(entry_.begin <= entry_.end, "{}: tensor {}: data_offsets must not decrease but are [{}, {}]", path_,
                label_, entry_.begin, entry_.end);
    check_input(entry_.end - entry_.begin == static_cast<uint64_t>(bytes),
                "{}: tensor {}: {} {} needs {} bytes but data_offsets [{}, {}] hold {}", path_, label_, entry_.dtype,
                entry_.shape, bytes, entry_.begin, entry_.end, entry_.end - entry_.begin);
  }

  const std::string& path_;
  std::vector<Safetensors::Entry>& entries_;
  std::map<std::string, std::string>& metadata_;
  std::unordered_set<std::string> names_;
  Place place_ = Place::outside;
  std::string name_, label_, key_;
  Safetensors::Entry entry_;
  uint64_t memory_;  // bytes that may still be taken
  bool seen_dtype_ = false, seen_shape_ = false, seen_offsets_ = false;
  int count_ = 0;
};

uint64_t little_endian(const char* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

Safetensors::Safetensors(const std::filesystem::path& path, const std::string& name)
    : path_(name.empty() ? path.string() : name) {
  file_ = MappedFile::open(path);
  const std::string_view bytes = file_->bytes();
  check_input(bytes.size() >= 8, "{}: the file must begin with 8 bytes of header length but has {} bytes", path_,
              bytes.size());
  const uint64_t length = little_endian(bytes.data());
  check_input(length <= header_limit, "{}: the header must have at most {} bytes but claims {}", path_, header_limit,
              length);
  check_input(length <= bytes.size() - 8, "{}: the header claims {} bytes but {} follow its length", path_, length,
              bytes.size() - 8);
  const char *header = bytes.data() + 8, *header_end = header + length;
  check_input(length > 0 && *header == '{', "{}: offset 8: the header must begin with '{{'", path_);
  const char* last = header_end;
  while (last > header && last[-1] == ' ') --last;
  check_input(last[-1] == '}' && !std::memchr(header, 0, length), "{}: the header must end with '}}' and spaces",
              path_);

  check_json_tokens({header, length}, path_);
  HeaderReader reader(path_, entries_, metadata_, (memory_slack + bytes.size()) / 2);
  json::sax_parse(header, last, &reader);

  std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& e = entries_[i];
    check_input(e.begin == at,
                "{}: tensor {}: data_offsets must begin at {}, where the one before ends, but begin at {}", path_,
                quote(e.name), at, e.begin);
    at = e.end;
    index_.emplace(e.name, i);
  }
  const uint64_t held = bytes.size() - 8 - length;
  check_input(at == held, "{}: the tensors need {} bytes after the header but the file holds {}", path_, at, held);
  data_ = bytes.substr(8 + length);
}

const Safetensors::Entry* Safetensors::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

Tensor Safetensors::tensor(const std::string& name) const {
  const Entry* entry = find(name);
  check_input(entry, "{}: tensor {} is missing", path_, quote(name));
  return tensor_at(data_.substr(entry->begin, entry->end - entry->begin), entry->shape, entry->dtype, file_,
                   fmt::format("{}: tensor {}", path_, quote(name)));
}

void Safetensors::forget(const std::string& name) const {
  if (const Entry* entry = find(name)) file_->forget(data_.substr(entry->begin, entry->end - entry->begin));
}

void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<TensorToWrite> list;
  for (const NamedTensor& t : tensors) {
    check(t.tensor.defined(), "[write_safetensors] tensor {} must be defined", quote(t.name));
    list.push_back({t.name, t.tensor.dtype(), t.tensor.shape(), [&t] { return t.tensor.detach().to(Device::cpu); }});
  }
  write_safetensors(path, list, metadata);
}

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const TensorToWrite*> order;
  std::unordered_set<std::string> names;
  for (const TensorToWrite& t : tensors) {
    check(t.name != "__metadata__" && names.insert(t.name).second,
          "[write_safetensors] every name must occur once but {} {}", quote(t.name),
          t.name == "__metadata__" ? "is reserved" : "occurs twice");
    order.push_back(&t);
  }
  std::stable_sort(order.begin(), order.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    return size_of(a->dtype) > size_of(b->dtype);
  });

  std::string text = "{";
  try {
    if (!metadata.empty()) text += "\"__metadata__\":" + json(metadata).dump();
    int64_t at = 0;
    for (const TensorToWrite* t : order) {
      const int64_t begin = std::exchange(at, at + t->shape.numel() * size_of(t->dtype));
      text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                          text.size() > 1 ? "," : "", json(t->name).dump(), file_name_of(t->dtype),
                          fmt::join(t->shape.begin(), t->shape.end(), ","), begin, at);
    }
  } catch (const json::exception&) {
    check(false, "[write_safetensors] names and metadata must be UTF-8");
  }
  text += "}";
  text.resize((text.size() + 8 + 63) / 64 * 64 - 8, ' ');  // the first tensor begins at a multiple of 64 bytes
  check(text.size() <= header_limit, "[write_safetensors] the header must have at most {} bytes but has {}",
        header_limit, text.size());

  AtomicFile file(path);
  char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i));
  file.write(length, sizeof length);
  file.write(text);
  for (const TensorToWrite* t : order) {
    const Tensor tensor = t->make();
    check(tensor.dtype() == t->dtype && tensor.shape() == t->shape, "[write_safetensors] tensor {} must be {} {} but is {} {}",
          quote(t->name), t->dtype, t->shape, tensor.dtype(), tensor.shape());
    file.write(tensor.raw(), static_cast<size_t>(tensor.nbytes()));
  }
  file.commit();
}

}  // namespace weft
