// Batches of images and labels for training and evaluation, prepared by threads ahead of their use.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/glami.h"

namespace weft {

struct LoaderOptions {
  int height = 64, width = 64;  // every image is resized to this (data/resize.h)
  int64_t batch = 128;          // items
  int items_per_image = 1;      // at most so many items share one image in a batch: see Batch
  bool shuffle = false;         // false: the order of the items given
  bool drop_last = false;       // leave out the last batch of an epoch where it is short
  int crop_padding = 0;         // random crop from the image with so many white pixels added on every side
  bool flip = false;            // left and right exchanged with probability 1/2
  uint64_t seed = 0;
  int64_t epochs = 1;                    // 0: without end
  int threads = 2;                       // that prepare batches
  int prefetch = 4;                      // batches prepared ahead
  size_t cache_bytes = size_t{1} << 30;  // decoded and resized images kept (3 * height * width bytes each)
  int64_t max_broken = 0;                // images that cannot be read: skipped up to this number, then an error
  /// Called on the thread that calls next(), once for each broken image, with the error that names its file.
  std::function<void(const std::string& error)> on_broken;
};

/// Where a loader stands: a new one given the same table, items, options and this state goes on with the very same
/// batches.
struct LoaderState {
  int64_t epoch = 0, batch = 0;  // of the next batch
  bool operator==(const LoaderState&) const = default;
};

/// With items_per_image = K, items of one image stand side by side, up to K of them, and share one entry of `images`,
/// so that an image tower runs once for all of them. K = 1 gives one entry an item.
struct Batch {
  int64_t epoch = 0, index = 0;  // batch `index` of that epoch
  int height = 0, width = 0;
  std::vector<float> images;  // [image_count, height, width, 3], 0..1
  int64_t image_count = 0;
  std::vector<uint32_t> items;         // [B] rows of the table
  std::vector<int32_t> image_of_item;  // [B] index into images
  std::vector<int32_t> labels;         // [B] category
};

/// Goes through the items of a table in batches. The order of an epoch depends on (seed, epoch), the crop and flip of
/// an image on (seed, epoch, its first item in the batch): neither depends on the threads, and both can be taken up
/// anywhere. A batch lacks the items whose image is broken, and a batch left without items is passed over.
class Loader {
 public:
  /// `items` are rows of the table, which must outlive the loader. Throws std::invalid_argument for options or a state
  /// that cannot be.
  Loader(const GlamiTable& table, std::vector<uint32_t> items, const LoaderOptions& options,
         const LoaderState& from = {});
  /// All items of the table.
  Loader(const GlamiTable& table, const LoaderOptions& options, const LoaderState& from = {});
  ~Loader();

  /// The next batch; nothing once options.epochs are done. Throws std::runtime_error for the broken image above
  /// max_broken.
  std::optional<Batch> next();

  /// Where the batch after the last one given stands.
  const LoaderState& state() const;
  int64_t batches_per_epoch() const;
  /// Distinct images that could not be read so far.
  int64_t broken() const;

 private:
  struct Work;
  std::unique_ptr<Work> work_;
};

}  // namespace weft
