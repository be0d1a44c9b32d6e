#include "data/font.h"

#include <ft2build.h>
#include FT_FREETYPE_H
#include <hb-ft.h>
#include <hb.h>

#include "tensor/check.h"

namespace weft {

struct EmojiFont::Face {
  FT_Library library = nullptr;
  FT_Face face = nullptr;
  hb_font_t* font = nullptr;

  ~Face() {
    hb_font_destroy(font);
    if (face != nullptr) FT_Done_Face(face);
    if (library != nullptr) FT_Done_FreeType(library);
  }
};

EmojiFont::EmojiFont(const std::filesystem::path& file) : face_(std::make_unique<Face>()) {
  check_input(FT_Init_FreeType(&face_->library) == 0, "FreeType does not start");
  check_input(FT_New_Face(face_->library, file.c_str(), 0, &face_->face) == 0, "{}: cannot be read as a font",
              file.string());
  check_input(FT_HAS_COLOR(face_->face) && face_->face->num_fixed_sizes > 0 && FT_Select_Size(face_->face, 0) == 0,
              "{}: has no colour bitmaps", file.string());
  face_->font = hb_ft_font_create_referenced(face_->face);
}

EmojiFont::~EmojiFont() = default;

std::optional<Image> EmojiFont::draw(std::u32string_view sequence) const {
  std::unique_ptr<hb_buffer_t, decltype(&hb_buffer_destroy)> buffer(hb_buffer_create(), hb_buffer_destroy);
  static_assert(sizeof(char32_t) == sizeof(uint32_t));
  int length = static_cast<int>(sequence.size());
  hb_buffer_add_utf32(buffer.get(), reinterpret_cast<const uint32_t*>(sequence.data()), length, 0, length);
  hb_buffer_set_flags(buffer.get(), HB_BUFFER_FLAG_REMOVE_DEFAULT_IGNORABLES);
  hb_buffer_guess_segment_properties(buffer.get());
  hb_shape(face_->font, buffer.get(), nullptr, 0);
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

}  // namespace weft
