#include "data/loader.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/resize.h"
#include "temporary_folder.h"

using namespace weft;

namespace {

constexpr int kImages = 23, kLanguages = 13;

/// 23 images of odd sizes, each in 13 languages but for the last, which has 5; 4 categories.
struct Fixture {
  TemporaryFolder folder;
  GlamiTable table;

  Fixture() {
    std::string csv = "item_id,image_id,geo,name,description,category,category_name,label_source\n";
    for (int i = 0, item = 0; i < kImages; ++i) {
      for (int g = 0; g < (i == kImages - 1 ? 5 : kLanguages); ++g)
        csv += fmt::format("{},{},{},name {},,{},category {},admin\n", item++, i, kGeos[g].code, i, i % 4, i % 4);
      Image image(9 + i, 30 - i);
      for (size_t p = 0; p < image.pixels.size(); ++p) image.pixels[p] = static_cast<uint8_t>(p * 31 + i * 7);
      std::filesystem::create_directories(folder.path() / "images");
      write_image(folder.path() / "images" / fmt::format("{}.jpg", i), image);
    }
    folder.write("GLAMI-1M-train.csv", csv);
    table = read_glami(folder.path(), "train");
  }
};

LoaderOptions training() {
  LoaderOptions options;
  options.height = 12;
  options.width = 10;
  options.batch = 16;
  options.shuffle = true;
  options.crop_padding = 2;
  options.flip = true;
  options.seed = 7;
  options.epochs = 3;
  return options;
}

std::vector<Batch> all(const GlamiTable& table, const LoaderOptions& options, const LoaderState& from = {}) {
  Loader loader(table, options, from);
  std::vector<Batch> batches;
  while (std::optional<Batch> batch = loader.next()) batches.push_back(std::move(*batch));
  return batches;
}

bool same(const Batch& a, const Batch& b) {
  return a.epoch == b.epoch && a.index == b.index && a.items == b.items && a.labels == b.labels &&
         a.images == b.images && a.image_of_item == b.image_of_item && a.image_count == b.image_count;
}

bool same(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Batch& x, const Batch& y) { return same(x, y); });
}

}  // namespace

TEST_CASE("evaluation goes through the items in order, without augmentation") {
  Fixture fixture;
  LoaderOptions options;
  options.height = 12;
  options.width = 10;
  options.batch = 16;
  std::vector<Batch> batches = all(fixture.table, options);
  REQUIRE(batches.size() == (fixture.table.size() + 15) / 16);
  size_t next = 0;
  for (const Batch& batch : batches) {
    REQUIRE(batch.images.size() == batch.items.size() * 12 * 10 * 3);
    for (size_t i = 0; i < batch.items.size(); ++i, ++next) {
      REQUIRE(batch.items[i] == next);
      REQUIRE(batch.image_of_item[i] == static_cast<int>(i));
      REQUIRE(batch.labels[i] == fixture.table[next].category);
      Image image = resize_image(read_image(fixture.table.image_path(next)), 12, 10);
      for (size_t p = 0; p < image.pixels.size(); ++p)
        REQUIRE(batch.images[i * image.pixels.size() + p] == static_cast<float>(image.pixels[p]) / 255.0f);
    }
  }
  CHECK(next == fixture.table.size());
}

TEST_CASE("an epoch has every item once, and epochs differ") {
  Fixture fixture;
  for (int items_per_image : {1, 3, 13}) {
    LoaderOptions options = training();
    options.items_per_image = items_per_image;
    std::vector<Batch> batches = all(fixture.table, options);
    std::map<int64_t, std::vector<uint32_t>> epochs;
    for (const Batch& batch : batches) {
      auto& items = epochs[batch.epoch];
      items.insert(items.end(), batch.items.begin(), batch.items.end());
      CHECK((batch.items.size() == 16 || items.size() == fixture.table.size()));
    }
    REQUIRE(epochs.size() == 3);
    CHECK(epochs[0] != epochs[1]);
    for (auto& [epoch, items] : epochs) {
      std::set<uint32_t> distinct(items.begin(), items.end());
      CHECK(items.size() == fixture.table.size());
      CHECK(distinct.size() == items.size());
      CHECK(!std::is_sorted(items.begin(), items.end()));
    }
  }
}

