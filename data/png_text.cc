#include "data/png_text.h"

#include <algorithm>

#include "data/image.h"
#include "tensor/check.h"

namespace weft {
namespace {

constexpr size_t kSignature = 8, kHeaderChunk = 25;  // bytes of the signature, and of the IHDR chunk that follows it

void append_number(std::vector<uint8_t>& bytes, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<uint8_t>(value >> shift));
}

uint32_t number_at(const std::vector<uint8_t>& bytes, size_t at) {
  return uint32_t{bytes[at]} << 24 | uint32_t{bytes[at + 1]} << 16 | uint32_t{bytes[at + 2]} << 8 | bytes[at + 3];
}

// PNG's CRC-32 (https://www.w3.org/TR/png-3/#D-CRCAppendix), bit by bit: texts are short.
uint32_t checksum(const std::vector<uint8_t>& bytes, size_t begin) {
  uint32_t c = 0xFFFFFFFFu;
  for (size_t i = begin; i < bytes.size(); ++i) {
    c ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
  }
  return ~c;
}

}  // namespace

std::vector<uint8_t> add_png_text(const std::vector<uint8_t>& png, std::string_view keyword, std::string_view text) {
  const auto printable = [](char c) { return c >= 32 && c < 127; };
  check(!keyword.empty() && keyword.size() <= 79 && std::all_of(keyword.begin(), keyword.end(), printable),
        "[add_png_text] the keyword must be 1 to 79 printable ASCII characters but is \"{}\"", keyword);
  check(png.size() > kSignature + kHeaderChunk && text.size() < (1u << 30),
        "[add_png_text] a PNG and a text below 1 GiB must be given");
  std::vector<uint8_t> body{'i', 'T', 'X', 't'};
  body.insert(body.end(), keyword.begin(), keyword.end());
  // The keyword's end; not compressed, by no method; no language and no translated keyword.
  body.insert(body.end(), {0, 0, 0, 0, 0});
  body.insert(body.end(), text.begin(), text.end());
  std::vector<uint8_t> result(png.begin(), png.begin() + kSignature + kHeaderChunk);
  append_number(result, static_cast<uint32_t>(body.size() - 4));
  result.insert(result.end(), body.begin(), body.end());
  append_number(result, checksum(body, 0));
  result.insert(result.end(), png.begin() + kSignature + kHeaderChunk, png.end());
  return result;
}

std::optional<std::string> find_png_text(const std::vector<uint8_t>& png, std::string_view keyword,
                                         std::string_view name) {
  const ImageHeader header = check_image(png, name);
  check_input(header.format == ImageHeader::Format::png, "{}: a PNG was expected but it is a JPEG", name);
  // check_image has seen every chunk up to the end chunk, and nothing of what may lie behind it.
  for (size_t at = kSignature;;) {
    const size_t length = number_at(png, at), begin = at + 8, end = begin + length;
    const std::string_view type(reinterpret_cast<const char*>(&png[at + 4]), 4);
    if (type == "IEND") return std::nullopt;
    const std::string_view body(reinterpret_cast<const char*>(png.data()) + begin, length);
    if (type == "iTXt" && body.size() > keyword.size() + 3 && body.starts_with(keyword) && body[keyword.size()] == 0 &&
        body[keyword.size() + 1] == 0) {
      const size_t language_end = body.find('\0', keyword.size() + 3);
      const size_t text = language_end == body.npos ? body.npos : body.find('\0', language_end + 1);
      if (text != body.npos) return std::string(body.substr(text + 1));
    }
    at = end + 4;
  }
}

}  // namespace weft
