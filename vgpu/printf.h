// printf of device code: the format's arguments lie in a buffer, each at a multiple of its size.
#pragma once

#include <functional>
#include <string>

#include "vgpu/types.h"

namespace vgpu {

struct FormatResult {
  std::string text;
  int arguments = 0;
};

// `read(offset, bytes)` gives an argument's bits, `text(address)` a %s.
FormatResult format_device(const std::string& format, const std::function<u64(u64, u32)>& read,
                           const std::function<std::string(u64)>& text);

}  // namespace vgpu
