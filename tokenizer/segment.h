// A piece of text as a segmentation found it.
#pragma once

#include <cstdint>

namespace weft {

struct Segment {
  static constexpr int unknown = -1;

  std::uint32_t start, size;  ///< bytes of the text
  int id;                     ///< a piece, or `unknown` for one character that is no piece
};

}  // namespace weft
