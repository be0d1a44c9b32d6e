// gzip files of bounded size.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace weft {

inline bool is_gzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

/// The contents of a gzip file (its first member). `file` names it in errors. Throws std::runtime_error when it is
/// corrupt, cut off, or larger than `limit` once unpacked; memory grows with what is unpacked, not with what is
/// claimed.
std::string unpack_gzip(std::string_view bytes, std::string_view file, std::size_t limit);

}  // namespace weft
