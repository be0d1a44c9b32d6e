#include "tensor/files/legacy_torch.h"

#include <cstring>
#include <unordered_map>

#include "tensor/atomic_file.h"

namespace weft {

namespace {

using Kind = PickleValue::Kind;

// A pickle of the number 0x1950a86a20f9469cfc6c.
constexpr std::string_view magic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);

Pickle::Options options_at(uint64_t begin, uint64_t memory) {
  return {.memory = memory, .legacy = true, .begin = begin};
}

// The protocol and the machine; returns where they end.
uint64_t check_head(const MappedFile& file) {
  const Pickle protocol(file.bytes(), file.path(), options_at(magic.size(), 1 << 16));
  check_input(protocol.root().is(Kind::integer) && protocol.root().integer == 1001,
              "{}: byte {}: PyTorch's protocol 1001 was expected but another is there", file.path(), magic.size());
  const Pickle machine(file.bytes(), file.path(), options_at(protocol.end(), 1 << 16));
  const PickleValue* little = machine.find(machine.root(), "little_endian");
  check_input(little && little->is(Kind::boolean) && little->integer == 1,
              "{}: byte {}: numbers of a little-endian machine were expected but it does not say so", file.path(),
              protocol.end());
  return machine.end();
}

// The whole storage behind each key, without its bytes.
std::unordered_map<std::string_view, const PickledStorage*> storages_by_key(const Pickle& pickle,
                                                                            const std::string& path) {
  std::unordered_map<std::string_view, const PickledStorage*> by_key;
  for (const PickledStorage& s : pickle.storages()) {
    const PickledStorage& first = *by_key.emplace(s.key, &s).first->second;
    check_input(s.dtype == first.dtype && s.whole_count == first.whole_count,
                "{}: storage {}: {} elements of {} were announced, and then {} of {}", path, quote(s.key),
                first.whole_count, first.dtype, s.whole_count, s.dtype);
  }
  return by_key;
}

}  // namespace

bool is_legacy_torch(std::string_view bytes) { return bytes.starts_with(magic); }

LegacyTorch read_legacy_torch(const MappedFile& file) {
  const std::string_view bytes = file.bytes();
  const std::string& path = file.path();
  check_input(is_legacy_torch(bytes), "{}: byte 0: PyTorch's magic number was expected", path);
  LegacyTorch result;
  result.pickle = std::make_unique<Pickle>(bytes, path, options_at(check_head(file), (12 << 20) + bytes.size() / 2));
  const auto by_key = storages_by_key(*result.pickle, path);

  const uint64_t keys_begin = result.pickle->end();
  const Pickle keys(bytes, path, options_at(keys_begin, (4 << 20) + bytes.size() / 4));
  check_input(keys.root().is(Kind::list), "{}: byte {}: a list of keys was expected but it is {}", path, keys_begin,
              name_of(keys.root().kind));
  std::unordered_map<std::string_view, std::string_view> bytes_of;
  uint64_t at = keys.end();
  for (const PickleValue& value : keys.items(keys.root())) {
    check_input(value.is(Kind::text), "{}: byte {}: a list of keys was expected but one is {}", path, keys_begin,
                name_of(value.kind));
    const std::string_view key = keys.text(value);
    const auto found = by_key.find(key);
    check_input(found != by_key.end(), "{}: storage {}: the value must name it but does not", path, quote(key));
    const PickledStorage& s = *found->second;
    const auto element = static_cast<uint64_t>(size_of(s.dtype));
    uint64_t count = 0;
    check_input(bytes.size() - at >= sizeof count,
                "{}: byte {}: the count of storage {} was expected but {} bytes are left", path, at, quote(key),
                bytes.size() - at);
    std::memcpy(&count, bytes.data() + at, sizeof count);
    check_input(count == s.whole_count, "{}: byte {}: storage {}: {} elements were announced but it has {}", path, at,
                quote(key), s.whole_count, static_cast<int64_t>(count));
    at += sizeof count;
    check_input(count <= (bytes.size() - at) / element,
                "{}: byte {}: storage {}: {} elements of {} were expected but {} bytes are left", path, at, quote(key),
                count, s.dtype, bytes.size() - at);
    check_input(bytes_of.emplace(key, bytes.substr(at, count * element)).second,
                "{}: storage {}: every key must be listed once but it is twice", path, quote(key));
    at += count * element;
  }
  check_input(at == bytes.size(), "{}: byte {}: nothing may follow the last storage but {} bytes do", path, at,
              bytes.size() - at);

  for (const PickledStorage& s : result.pickle->storages()) {
    const auto found = bytes_of.find(s.key);
    check_input(found != bytes_of.end(), "{}: storage {}: the list of keys must have it but has not", path,
                quote(s.key));
    const auto element = static_cast<uint64_t>(size_of(s.dtype));
    result.storages.push_back(found->second.substr(s.begin * element, s.count * element));
  }
  return result;
}

}  // namespace weft
