// The extents of a tensor, outermost first; at most 6 axes, held in place.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "tensor/check.h"

namespace weft {

class Shape {
 public:
  static constexpr int max_rank = 6;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims) {
    check(dims.size() <= max_rank, "[shape] at most {} axes are supported but {} were given", max_rank, dims.size());
    for (int64_t d : dims) dims_[rank_++] = d;
  }

  int rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  /// Extent of an axis; negative axes count from the end.
  int64_t operator[](int axis) const { return dims_[index(axis)]; }
  int64_t& operator[](int axis) { return dims_[index(axis)]; }
  /// The axis as a number in [0, rank).
  int index(int axis) const {
    const int i = axis < 0 ? axis + rank_ : axis;
    if (i < 0 || i >= rank_) bad_axis(axis);
    return i;
  }
  int64_t numel() const {
    int64_t n = 1;
    for (int64_t d : *this) n *= d;
    return n;
  }
  /// Product of the extents of axes [begin, end).
  int64_t product(int begin, int end) const {
    int64_t n = 1;
    for (int i = begin; i < end; ++i) n *= dims_[i];
    return n;
  }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  void push_back(int64_t d) {
    check(rank_ < max_rank, "[shape] at most {} axes are supported", max_rank);
    dims_[rank_++] = d;
  }
  bool operator==(const Shape& other) const {
    return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
  }

 private:
  [[noreturn]] void bad_axis(int axis) const;
  std::array<int64_t, max_rank> dims_{};
  int rank_ = 0;
};

}  // namespace weft

template <> struct fmt::formatter<weft::Shape> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  template <class Context> auto format(const weft::Shape& s, Context& context) const {
    return fmt::format_to(context.out(), "[{}]", fmt::join(s.begin(), s.end(), ", "));
  }
};
