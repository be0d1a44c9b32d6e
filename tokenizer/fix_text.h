// Text cleaning before CLIP's tokenizer: ftfy.fix_text with its default settings, HTML, whitespace, lower case.
#pragma once

#include <string>
#include <string_view>

namespace weft {

/// ftfy 6.3's fix_text. Differs from it only where Unicode versions do: normalisation is utf8proc's, classes of
/// characters are those of the Python that wrote text_tables.cc.
std::u32string fix_text(std::u32string_view text);

/// What open_clip's SimpleTokenizer does to a text (clean="lower"): fix_text, html.unescape twice, runs of whitespace
/// to one space, none at the ends, lower case.
std::u32string clean_for_clip(std::u32string_view text);

}  // namespace weft
