#include "vgpu/printf.h"

#include <bit>
#include <cstdio>
#include <cstring>

namespace vgpu {
namespace {

template <class T>
std::string print_one(const std::string& spec, T value) {
  char buffer[512];
  const int n = std::snprintf(buffer, sizeof buffer, spec.c_str(), value);
  return std::string(buffer, static_cast<size_t>(std::min<int>(std::max(n, 0), sizeof buffer - 1)));
}

}  // namespace

FormatResult format_device(const std::string& format, const std::function<u64(u64, u32)>& read,
                           const std::function<std::string(u64)>& text) {
  FormatResult out;
  u64 at = 0;
  const auto next = [&](u32 bytes) {
    at = (at + bytes - 1) / bytes * bytes;
    const u64 v = read(at, bytes);
    at += bytes;
    out.arguments++;
    return v;
  };
  for (size_t i = 0; i < format.size(); i++) {
    if (format[i] != '%') {
      out.text += format[i];
      continue;
    }
    if (i + 1 < format.size() && format[i + 1] == '%') {
      out.text += '%';
      i++;
      continue;
    }
    std::string spec = "%";
    bool wide = false;
    size_t j = i + 1;
    for (; j < format.size() && std::strchr("-+ #0123456789.*hlzjt", format[j]); j++) {
      if (format[j] == '*') {
        spec += std::to_string(static_cast<i32>(next(4)));
      } else if (std::strchr("lzjt", format[j])) {
        wide = true;
      } else if (format[j] != 'h') {
        spec += format[j];
      }
    }
    if (j >= format.size()) break;
    const char c = format[j];
    i = j;
    if (c == 's') {
      out.text += print_one(spec + "s", text(next(8)).c_str());
    } else if (std::strchr("eEfFgGaA", c)) {
      out.text += print_one(spec + c, std::bit_cast<double>(next(8)));
    } else if (c == 'p') {
      out.text += print_one(spec + "p", reinterpret_cast<void*>(next(8)));
    } else if (c == 'c') {
      out.text += print_one(spec + "c", static_cast<int>(next(4)));
    } else if (std::strchr("di", c)) {
      out.text += wide ? print_one(spec + "lld", static_cast<long long>(next(8)))
                       : print_one(spec + "d", static_cast<i32>(next(4)));
    } else if (std::strchr("uoxX", c)) {
      out.text += wide ? print_one(spec + "ll" + c, static_cast<unsigned long long>(next(8)))
                       : print_one(spec + c, static_cast<u32>(next(4)));
    } else {
      out.text += spec + c;
    }
  }
  return out;
}

}  // namespace vgpu
