// The 13 markets of GLAMI-1M: the `geo` column, the country and the language (BCP 47) of its texts.
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace weft {

struct Geo {
  std::string_view code, country, language, language_name;
};

inline constexpr std::array<Geo, 13> kGeos = {{
    {"cz", "Czechia", "cs", "Czech"},
    {"sk", "Slovakia", "sk", "Slovak"},
    {"ro", "Romania", "ro", "Romanian"},
    {"gr", "Greece", "el", "Greek"},
    {"si", "Slovenia", "sl", "Slovene"},
    {"hu", "Hungary", "hu", "Hungarian"},
    {"hr", "Croatia", "hr", "Croatian"},
    {"es", "Spain", "es", "Spanish"},
    {"lt", "Lithuania", "lt", "Lithuanian"},
    {"lv", "Latvia", "lv", "Latvian"},
    {"tr", "Turkey", "tr", "Turkish"},
    {"ee", "Estonia", "et", "Estonian"},
    {"bg", "Bulgaria", "bg", "Bulgarian"},
}};

/// Index into kGeos of a `geo` code.
constexpr std::optional<int> find_geo(std::string_view code) {
  for (size_t i = 0; i < kGeos.size(); ++i)
    if (kGeos[i].code == code) return static_cast<int>(i);
  return std::nullopt;
}

}  // namespace weft
