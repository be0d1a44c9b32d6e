#include "data/font.h"

#include <ft2build.h>
#include FT_FREETYPE_H
#include <hb-ft.h>
#include <hb.h>

#include "tensor/check.h"

namespace weft {

namespace {

/// FreeType's and HarfBuzz's handles of one font file.
struct FontHandles {
  FT_Library library = nullptr;
  FT_Face face = nullptr;
  hb_font_t* font = nullptr;

  explicit FontHandles(const std::filesystem::path& file) {
    check_input(FT_Init_FreeType(&library) == 0, "FreeType does not start");
    if (FT_New_Face(library, file.c_str(), 0, &face) != 0) {
      FT_Done_FreeType(library);
      fail("{}: cannot be read as a font", file.string());
    }
  }
  FontHandles(const FontHandles&) = delete;
  ~FontHandles() {
    hb_font_destroy(font);
    FT_Done_Face(face);
    FT_Done_FreeType(library);
  }
};

using Buffer = std::unique_ptr<hb_buffer_t, decltype(&hb_buffer_destroy)>;

Buffer shape(hb_font_t* font, Buffer buffer) {
  hb_buffer_set_flags(buffer.get(), HB_BUFFER_FLAG_REMOVE_DEFAULT_IGNORABLES);
  hb_buffer_guess_segment_properties(buffer.get());
  hb_shape(font, buffer.get(), nullptr, 0);
  return buffer;
}

Buffer shape_text(hb_font_t* font, std::string_view text) {
  Buffer buffer(hb_buffer_create(), hb_buffer_destroy);
  int length = static_cast<int>(text.size());
  hb_buffer_add_utf8(buffer.get(), text.data(), length, 0, length);
  return shape(font, std::move(buffer));
}

}  // namespace

struct EmojiFont::Face : FontHandles {
  using FontHandles::FontHandles;
};

struct TextFont::Face : FontHandles {
  using FontHandles::FontHandles;
};

EmojiFont::EmojiFont(const std::filesystem::path& file) : face_(std::make_unique<Face>(file)) {
  check_input(FT_HAS_COLOR(face_->face) && face_->face->num_fixed_sizes > 0 && FT_Select_Size(face_->face, 0) == 0,
              "{}: has no colour bitmaps", file.string());
  face_->font = hb_ft_font_create_referenced(face_->face);
}

EmojiFont::~EmojiFont() = default;

std::optional<Image> EmojiFont::draw(std::u32string_view sequence) const {
  Buffer buffer(hb_buffer_create(), hb_buffer_destroy);
  static_assert(sizeof(char32_t) == sizeof(uint32_t));
  int length = static_cast<int>(sequence.size());
  hb_buffer_add_utf32(buffer.get(), reinterpret_cast<const uint32_t*>(sequence.data()), length, 0, length);
  buffer = shape(face_->font, std::move(buffer));
  unsigned count = 0;
  const hb_glyph_info_t* glyphs = hb_buffer_get_glyph_infos(buffer.get(), &count);
  if (count != 1 || glyphs[0].codepoint == 0) return std::nullopt;
  if (FT_Load_Glyph(face_->face, glyphs[0].codepoint, FT_LOAD_COLOR | FT_LOAD_RENDER) != 0) return std::nullopt;
  const FT_Bitmap& bitmap = face_->face->glyph->bitmap;
  if (bitmap.pixel_mode != FT_PIXEL_MODE_BGRA || bitmap.rows == 0 || bitmap.width == 0) return std::nullopt;
  Image image(static_cast<int>(bitmap.rows), static_cast<int>(bitmap.width));
  for (int y = 0; y < image.height; ++y) {
    const uint8_t* bgra = bitmap.buffer + static_cast<ptrdiff_t>(y) * bitmap.pitch;
    for (int x = 0; x < image.width; ++x, bgra += 4)  // the colours are already multiplied by alpha
      for (int c = 0; c < 3; ++c) image.at(y, x)[c] = static_cast<uint8_t>(std::min(255, bgra[2 - c] + 255 - bgra[3]));
  }
  return image;
}

TextFont::TextFont(const std::filesystem::path& file, int pixels) : face_(std::make_unique<Face>(file)) {
  check_input(FT_Set_Pixel_Sizes(face_->face, 0, static_cast<FT_UInt>(pixels)) == 0, "{}: has no outlines",
              file.string());
  face_->font = hb_ft_font_create_referenced(face_->face);
}

TextFont::~TextFont() = default;

int TextFont::width(std::string_view utf8_text) const {
  Buffer buffer = shape_text(face_->font, utf8_text);
  unsigned count = 0;
  const hb_glyph_position_t* positions = hb_buffer_get_glyph_positions(buffer.get(), &count);
  int advance = 0;
  for (unsigned i = 0; i < count; ++i) advance += positions[i].x_advance;
  return (advance + 63) / 64;
}

void TextFont::draw(Image& image, int x, int y, std::string_view utf8_text, Colour colour) const {
  draw_turned(image, x, y, utf8_text, colour, false);
}

void TextFont::draw_upward(Image& image, int x, int y, std::string_view utf8_text, Colour colour) const {
  draw_turned(image, x, y, utf8_text, colour, true);
}

void TextFont::draw_turned(Image& image, int x, int y, std::string_view utf8_text, Colour colour, bool upward) const {
  Buffer buffer = shape_text(face_->font, utf8_text);
  unsigned count = 0;
  const hb_glyph_info_t* glyphs = hb_buffer_get_glyph_infos(buffer.get(), &count);
  const hb_glyph_position_t* positions = hb_buffer_get_glyph_positions(buffer.get(), &count);
  int pen = 0;  // in 1/64 pixel
  for (unsigned i = 0; i < count; pen += positions[i++].x_advance) {
    if (FT_Load_Glyph(face_->face, glyphs[i].codepoint, FT_LOAD_RENDER) != 0) continue;
    const FT_GlyphSlot slot = face_->face->glyph;
    if (slot->bitmap.pixel_mode != FT_PIXEL_MODE_GRAY) continue;
    int left = (pen + positions[i].x_offset + 32) / 64 + slot->bitmap_left;
    int top = slot->bitmap_top + (positions[i].y_offset + 32) / 64;
    for (int row = 0; row < static_cast<int>(slot->bitmap.rows); ++row)
      for (int column = 0; column < static_cast<int>(slot->bitmap.width); ++column) {
        int along = left + column, down = row - top;
        int px = upward ? x + down : x + along, py = upward ? y - along : y + down;
        if (px < 0 || py < 0 || px >= image.width || py >= image.height) continue;
        int ink = slot->bitmap.buffer[static_cast<ptrdiff_t>(row) * slot->bitmap.pitch + column];
        uint8_t* pixel = image.at(py, px);
        for (int c = 0; c < 3; ++c)
          pixel[c] = static_cast<uint8_t>((pixel[c] * (255 - ink) + colour[c] * ink + 127) / 255);
      }
  }
}

}  // namespace weft
