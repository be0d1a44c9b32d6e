// Zip archives and pickles made by hand, so that a test can break one thing of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// gcc 12 sees overlapping copies in sums of short strings (its bug 105651).
#pragma GCC diagnostic ignored "-Wrestrict"

namespace weft::archive {

template <class T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

struct Member {
  std::string name, bytes;
  uint16_t method = 0, flags = 0;
  uint32_t offset_shift = 0;  // added to where the directory says that the member lies
  bool zip64 = false;         // sizes and offset in an extra field
};

inline std::string local_header(const Member& m) {
  const auto size = static_cast<uint32_t>(m.bytes.size());
  return std::string("PK\3\4") + bytes_of<uint16_t>(20) + bytes_of(m.flags) + bytes_of(m.method) + bytes_of<uint32_t>(0) +
         bytes_of<uint32_t>(0) + bytes_of(size) + bytes_of(size) + bytes_of(static_cast<uint16_t>(m.name.size())) +
         bytes_of<uint16_t>(0) + m.name;
}

inline std::string central_header(const Member& m, uint32_t offset) {
  const auto size = m.zip64 ? ~uint32_t{0} : static_cast<uint32_t>(m.bytes.size());
  std::string extra;
  if (m.zip64) {
    extra = bytes_of<uint16_t>(1) + bytes_of<uint16_t>(24) + bytes_of<uint64_t>(m.bytes.size()) +
            bytes_of<uint64_t>(m.bytes.size()) + bytes_of<uint64_t>(offset);
    offset = ~uint32_t{0};
  }
  return std::string("PK\1\2") + bytes_of<uint16_t>(20) + bytes_of<uint16_t>(20) + bytes_of(m.flags) + bytes_of(m.method) +
         bytes_of<uint32_t>(0) + bytes_of<uint32_t>(0) + bytes_of(size) + bytes_of(size) +
         bytes_of(static_cast<uint16_t>(m.name.size())) + bytes_of(static_cast<uint16_t>(extra.size())) +
         bytes_of<uint16_t>(0) + bytes_of<uint16_t>(0) + bytes_of<uint16_t>(0) + bytes_of<uint32_t>(0) + bytes_of(offset) +
         m.name + extra;
}

inline std::string end_record(uint16_t count, uint32_t size, uint32_t begin) {
  return std::string("PK\5\6") + bytes_of<uint16_t>(0) + bytes_of<uint16_t>(0) + bytes_of(count) + bytes_of(count) + bytes_of(size) +
         bytes_of(begin) + bytes_of<uint16_t>(0);
}

inline std::string zip(const std::vector<Member>& members, bool zip64 = false) {
  std::string file, directory;
  for (const Member& m : members) {
    directory += central_header(m, static_cast<uint32_t>(file.size()) + m.offset_shift);
    file += local_header(m) + m.bytes;
  }
  const auto begin = static_cast<uint32_t>(file.size()), size = static_cast<uint32_t>(directory.size());
  file += directory;
  if (zip64) {
    const uint64_t end = file.size(), count = members.size();
    file += "PK\6\6" + bytes_of<uint64_t>(44) + bytes_of<uint16_t>(45) + bytes_of<uint16_t>(45) + bytes_of<uint32_t>(0) +
            bytes_of<uint32_t>(0) + bytes_of(count) + bytes_of(count) + bytes_of<uint64_t>(size) + bytes_of<uint64_t>(begin);
    file += "PK\6\7" + bytes_of<uint32_t>(0) + bytes_of(end) + bytes_of<uint32_t>(1);
    return file + end_record(0xffff, ~uint32_t{0}, ~uint32_t{0});
  }
  return file + end_record(static_cast<uint16_t>(members.size()), size, begin);
}

// Parts of pickles.
inline const std::string protocol = "\x80\x02";
inline std::string text(std::string_view s) { return std::string("X") + bytes_of(static_cast<uint32_t>(s.size())) + std::string(s); }
inline std::string integer(int32_t value) { return "J" + bytes_of(value); }
inline std::string global(std::string_view module, std::string_view name) {
  return std::string("c") + std::string(module) + "\n" + std::string(name) + "\n";
}
inline std::string tuple(const std::vector<std::string>& parts) {
  std::string all = "(";
  for (const auto& part : parts) all += part;
  return all + "t";
}
inline std::string storage(std::string_view key, int32_t count, std::string_view type = "FloatStorage") {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(count)}) + "Q";
}
inline std::string tensor(const std::string& storage, const std::string& offset, const std::string& shape,
                          const std::string& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") + tuple({storage, offset, shape, strides, "\x89", "}"}) + "R";
}
inline std::string numbers(const std::vector<int32_t>& values) {
  std::vector<std::string> parts;
  for (const int32_t v : values) parts.push_back(integer(v));
  return tuple(parts);
}

/// A PyTorch file of this pickle and storages "0", "1", ... of these bytes.
inline std::string torch(const std::string& pickle, const std::vector<std::string>& storages = {}) {
  std::vector<Member> members{{"x/data.pkl", pickle}};
  for (size_t i = 0; i < storages.size(); ++i) members.push_back({"x/data/" + std::to_string(i), storages[i]});
  return zip(members);
}

}  // namespace weft::archive
