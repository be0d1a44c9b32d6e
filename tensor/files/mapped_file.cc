#include "tensor/files/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>

#include "tensor/files/mapped_memory.h"

namespace weft {

namespace {

// All mappings there are, by their begin.
struct Mappings {
  std::mutex mutex;
  std::map<const char*, const MappedFile*> files;
};

// Never destroyed: a file may be unmapped when the program ends.
Mappings& mappings() {
  static auto* all = new Mappings;
  return *all;
}

// Puts strided elements of that many bytes in order.
template <size_t size>
void gather(const char* from, const Shape& shape, const Shape& strides, char* to) {
  std::array<int64_t, Shape::max_rank> at{};
  const int last = shape.rank() - 1;
  const int64_t n = shape[last], stride = strides[last] * static_cast<int64_t>(size);
  for (int64_t row = 0, rows = shape.product(0, last); row < rows; ++row) {
    const char* x = from;
    for (int axis = 0; axis < last; ++axis) x += at[axis] * strides[axis] * static_cast<int64_t>(size);
    for (int64_t i = 0; i < n; ++i, to += size) std::memcpy(to, x + i * stride, size);
    for (int axis = last - 1; axis >= 0 && ++at[axis] == shape[axis]; --axis) at[axis] = 0;
  }
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path.string();
  const int descriptor = ::open(file->path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  check_input(descriptor >= 0, "{}: cannot be opened: {}", file->path_, std::strerror(errno));
  struct stat status;
  const bool regular = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  const auto size = static_cast<size_t>(regular ? status.st_size : 0);
  void* bytes = size > 0 ? mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0) : nullptr;
  const int reason = errno;
  close(descriptor);
  check_input(regular, "{}: must be a regular file", file->path_);
  check_input(bytes != MAP_FAILED, "{}: cannot be mapped: {}", file->path_, std::strerror(reason));
  file->bytes_ = static_cast<const char*>(bytes);
  file->size_ = size;
  const std::lock_guard lock(mappings().mutex);
  if (bytes) mappings().files[file->bytes_] = file.get();
  return file;
}

MappedFile::~MappedFile() {
  if (!bytes_) return;
  const std::lock_guard lock(mappings().mutex);
  mappings().files.erase(bytes_);
  munmap(const_cast<char*>(bytes_), size_);
}

void MappedFile::forget(std::string_view part) const {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(part.data() + part.size()) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void forget_mapped(const Tensor& tensor) {
  if (!tensor || !tensor.storage()->owner) return;
  const auto* bytes = static_cast<const char*>(tensor.raw());
  const std::lock_guard lock(mappings().mutex);
  const auto after = mappings().files.upper_bound(bytes);
  if (after == mappings().files.begin()) return;
  const MappedFile* file = std::prev(after)->second;
  if (bytes < file->bytes().data() + file->bytes().size()) file->forget({bytes, static_cast<size_t>(tensor.nbytes())});
}

std::optional<int64_t> tensor_bytes(const Shape& shape, DType dtype) {
  int64_t bytes = size_of(dtype);
  for (const int64_t d : shape) {
    if (d < 0 || __builtin_mul_overflow(bytes, std::max<int64_t>(d, 1), &bytes)) return std::nullopt;
  }
  return shape.numel() == 0 ? 0 : bytes;
}

Tensor tensor_at(std::string_view bytes, const Shape& shape, DType dtype, std::shared_ptr<const void> owner,
                 const std::string& label) {
  const auto count = static_cast<size_t>(shape.numel() * size_of(dtype));
  check_input(count <= bytes.size(), "{}: {} {} needs {} bytes but has {}", label, dtype, shape, count, bytes.size());
  if (dtype == DType::boolean) {
    const bool valid = std::all_of(bytes.begin(), bytes.begin() + count, [](char c) { return c == 0 || c == 1; });
    check_input(valid, "{}: every bool must be 0 or 1 but one is not", label);
  }
  if (reinterpret_cast<uintptr_t>(bytes.data()) % static_cast<uintptr_t>(size_of(dtype)) == 0) {
    return Tensor::view_of(bytes.data(), shape, dtype, std::move(owner));
  }
  Tensor copy = Tensor::empty(shape, dtype);
  if (count > 0) std::memcpy(copy.raw(), bytes.data(), count);
  return copy;
}

Tensor strided_tensor_at(std::string_view bytes, const Shape& shape, const Shape& strides, DType dtype,
                         const std::string& label) {
  Tensor copy = Tensor::empty(shape, dtype);
  if (copy.numel() == 0) return copy;
  const int64_t element = size_of(dtype);
  const auto in_order = element == 1 ? gather<1> : element == 2 ? gather<2> : element == 4 ? gather<4> : gather<8>;
  in_order(bytes.data(), shape, strides, static_cast<char*>(copy.raw()));
  return tensor_at({static_cast<const char*>(copy.raw()), static_cast<size_t>(copy.nbytes())}, shape, dtype, copy.storage(),
                   label);
}

}  // namespace weft
