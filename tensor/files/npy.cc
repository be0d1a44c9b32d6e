#include "tensor/files/npy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include "tensor/atomic_file.h"

namespace weft {

namespace {

constexpr std::pair<std::string_view, DType> dtypes[] = {
    {"<f4", DType::f32}, {"<f2", DType::f16}, {"<f8", DType::f64},    {"<i4", DType::i32},
    {"<i8", DType::i64}, {"|u1", DType::u8},  {"|b1", DType::boolean}};

// The header is a Python dict of three keys, written in one way but for spaces and the keys' order.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& label) : text_(text), label_(label) {}

  NpyArray parse() {
    NpyArray array;
    bool descr = false, order = false, shape = false;
    need('{');
    while (!accept('}')) {
      const std::string_view key = string();
      need(':');
      if (key == "descr" && !std::exchange(descr, true)) {
        array.dtype = dtype(string());
      } else if (key == "fortran_order" && !std::exchange(order, true)) {
        array.fortran_order = boolean();
      } else if (key == "shape" && !std::exchange(shape, true)) {
        array.shape = extents();
      } else {
        fail("{}: the header's keys must be descr, fortran_order and shape, each once, but one is {}", label_, quote(key));
      }
      if (!accept(',') && peek() != '}') bad("',' or '}'");
    }
    check_input(descr && order && shape, "{}: the header must have descr, fortran_order and shape but lacks one", label_);
    skip_spaces();
    if (at_ != text_.size()) bad("its end");
    return array;
  }

 private:
  [[noreturn]] void bad(const char* expected) const {
    fail("{}: header: {} was expected but found {}", label_, expected, quote(text_.substr(std::min(at_, text_.size()), 20)));
  }
  void skip_spaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  char peek() {
    skip_spaces();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }
  void need(char c) {
    const char expected[] = {'\'', c, '\'', '\0'};
    if (!accept(c)) bad(expected);
  }
  std::string_view string() {
    const char mark = peek();
    if (mark != '\'' && mark != '"') bad("a text");
    const size_t end = text_.find(mark, at_ + 1);
    if (end == std::string_view::npos) bad("a text");
    const std::string_view inside = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return inside;
  }
  bool boolean() {
    skip_spaces();
    for (const std::string_view word : {"True", "False"}) {
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return word == "True";
    }
    bad("True or False");
  }
  Shape extents() {
    Shape shape;
    need('(');
    while (!accept(')')) {
      check_input(shape.rank() < Shape::max_rank, "{}: at most {} axes are supported but the shape has more", label_,
                  Shape::max_rank);
      skip_spaces();
      int64_t extent = 0;
      const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), extent);
      if (error != std::errc{} || extent < 0) bad("an extent");
      at_ = static_cast<size_t>(end - text_.data());
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2's long
      shape.push_back(extent);
      if (!accept(',') && peek() != ')') bad("',' or ')'");
    }
    return shape;
  }
  DType dtype(std::string_view name) const {
    for (const auto& [text, dtype] : dtypes) {
      if (text == name) return dtype;
    }
    fail("{}: descr must be one of <f4 <f2 <f8 <i4 <i8 |u1 |b1 (little endian) but is {}", label_, quote(name));
  }

  std::string_view text_;
  const std::string& label_;
  size_t at_ = 0;
};

}  // namespace

NpyArray parse_npy(std::string_view file, const std::string& label) {
  check_input(is_npy(file) && file.size() >= 10, "{}: offset 0: a NumPy array was expected", label);
  const auto major = static_cast<unsigned char>(file[6]);
  check_input(major >= 1 && major <= 3, "{}: offset 6: version 1, 2 or 3 was expected but it is {}", label, major);
  const size_t length_bytes = major == 1 ? 2 : 4;
  check_input(file.size() >= 8 + length_bytes, "{}: offset 8: the header's length was expected but the file ends", label);
  uint32_t length = 0;
  std::memcpy(&length, file.data() + 8, length_bytes);
  const size_t begin = 8 + length_bytes;
  check_input(length <= file.size() - begin, "{}: offset 8: the header claims {} bytes but {} follow", label, length,
              file.size() - begin);
  NpyArray array = HeaderParser(file.substr(begin, length), label).parse();
  array.bytes = file.substr(begin + length);
  const std::optional<int64_t> bytes = tensor_bytes(array.shape, array.dtype);
  check_input(bytes.has_value(), "{}: shape {} has more bytes than can be counted", label, array.shape);
  check_input(static_cast<uint64_t>(*bytes) == array.bytes.size(), "{}: {} {} needs {} bytes but {} follow the header", label,
              array.dtype, array.shape, *bytes, array.bytes.size());
  return array;
}

Tensor npy_tensor(const NpyArray& array, std::shared_ptr<const void> owner, const std::string& label) {
  if (!array.fortran_order || array.shape.rank() < 2) {
    return tensor_at(array.bytes, array.shape, array.dtype, std::move(owner), label);
  }
  Shape strides = array.shape;
  for (int64_t axis = 0, stride = 1; axis < strides.rank(); ++axis) {
    strides[static_cast<int>(axis)] = stride;
    stride *= array.shape[static_cast<int>(axis)];
  }
  return strided_tensor_at(array.bytes, array.shape, strides, array.dtype, label);
}

std::vector<NamedArray> parse_npz(const ZipArchive& archive) {
  std::vector<NamedArray> arrays;
  for (const ZipArchive::Member& m : archive.members()) {
    check_input(m.name.ends_with(".npy"), "{}: member {}: every name must end in .npy", archive.path(), quote(m.name));
    check_input(m.stored, "{}: member {}: compressed arrays are not read: write them with numpy.savez", archive.path(),
                quote(m.name));
    const std::string label = fmt::format("{}: member {}", archive.path(), quote(m.name));
    arrays.push_back({std::string(m.name.substr(0, m.name.size() - 4)), parse_npy(archive.bytes(m), label)});
  }
  return arrays;
}

std::string npy_header(DType dtype, const Shape& shape) {
  const auto found = std::find_if(std::begin(dtypes), std::end(dtypes), [&](const auto& d) { return d.second == dtype; });
  check(found != std::end(dtypes), "[npy] f16, f32, f64, i32, i64, u8 or bool was expected but the dtype is {}", dtype);
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': (", found->first);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    text += fmt::format("{}{}", axis == 0 ? "" : ", ", shape[axis]);
  }
  text += shape.rank() == 1 ? ",), }" : "), }";
  // NumPy leaves room for a first axis of 21 digits, so that a file can grow.
  if (shape.rank() > 0) text.append(21 - fmt::formatted_size("{}", shape[0]), ' ');
  constexpr size_t before = 10, multiple = 64;  // magic, version and length; where the array begins
  const size_t length = (before + text.size() + 1 + multiple - 1) / multiple * multiple - before;
  text.resize(length - 1, ' ');
  const auto bytes = static_cast<uint16_t>(length);
  return std::string("\x93NUMPY\1\0", 8) + static_cast<char>(bytes & 0xff) + static_cast<char>(bytes >> 8) + text + '\n';
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  AtomicFile file(path);
  file.write(npy_header(tensor.dtype(), tensor.shape()));
  file.write(tensor.raw(), static_cast<size_t>(tensor.nbytes()));
  file.commit();
}

}  // namespace weft
