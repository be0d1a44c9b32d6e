// Which items are held out: decided by hashes, so that the answer does not depend on the order of rows or on the
// machine.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/glami.h"

namespace weft {

/// Marks the share `fraction` of the members of each category, those with the smallest hashes: rounded to the nearest
/// number, but at least one where a category has two members or more, and never all. Members are ordered by hash, then
/// by index.
std::vector<bool> hold_out(std::span<const uint64_t> hashes, std::span<const int> categories, double fraction);

struct ValidationSplit {
  std::vector<uint32_t> train, validation;  // indices into the table, ascending
};

/// Splits a training table in two, so that settings can be chosen without the test set. Items that share an image or a
/// text (and whatever shares one with those) stay together; about `fraction` (0 < fraction < 1) of such groups of each
/// category become validation. The category of a group is that of its first row; a category with a single group stays
/// in train.
ValidationSplit validation_split(const GlamiTable& table, double fraction, uint64_t seed = 0);

}  // namespace weft
