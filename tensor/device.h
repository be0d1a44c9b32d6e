// Where a tensor's bytes lie.
#pragma once

#include <string_view>

#include "tensor/check.h"

namespace weft {

enum class Device : unsigned char { cpu, cuda };

inline std::string_view name_of(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

/// The device of that name; an error that says so if this build has no such device.
Device device_from_name(std::string_view name);

}  // namespace weft

template <> struct fmt::formatter<weft::Device> : fmt::formatter<std::string_view> {
  template <class Context> auto format(weft::Device d, Context& context) const {
    return fmt::formatter<std::string_view>::format(weft::name_of(d), context);
  }
};
