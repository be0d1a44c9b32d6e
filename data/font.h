// Fonts through FreeType and HarfBuzz: colour emoji as pictures, and text drawn onto a picture.
#pragma once

#include <array>
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

/// Red, green, blue.
using Colour = std::array<uint8_t, 3>;

/// An outline font at one size, for labels on pictures.
class TextFont {
 public:
  /// `pixels` is the size of the em square. Throws std::runtime_error naming the file.
  TextFont(const std::filesystem::path& file, int pixels);
  ~TextFont();

  /// Advance of the text in pixels, rounded up.
  int width(std::string_view utf8_text) const;
  /// Draws with the left end of the baseline at (x, y); what lies outside the image is cut off.
  void draw(Image& image, int x, int y, std::string_view utf8_text, Colour colour) const;
  /// Draws from bottom to top, the baseline on the right: it begins at (x, y) and runs upward.
  void draw_upward(Image& image, int x, int y, std::string_view utf8_text, Colour colour) const;

 private:
  struct Face;
  void draw_turned(Image& image, int x, int y, std::string_view utf8_text, Colour colour, bool upward) const;
  std::unique_ptr<Face> face_;
};

}  // namespace weft
