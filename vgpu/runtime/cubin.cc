#include "vgpu/runtime/cubin.h"

#include <elf.h>

#include <cstring>
#include <stdexcept>
#include <vector>

namespace vgpu {
namespace {

constexpr uint8_t four_byte_value = 0x04;
constexpr uint8_t attribute_frame_size = 0x11;
constexpr uint8_t attribute_register_count = 0x2f;
constexpr int reserved_shared_from_sm90 = 1024;  // the driver's, in front of the kernel's own

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <class T>
  T at(uint64_t offset) const {
    T value;
    std::string_view piece = range(offset, sizeof value);
    std::memcpy(&value, piece.data(), sizeof value);
    return value;
  }

  std::string_view range(uint64_t offset, uint64_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) throw std::runtime_error("damaged cubin: cut short");
    return bytes_.substr(offset, size);
  }

  std::string_view text(uint64_t offset) const {
    range(offset, 1);
    size_t end = bytes_.find('\0', offset);
    if (end == bytes_.npos) throw std::runtime_error("damaged cubin: a name without an end");
    return bytes_.substr(offset, end - offset);
  }

 private:
  std::string_view bytes_;
};

struct Section {
  std::string_view name;
  Elf64_Shdr header;
};

std::vector<Section> read_sections(const Reader& reader) {
  auto elf = reader.at<Elf64_Ehdr>(0);
  if (std::memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0) throw std::runtime_error("damaged cubin: no ELF file");
  auto header = [&](uint64_t index) {
    if (index >= elf.e_shnum) throw std::runtime_error("damaged cubin: a section that is not there");
    return reader.at<Elf64_Shdr>(elf.e_shoff + index * sizeof(Elf64_Shdr));
  };
  uint64_t names = header(elf.e_shstrndx).sh_offset;
  std::vector<Section> sections;
  for (uint64_t i = 0; i < elf.e_shnum; ++i) {
    Elf64_Shdr section = header(i);
    sections.push_back({reader.text(names + section.sh_name), section});
  }
  return sections;
}

const Section* find(const std::vector<Section>& sections, std::string_view name) {
  for (const Section& section : sections) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

// Every attribute is (format, number, 16-bit value), or with format 4 a 16-bit size and that many bytes: symbol and
// value.
void read_attributes(const Reader& reader, const Section& info, const std::vector<std::string>& symbols,
                     std::map<std::string, Resources>& found) {
  uint64_t at = info.header.sh_offset, end = at + info.header.sh_size;
  while (at + 4 <= end) {
    auto format = reader.at<uint8_t>(at);
    auto number = reader.at<uint8_t>(at + 1);
    auto size = reader.at<uint16_t>(at + 2);
    at += 4;
    if (format != four_byte_value) continue;
    if (size == 8 && (number == attribute_register_count || number == attribute_frame_size)) {
      auto symbol = reader.at<uint32_t>(at);
      auto value = reader.at<uint32_t>(at + 4);
      if (symbol >= symbols.size()) throw std::runtime_error("damaged cubin: a symbol that is not there");
      Resources& resources = found[symbols[symbol]];
      (number == attribute_register_count ? resources.registers : resources.stack_bytes) = static_cast<int>(value);
    }
    at += size;
  }
}

}  // namespace

std::map<std::string, Resources> read_cubin(std::string_view elf, int sm) {
  Reader reader(elf);
  std::vector<Section> sections = read_sections(reader);
  std::map<std::string, Resources> found;
  const Section* table = find(sections, ".symtab");
  const Section* info = find(sections, ".nv.info");
  if (!table || !info || table->header.sh_link >= sections.size()) return found;
  uint64_t names = sections[table->header.sh_link].header.sh_offset;
  std::vector<std::string> symbols;
  for (uint64_t i = 0; i < table->header.sh_size / sizeof(Elf64_Sym); ++i) {
    auto symbol = reader.at<Elf64_Sym>(table->header.sh_offset + i * sizeof(Elf64_Sym));
    symbols.emplace_back(reader.text(names + symbol.st_name));
  }
  read_attributes(reader, *info, symbols, found);
  for (auto& [name, resources] : found) {
    resources.sm = sm;
    const Section* shared = find(sections, ".nv.shared." + name);
    int bytes = shared ? static_cast<int>(shared->header.sh_size) : 0;
    if (sm >= 90 && bytes >= reserved_shared_from_sm90) bytes -= reserved_shared_from_sm90;
    resources.shared_bytes = bytes;
  }
  return found;
}

}  // namespace vgpu
