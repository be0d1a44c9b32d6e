#include "models/naive_bayes.h"

#include <utf8proc.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace weft {

namespace {

bool in_word(utf8proc_int32_t c) {
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_NO:
      return true;
    default: return c == '_';
  }
}

void append(std::string& out, utf8proc_int32_t c) {
  utf8proc_uint8_t bytes[4];
  const auto n = utf8proc_encode_char(c, bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
}

// Calls f for every code point in lower case; bytes that are not UTF-8 count as U+FFFD.
template <class F> void each_lower(std::string_view text, F&& f) {
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  while (left > 0) {
    utf8proc_int32_t c;
    auto n = utf8proc_iterate(at, left, &c);
    if (n < 1) n = 1, c = 0xFFFD;
    f(utf8proc_tolower(c));
    at += n;
    left -= n;
  }
}

std::set<std::string> features(std::string_view name, std::string_view description) {
  std::set<std::string> found;
  std::string piece;
  const auto take = [&](const char* mark) {
    const size_t begin = piece.find_first_not_of(" \t\n\r"), end = piece.find_last_not_of(" \t\n\r");
    if (begin != std::string::npos) found.insert(mark + piece.substr(begin, end - begin + 1));
    piece.clear();
  };
  for (std::string_view text : {name, description}) {
    each_lower(text, [&](utf8proc_int32_t c) {
      if (in_word(c)) {
        append(piece, c);
      } else {
        take("w");
      }
    });
    take("w");
  }
  each_lower(description, [&](utf8proc_int32_t c) {
    if (c == ',') {
      take("k");
    } else {
      append(piece, c);
    }
  });
  take("k");
  return found;
}

}  // namespace

void NaiveBayes::add(int language, std::string_view name, std::string_view description, int label) {
  Language& of = languages_[language];
  of.total.resize(items_.size());
  ++items_[label];
  for (const std::string& feature : features(name, description)) {
    const auto [at, is_new] = of.features.emplace(feature, static_cast<int>(of.counts.size()));
    if (is_new) of.counts.emplace_back();
    ++of.counts[at->second][label];
    ++of.total[label];
  }
}

std::vector<int> NaiveBayes::top(int language, std::string_view name, std::string_view description, int k) const {
  const double all = static_cast<double>(std::accumulate(items_.begin(), items_.end(), int64_t{0}));
  std::vector<double> score(items_.size());
  for (size_t c = 0; c < score.size(); ++c) score[c] = std::log(items_[c] / all);
  if (const auto found = languages_.find(language); found != languages_.end()) {
    const Language& of = found->second;
    std::vector<double> floor(score.size());  // what a feature adds that the class never had
    for (size_t c = 0; c < score.size(); ++c) floor[c] = std::log(of.total[c] + alpha_ * of.features.size());
    for (const std::string& feature : features(name, description)) {
      const auto at = of.features.find(feature);
      if (at == of.features.end()) continue;
      for (size_t c = 0; c < score.size(); ++c) score[c] += std::log(alpha_) - floor[c];
      for (const auto& [c, n] : of.counts[at->second]) score[c] += std::log(n + alpha_) - std::log(alpha_);
    }
  }
  std::vector<int> order(score.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return score[a] > score[b]; });
  order.resize(std::min<size_t>(order.size(), static_cast<size_t>(k)));
  return order;
}

}  // namespace weft
