// Character references of HTML, as Python's html.unescape reads them and as ftfy does.
#pragma once

#include <string>
#include <string_view>

namespace weft {

/// Python's html.unescape: numeric references, and names with or without a semicolon (the longest that is one).
std::u32string html_unescape(std::u32string_view text);

/// ftfy's unescape_html: only what ends in a semicolon; also names in capitals that HTML does not have.
std::u32string ftfy_unescape(std::u32string_view text);

}  // namespace weft
