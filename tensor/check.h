// The one way to report an error. A caller's mistake is a std::invalid_argument ("[op] what must hold but what is"); a file,
// a device or a checkpoint that is not as it must be is a std::runtime_error that names it. Only main() prints.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>

namespace weft {

[[noreturn]] void throw_invalid_argument(fmt::string_view format, fmt::format_args args);
[[noreturn]] void throw_runtime_error(fmt::string_view format, fmt::format_args args);

/// Throws std::invalid_argument with the formatted message unless `ok`. The message is formatted only on failure.
template <class... Args>
inline void check(bool ok, fmt::format_string<const Args&...> format, const Args&... args) {
  if (!ok) [[unlikely]] throw_invalid_argument(format, fmt::make_format_args(args...));
}

/// Throws std::runtime_error with the formatted message unless `ok`: for what comes from outside (files, devices).
template <class... Args>
inline void check_input(bool ok, fmt::format_string<const Args&...> format, const Args&... args) {
  if (!ok) [[unlikely]] throw_runtime_error(format, fmt::make_format_args(args...));
}

/// Throws std::runtime_error with the formatted message.
template <class... Args>
[[noreturn]] inline void fail(fmt::format_string<const Args&...> format, const Args&... args) {
  throw_runtime_error(format, fmt::make_format_args(args...));
}

}  // namespace weft
