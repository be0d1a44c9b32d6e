// Fonts through FreeType and HarfBuzz: colour emoji as pictures, and text drawn onto a picture.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include "data/image.h"

namespace weft {

/// A font of colour bitmaps (Noto Color Emoji has one strike of 136x128).
class EmojiFont {
 public:
  /// Throws std::runtime_error naming the file if it is missing, no font, or has no colour bitmaps.
  explicit EmojiFont(const std::filesystem::path& file);
  ~EmojiFont();

  /// The drawing of one emoji sequence on white, at the font's own size; nothing where the font has no single glyph for
  /// it.
  std::optional<Image> draw(std::u32string_view sequence) const;

 private:
  struct Face;
  std::unique_ptr<Face> face_;
};

}  // namespace weft
