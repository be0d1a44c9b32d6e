#include "tensor/files/zip.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "tensor/atomic_file.h"

namespace weft {

namespace {

constexpr uint32_t local_mark = 0x04034b50, central_mark = 0x02014b50, end_mark = 0x06054b50;
constexpr uint32_t end64_mark = 0x06064b50, locator64_mark = 0x07064b50;
constexpr uint64_t local_bytes = 30, central_bytes = 46, end_bytes = 22, end64_bytes = 56, locator64_bytes = 20;
constexpr uint16_t zip64_extra = 1;

// A little-endian number; the caller has checked that it lies in the bytes.
template <class T>
T number(std::string_view bytes, uint64_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// Takes the 64-bit values that stand in for 32-bit fields of all ones, in the order that the format fixes.
class Zip64 {
 public:
  Zip64(std::string_view extra, const std::string& path, std::string_view name) : path_(path), name_(name) {
    while (extra.size() >= 4) {
      const auto id = number<uint16_t>(extra, 0), bytes = number<uint16_t>(extra, 2);
      extra.remove_prefix(4);
      check_input(bytes <= extra.size(), "{}: member {}: an extra field of {} bytes was announced but {} are left", path_,
                  quote(name_), bytes, extra.size());
      if (id == zip64_extra && values_.empty()) values_ = extra.substr(0, bytes);
      extra.remove_prefix(bytes);
    }
  }
  uint64_t widen(uint32_t field) {
    if (field != std::numeric_limits<uint32_t>::max()) return field;
    check_input(values_.size() >= 8, "{}: member {}: a zip64 field was expected but is missing", path_, quote(name_));
    const auto value = number<uint64_t>(values_, 0);
    values_.remove_prefix(8);
    return value;
  }

 private:
  const std::string& path_;
  std::string_view name_, values_;
};

}  // namespace

ZipArchive::ZipArchive(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {
  read_directory(find_directory());
}

ZipArchive::Directory ZipArchive::find_directory() const {
  const std::string_view file = file_->bytes();
  // The end record is last but for a comment of at most 65,535 bytes, whose length it holds.
  uint64_t end = file.size();
  bool found = false;
  for (uint64_t comment = 0; comment <= 0xffff && comment + end_bytes <= file.size() && !found; ++comment) {
    end = file.size() - comment - end_bytes;
    found = number<uint32_t>(file, end) == end_mark && number<uint16_t>(file, end + 20) == comment;
  }
  check_input(found, "{}: the file must end with a zip directory but does not: it is cut short or damaged", path());
  const bool one_disk = number<uint16_t>(file, end + 4) == 0 && number<uint16_t>(file, end + 6) == 0;
  check_input(one_disk, "{}: offset {}: an archive in one part was expected but this is one of several", path(), end);
  Directory d{number<uint32_t>(file, end + 16), number<uint32_t>(file, end + 12), number<uint16_t>(file, end + 10)};
  uint64_t limit = end;
  if (end >= locator64_bytes && number<uint32_t>(file, end - locator64_bytes) == locator64_mark) {
    const auto at = number<uint64_t>(file, end - locator64_bytes + 8);
    check_input(at <= end - locator64_bytes && end - locator64_bytes - at >= end64_bytes &&
                    number<uint32_t>(file, at) == end64_mark,
                "{}: offset {}: the zip64 end record must be at {} but is not", path(), end - locator64_bytes, at);
    d = {number<uint64_t>(file, at + 48), number<uint64_t>(file, at + 40), number<uint64_t>(file, at + 32)};
    limit = at;
  }
  check_input(d.begin <= limit && d.size <= limit - d.begin,
              "{}: the zip directory of {} bytes at {} must end by {} but does not", path(), d.size, d.begin, limit);
  check_input(d.count <= d.size / central_bytes, "{}: a zip directory of {} bytes cannot have {} members", path(), d.size,
              d.count);
  return d;
}

void ZipArchive::read_directory(const Directory& d) {
  const std::string_view file = file_->bytes();
  struct Range {
    uint64_t begin, end;
  };
  std::vector<Range> ranges;
  members_.reserve(d.count);
  ranges.reserve(d.count);
  uint64_t at = d.begin;
  const uint64_t end = d.begin + d.size;
  for (uint64_t i = 0; i < d.count; ++i) {
    check_input(end - at >= central_bytes && number<uint32_t>(file, at) == central_mark,
                "{}: offset {}: member {} of {} must begin there but does not", path(), at, i + 1, d.count);
    const auto flags = number<uint16_t>(file, at + 8), method = number<uint16_t>(file, at + 10);
    const auto packed32 = number<uint32_t>(file, at + 20), size32 = number<uint32_t>(file, at + 24);
    const auto name_bytes = number<uint16_t>(file, at + 28), extra_bytes = number<uint16_t>(file, at + 30);
    const uint64_t rest = uint64_t{name_bytes} + extra_bytes + number<uint16_t>(file, at + 32);
    check_input(rest <= end - at - central_bytes, "{}: offset {}: the member's name must end within the directory", path(),
                at);
    Member m;
    m.name = file.substr(at + central_bytes, name_bytes);
    m.stored = method == 0;
    Zip64 wide(file.substr(at + central_bytes + name_bytes, extra_bytes), path(), m.name);
    m.size = wide.widen(size32);
    const uint64_t packed = wide.widen(packed32), local = wide.widen(number<uint32_t>(file, at + 42));
    at += central_bytes + rest;

    check_input((flags & 1) == 0, "{}: member {}: must not be encrypted but is", path(), quote(m.name));
    check_input(!m.stored || packed == m.size, "{}: member {}: a stored member of {} bytes cannot have {} in the file",
                path(), quote(m.name), m.size, packed);
    check_input(local <= d.begin && d.begin - local >= local_bytes && number<uint32_t>(file, local) == local_mark,
                "{}: member {}: its header must be at {} but is not", path(), quote(m.name), local);
    m.begin = local + local_bytes + number<uint16_t>(file, local + 26) + number<uint16_t>(file, local + 28);
    check_input(m.begin <= d.begin && packed <= d.begin - m.begin,
                "{}: member {}: its {} bytes at {} must end before the directory at {}", path(), quote(m.name), packed,
                m.begin, d.begin);
    check_input(file.substr(local + local_bytes, number<uint16_t>(file, local + 26)) == m.name,
                "{}: member {}: the header at {} must have the same name but has another", path(), quote(m.name), local);
    members_.push_back(m);
    ranges.push_back({local, m.begin + packed});
  }
  check_input(at == end, "{}: the zip directory must hold {} members and nothing else but {} bytes are left", path(),
              d.count, end - at);
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < ranges.size(); ++i) {
    check_input(ranges[i].begin >= ranges[i - 1].end, "{}: offset {}: members must not overlap but two do", path(),
                ranges[i].begin);
  }
  std::sort(members_.begin(), members_.end(), [](const Member& a, const Member& b) { return a.name < b.name; });
  for (size_t i = 1; i < members_.size(); ++i) {
    check_input(members_[i].name != members_[i - 1].name, "{}: member {}: every name must occur once but it occurs twice",
                path(), quote(members_[i].name));
  }
}

const ZipArchive::Member* ZipArchive::find(std::string_view name) const {
  const auto found = std::lower_bound(members_.begin(), members_.end(), name,
                                      [](const Member& m, std::string_view n) { return m.name < n; });
  return found != members_.end() && found->name == name ? &*found : nullptr;
}

bool ZipArchive::holds_only(std::string_view ending) const {
  return !members_.empty() &&
         std::all_of(members_.begin(), members_.end(), [&](const Member& m) { return m.name.ends_with(ending); });
}

std::string_view ZipArchive::bytes(const Member& m) const {
  check_input(m.stored, "{}: member {}: must be stored but is compressed", path(), quote(m.name));
  return file_->bytes().substr(m.begin, m.size);
}

}  // namespace weft
