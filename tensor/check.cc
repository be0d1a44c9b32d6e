#include "tensor/check.h"

namespace weft {

void throw_invalid_argument(fmt::string_view format, fmt::format_args args) {
  throw std::invalid_argument(fmt::vformat(format, args));
}

void throw_runtime_error(fmt::string_view format, fmt::format_args args) {
  throw std::runtime_error(fmt::vformat(format, args));
}

}  // namespace weft
