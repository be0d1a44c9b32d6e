#include "data/loader.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>
#include <unordered_map>

#include "data/hash.h"
#include "data/resize.h"
#include "tensor/check.h"

namespace weft {
namespace {

/// The items of one epoch in their order; a group is a run of items that share one image entry.
struct EpochOrder {
  std::vector<uint32_t> positions;  // into the loader's items
  std::vector<bool> begins_group;
};

void shuffle(uint32_t* begin, size_t n, SplitMix& random) {
  for (size_t i = n; i > 1; --i) std::swap(begin[i - 1], begin[random.below(i)]);
}

/// A batch as a thread leaves it, with what it could not read.
struct Prepared {
  Batch batch;
  std::vector<std::pair<uint32_t, std::string>> broken;  // image, error
  std::exception_ptr error;
};

}  // namespace

struct Loader::Work {
  Work(const GlamiTable& table, std::vector<uint32_t> items, const LoaderOptions& options, const LoaderState& from);
  ~Work();

  std::shared_ptr<const EpochOrder> make_order(int64_t epoch) const;
  Prepared prepare(int64_t epoch, int64_t index, const EpochOrder& order);
  /// Pixels of an image at the loader's size, from the cache or else decoded into `fresh`; null and `error` filled if
  /// it is broken.
  const uint8_t* pixels(uint32_t image, std::vector<uint8_t>& fresh, std::string& error);
  void add_image(Batch& batch, const uint8_t* pixels, uint32_t item) const;
  void run();
  int64_t batches() const {
    auto n = static_cast<int64_t>(items.size());
    return options.drop_last ? n / options.batch : (n + options.batch - 1) / options.batch;
  }

  const GlamiTable& table;
  const std::vector<uint32_t> items;
  const LoaderOptions options;
  const int64_t image_bytes;

  std::vector<uint32_t> image_of;      // of each position in items
  std::vector<uint32_t> row_of_image;  // a row that has the image, for its path
  std::vector<uint32_t> by_image;      // positions, those of one image side by side
  std::vector<size_t> image_begins;    // where those of each image begin in by_image

  std::vector<std::atomic<const uint8_t*>> cache;
  std::atomic<int64_t> cached_bytes{0};
  std::mutex broken_mutex;
  std::unordered_map<uint32_t, std::string> broken_images;

  // Batches are numbered from the start of this loader on; threads take numbers, next() asks for them in order.
  std::mutex mutex;
  std::condition_variable changed;
  bool stop = false;
  LoaderState to_prepare;
  int64_t prepare_number = 0, next_number = 0;
  std::shared_ptr<const EpochOrder> order;
  int64_t order_epoch = -1;
  std::map<int64_t, Prepared> ready;