TEST_CASE("items of one image share its entry") {
  Fixture fixture;
  for (bool shuffle : {true, false}) {
    LoaderOptions options = training();
    options.shuffle = shuffle;
    options.items_per_image = 4;
    options.crop_padding = 0;
    options.flip = false;
    int64_t images = 0, items = 0;
    for (const Batch& batch : all(fixture.table, options)) {
      std::map<int, int> members;
      for (size_t i = 0; i < batch.items.size(); ++i) {
        int image = batch.image_of_item[i];
        REQUIRE(image < batch.image_count);
        ++members[image];
        Image pixels = resize_image(read_image(fixture.table.image_path(batch.items[i])), 12, 10);
        for (size_t p = 0; p < pixels.pixels.size(); ++p)
          REQUIRE(batch.images[image * pixels.pixels.size() + p] == static_cast<float>(pixels.pixels[p]) / 255.0f);
      }
      CHECK(static_cast<int64_t>(members.size()) == batch.image_count);
      for (auto [image, count] : members) CHECK(count <= 4);
      images += batch.image_count;
      items += static_cast<int64_t>(batch.items.size());
    }
    CHECK(static_cast<double>(items) / static_cast<double>(images) > 2.5);
  }
}

TEST_CASE("threads, prefetch and cache change nothing; the seed does") {
  Fixture fixture;
  LoaderOptions options = training();
  options.items_per_image = 3;
  options.threads = 1;
  options.prefetch = 1;
  std::vector<Batch> one = all(fixture.table, options);
  options.threads = 5;
  options.prefetch = 9;
  CHECK(same(one, all(fixture.table, options)));
  options.cache_bytes = 3 * 12 * 10 * 3;  // three images
  CHECK(same(one, all(fixture.table, options)));
  options.cache_bytes = 0;
  CHECK(same(one, all(fixture.table, options)));
  options.seed = 8;
  CHECK(!same(one, all(fixture.table, options)));
}

TEST_CASE("a loader resumed anywhere goes on with the very same batches") {
  Fixture fixture;
  LoaderOptions options = training();
  std::vector<Batch> whole = all(fixture.table, options);
  for (size_t cut : {size_t{1}, size_t{7}, whole.size() / 3, whole.size() - 1}) {
    LoaderState state;
    {
      Loader loader(fixture.table, options);
      for (size_t i = 0; i < cut; ++i) loader.next();
      state = loader.state();
    }
    std::vector<Batch> rest = all(fixture.table, options, state);
    CHECK(same(rest, {whole.begin() + static_cast<ptrdiff_t>(cut), whole.end()}));
  }
}

TEST_CASE("the last short batch is kept or left out") {
  Fixture fixture;
  LoaderOptions options = training();
  options.epochs = 1;
  REQUIRE(fixture.table.size() % 16 != 0);
  CHECK(all(fixture.table, options).back().items.size() == fixture.table.size() % 16);
  options.drop_last = true;
  CHECK(all(fixture.table, options).back().items.size() == 16);
  CHECK(Loader(fixture.table, options).batches_per_epoch() == static_cast<int64_t>(fixture.table.size() / 16));
}