  LoaderState state;
  std::set<uint32_t> reported;
  std::vector<std::thread> threads;
};

Loader::Work::Work(const GlamiTable& table, std::vector<uint32_t> chosen, const LoaderOptions& options,
                   const LoaderState& from)
    : table(table),
      items(std::move(chosen)),
      options(options),
      image_bytes(int64_t{3} * options.height * options.width),
      to_prepare(from),
      state(from) {
  check(options.height > 0 && options.width > 0, "[Loader] sides must be at least 1 but are {} x {}", options.width,
        options.height);
  check(options.batch > 0 && options.items_per_image > 0 && options.threads > 0 && options.prefetch > 0,
        "[Loader] batch, items_per_image, threads and prefetch must be at least 1 but are {}, {}, {}, {}",
        options.batch, options.items_per_image, options.threads, options.prefetch);
  check(options.crop_padding >= 0 && options.epochs >= 0 && options.max_broken >= 0,
        "[Loader] crop_padding, epochs and max_broken must not be negative but are {}, {}, {}", options.crop_padding,
        options.epochs, options.max_broken);
  for (uint32_t row : items)
    check(row < table.size(), "[Loader] items must be rows of {} but one is {}", table.size(), row);
  check(batches() > 0, "[Loader] there must be a batch of {} but there are {} items", options.batch, items.size());
  check(from.epoch >= 0 && from.batch >= 0 && from.batch < batches(),
        "[Loader] state must lie within {} batches but is epoch {}, batch {}", batches(), from.epoch, from.batch);

  std::unordered_map<int64_t, uint32_t> images;
  image_of.reserve(items.size());
  for (uint32_t row : items) {
    auto [at, fresh] = images.emplace(table[row].image_id, static_cast<uint32_t>(images.size()));
    if (fresh) row_of_image.push_back(row);
    image_of.push_back(at->second);
  }
  if (options.items_per_image > 1) {
    by_image.resize(items.size());
    std::iota(by_image.begin(), by_image.end(), 0u);
    std::stable_sort(by_image.begin(), by_image.end(),
                     [&](uint32_t a, uint32_t b) { return image_of[a] < image_of[b]; });
    for (size_t i = 0; i < by_image.size(); ++i)
      if (i == 0 || image_of[by_image[i]] != image_of[by_image[i - 1]]) image_begins.push_back(i);
    image_begins.push_back(by_image.size());
  }
  cache = std::vector<std::atomic<const uint8_t*>>(row_of_image.size());
  for (int t = 0; t < options.threads; ++t) threads.emplace_back([this] { run(); });
}

Loader::Work::~Work() {
  {
    std::lock_guard lock(mutex);
    stop = true;
  }
  changed.notify_all();
  for (std::thread& thread : threads) thread.join();
  for (auto& entry : cache) delete[] entry.load();
}

std::shared_ptr<const EpochOrder> Loader::Work::make_order(int64_t epoch) const {
  auto order = std::make_shared<EpochOrder>();
  size_t n = items.size(), most = static_cast<size_t>(options.items_per_image);
  std::vector<uint32_t>& positions = order->positions;
  SplitMix random(mix64(options.seed) ^ mix64(~static_cast<uint64_t>(epoch)));
  if (!options.shuffle || most == 1) {
    positions.resize(n);
    std::iota(positions.begin(), positions.end(), 0u);
    if (options.shuffle) shuffle(positions.data(), n, random);
    order->begins_group.assign(n, true);
    for (size_t i = 1, run = 1; i < n; ++i) {
      bool same = most > 1 && image_of[positions[i]] == image_of[positions[i - 1]] && run < most;
      order->begins_group[i] = !same;
      run = same ? run + 1 : 1;
    }
    return order;
  }
  // Each image's items in random order are cut into groups as equal as possible, and the groups are shuffled.
  std::vector<uint32_t> shuffled = by_image, groups;
  std::vector<uint32_t> group_begins;
  for (size_t image = 0; image + 1 < image_begins.size(); ++image) {
    size_t begin = image_begins[image], count = image_begins[image + 1] - begin, parts = (count + most - 1) / most;
    shuffle(&shuffled[begin], count, random);
    for (size_t part = 0; part < parts; ++part)
      group_begins.push_back(static_cast<uint32_t>(begin + count * part / parts));
  }
  group_begins.push_back(static_cast<uint32_t>(n));
  groups.resize(group_begins.size() - 1);
  std::iota(groups.begin(), groups.end(), 0u);
  shuffle(groups.data(), groups.size(), random);
  for (uint32_t group : groups)
    for (uint32_t i = group_begins[group]; i < group_begins[group + 1]; ++i) {
      positions.push_back(shuffled[i]);
      order->begins_group.push_back(i == group_begins[group]);
    }
  return order;
}

const uint8_t* Loader::Work::pixels(uint32_t image, std::vector<uint8_t>& fresh, std::string& error) {
  if (const uint8_t* cached = cache[image].load(std::memory_order_acquire)) return cached;
  {
    std::lock_guard lock(broken_mutex);
    auto broken = broken_images.find(image);
    if (broken != broken_images.end()) {
      error = broken->second;
      return nullptr;
    }
  }
  try {
    fresh = resize_image(read_image(table.image_path(row_of_image[image])), options.height, options.width).pixels;
  } catch (const std::runtime_error& problem) {
    error = problem.what();
    std::lock_guard lock(broken_mutex);
    broken_images.emplace(image, error);
    return nullptr;
  }
  if (cached_bytes.fetch_add(image_bytes) + image_bytes > static_cast<int64_t>(options.cache_bytes)) {
    cached_bytes.fetch_sub(image_bytes);
    return fresh.data();
  }
  auto* copy = new uint8_t[fresh.size()];
  std::memcpy(copy, fresh.data(), fresh.size());
  const uint8_t* none = nullptr;
  if (cache[image].compare_exchange_strong(none, copy, std::memory_order_acq_rel)) return copy;
  // Another thread was first.
  delete[] copy;
  cached_bytes.fetch_sub(image_bytes);
  return none;
}

void Loader::Work::add_image(Batch& batch, const uint8_t* pixels, uint32_t item) const {
  SplitMix random(mix64(options.seed + 1) ^ mix64(static_cast<uint64_t>(batch.epoch)) * 3 ^ mix64(~uint64_t{item}));
  auto range = static_cast<uint64_t>(2 * options.crop_padding + 1);
  int dy = static_cast<int>(random.below(range)) - options.crop_padding,
      dx = static_cast<int>(random.below(range)) - options.crop_padding;
  bool flip = options.flip && random.below(2) == 1;
  int height = options.height, width = options.width;
  size_t begin = batch.images.size();
  batch.images.resize(begin + static_cast<size_t>(image_bytes), 1.0f);
  ++batch.image_count;
  int first = std::max(0, -dx), last = std::min(width, width - dx);  // columns of the crop that lie on the image
  for (int y = std::max(0, -dy); y < std::min(height, height - dy); ++y) {
    float* to = &batch.images[begin + static_cast<size_t>(y) * width * 3];
    const uint8_t* from = pixels + (static_cast<ptrdiff_t>(y + dy) * width + dx) * 3;
    if (flip) {
      for (int x = first; x < last; ++x)
        for (int c = 0; c < 3; ++c) to[(width - 1 - x) * 3 + c] = static_cast<float>(from[x * 3 + c]) / 255.0f;
    } else {
      for (int i = first * 3; i < last * 3; ++i) to[i] = static_cast<float>(from[i]) / 255.0f;
    }
  }
}

Prepared Loader::Work::prepare(int64_t epoch, int64_t index, const EpochOrder& order) {
  Prepared prepared;
  Batch& batch = prepared.batch;
  batch.epoch = epoch;
  batch.index = index;
  batch.height = options.height;
  batch.width = options.width;
  size_t begin = static_cast<size_t>(index * options.batch);
  size_t end = std::min(items.size(), begin + static_cast<size_t>(options.batch));
  std::vector<uint8_t> fresh;
  bool readable = false;
  for (size_t i = begin; i < end; ++i) {
    uint32_t position = order.positions[i], image = image_of[position], row = items[position];
    if (i == begin || order.begins_group[i]) {
      std::string error;
      const uint8_t* data = pixels(image, fresh, error);
      readable = data != nullptr;
      if (readable)
        add_image(batch, data, row);
      else
        prepared.broken.emplace_back(image, error);
    }
    if (!readable) continue;
    batch.items.push_back(row);
    batch.image_of_item.push_back(static_cast<int32_t>(batch.image_count - 1));
    batch.labels.push_back(table[row].category);
  }
  return prepared;
}

void Loader::Work::run() {
  std::unique_lock lock(mutex);
  while (true) {
    changed.wait(lock, [&] {
      bool done = options.epochs > 0 && to_prepare.epoch >= options.epochs;
      return stop || (!done && prepare_number < next_number + options.prefetch);
    });
    if (stop) return;
    LoaderState job = to_prepare;
    int64_t number = prepare_number++;
    if (++to_prepare.batch == batches()) to_prepare = {to_prepare.epoch + 1, 0};
    if (order_epoch != job.epoch) {
      order = make_order(job.epoch);
      order_epoch = job.epoch;
    }
    std::shared_ptr<const EpochOrder> mine = order;
    lock.unlock();
    Prepared prepared;
    try {
      prepared = prepare(job.epoch, job.batch, *mine);
    } catch (...) {
      prepared.error = std::current_exception();
    }
    lock.lock();
    ready.emplace(number, std::move(prepared));
    changed.notify_all();
  }
}

Loader::Loader(const GlamiTable& table, std::vector<uint32_t> items, const LoaderOptions& options,
               const LoaderState& from)
    : work_(std::make_unique<Work>(table, std::move(items), options, from)) {}

Loader::Loader(const GlamiTable& table, const LoaderOptions& options, const LoaderState& from)
    : Loader(
          table,
          [&] {
            std::vector<uint32_t> all(table.size());
            std::iota(all.begin(), all.end(), 0u);
            return all;
          }(),
          options, from) {}

Loader::~Loader() = default;

const LoaderState& Loader::state() const { return work_->state; }
int64_t Loader::batches_per_epoch() const { return work_->batches(); }
int64_t Loader::broken() const { return static_cast<int64_t>(work_->reported.size()); }

std::optional<Batch> Loader::next() {
  Work& work = *work_;
  while (work.options.epochs == 0 || work.state.epoch < work.options.epochs) {
    Prepared prepared;
    {
      std::unique_lock lock(work.mutex);
      work.changed.wait(lock, [&] { return work.ready.contains(work.next_number); });
      prepared = std::move(work.ready.extract(work.next_number++).mapped());
    }
    work.changed.notify_all();
    if (prepared.error) std::rethrow_exception(prepared.error);
    if (++work.state.batch == work.batches()) work.state = {work.state.epoch + 1, 0};
    for (const auto& [image, error] : prepared.broken) {
      if (!work.reported.insert(image).second) continue;
      check_input(broken() <= work.options.max_broken, "{} (broken image {}, {} allowed)", error, broken(),
                  work.options.max_broken);
      if (work.options.on_broken) work.options.on_broken(error);
    }
    if (!prepared.batch.items.empty()) return std::move(prepared.batch);
  }
  return std::nullopt;
}

}  // namespace weft