TEST_CASE("crops move the image over white and flips mirror it") {
  Fixture fixture;
  LoaderOptions options = training();
  options.epochs = 1;
  std::set<std::vector<float>> seen;
  int flipped = 0, items = 0;
  for (const Batch& batch : all(fixture.table, options)) {
    size_t n = 12 * 10 * 3;
    for (size_t i = 0; i < batch.items.size(); ++i) {
      Image image = resize_image(read_image(fixture.table.image_path(batch.items[i])), 12, 10);
      std::vector<float> got(batch.images.begin() + static_cast<ptrdiff_t>(i * n),
                             batch.images.begin() + static_cast<ptrdiff_t>((i + 1) * n));
      bool found = false;
      for (int dy = -2; dy <= 2; ++dy)
        for (int dx = -2; dx <= 2; ++dx)
          for (bool flip : {false, true}) {
            bool equal = true;
            for (int y = 0; y < 12 && equal; ++y)
              for (int x = 0; x < 10 && equal; ++x)
                for (int c = 0; c < 3; ++c) {
                  int sy = y + dy, sx = x + dx;
                  bool inside = sy >= 0 && sy < 12 && sx >= 0 && sx < 10;
                  float expected = inside ? static_cast<float>(image.at(sy, sx)[c]) / 255.0f : 1.0f;
                  equal = equal && got[(y * 10 + (flip ? 9 - x : x)) * 3 + c] == expected;
                }
            found = found || equal;
            flipped += equal && flip;
          }
      REQUIRE(found);
      seen.insert(got);
      ++items;
    }
  }
  CHECK(seen.size() > 200);  // of 291 items of 23 images
  CHECK(flipped > items / 3);
  CHECK(flipped < items * 2 / 3);
}

TEST_CASE("a broken image is reported once, skipped up to the limit, then an error") {
  Fixture fixture;
  std::filesystem::remove(fixture.folder.path() / "images/3.jpg");
  fixture.folder.write("images/5.jpg", "no picture");
  LoaderOptions options = training();
  std::vector<std::string> errors;
  options.on_broken = [&](const std::string& error) { errors.push_back(error); };
  options.max_broken = 2;
  for (int threads : {1, 4}) {
    errors.clear();
    options.threads = threads;
    Loader loader(fixture.table, options);
    size_t items = 0;
    while (std::optional<Batch> batch = loader.next())
      for (uint32_t row : batch->items) {
        REQUIRE((fixture.table[row].image_id != 3 && fixture.table[row].image_id != 5));
        ++items;
      }
    CHECK(items == 3 * (fixture.table.size() - 2 * kLanguages));
    CHECK(loader.broken() == 2);
    REQUIRE(errors.size() == 2);
    std::sort(errors.begin(), errors.end());
    CHECK(errors[0].ends_with("3.jpg: no such file"));
    CHECK(errors[1].ends_with("5.jpg: is neither JPEG nor PNG: it begins with 6e 6f 20 70 69 63 74 75"));
  }
  options.max_broken = 1;
  CHECK_THROWS_WITH_AS(all(fixture.table, options), doctest::Contains("(broken image 2, 1 allowed)"),
                       std::runtime_error);
  options.max_broken = 0;
  CHECK_THROWS_WITH_AS(all(fixture.table, options), doctest::Contains("(broken image 1, 0 allowed)"),
                       std::runtime_error);
}

TEST_CASE("options that cannot be") {
  Fixture fixture;
  LoaderOptions options;
  options.batch = 0;
  CHECK_THROWS_WITH(Loader(fixture.table, options),
                    "[Loader] batch, items_per_image, threads and prefetch must be at least 1 but are 0, 1, 2, 4");
  options.batch = 1000;
  options.drop_last = true;
  CHECK_THROWS_WITH(Loader(fixture.table, options), "[Loader] there must be a batch of 1000 but there are 291 items");
  CHECK_THROWS_WITH(Loader(fixture.table, std::vector<uint32_t>{5000}, LoaderOptions{}),
                    "[Loader] items must be rows of 291 but one is 5000");
  CHECK_THROWS_WITH(Loader(fixture.table, LoaderOptions{}, {0, 3}),
                    "[Loader] state must lie within 3 batches but is epoch 0, batch 3");
}
