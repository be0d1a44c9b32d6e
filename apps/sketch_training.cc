#include "apps/sketch_training.h"

#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "apps/interrupt.h"
#include "apps/program.h"
#include "apps/progress.h"
#include "data/resize.h"
#include "nn/optimizers.h"
#include "nn/schedule.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

constexpr double warm_up_share = 0.03, reported_share = 0.1;

// Pictures in memory, 8 bits a channel, and the rows of the table that show one of them.
struct SmallPictures {
  int64_t size;
  std::vector<uint8_t> pixels;
  std::vector<uint32_t> rows, picture_of_row;

  SmallPictures(const GlamiTable& table, int64_t size, Random& random, const SketchTraining& o) : size(size) {
    std::unordered_map<int64_t, uint32_t> known;  // image_id to place
    std::unordered_set<int64_t> broken;
    // Rows in random order, so that a table of more pictures than fit is seen all over.
    std::vector<uint32_t> order(table.size());
    for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    const PhiloxStream stream = random.reserve(order.size());
    for (uint32_t i = 0; i + 1 < order.size(); ++i) {
      const auto left = static_cast<double>(order.size() - i);
      std::swap(order[i], order[i + static_cast<uint32_t>(stream.uniform(i) * left)]);
    }
    Progress progress("pictures", static_cast<int64_t>(order.size()), "rows", o.quiet);
    for (size_t i = 0; i < order.size(); ++i) {
      progress.update(static_cast<int64_t>(i + 1));
      check_input(!interrupted(), "interrupted before the first step; nothing is kept");
      const int64_t id = table[order[i]].image_id;
      if (broken.contains(id)) continue;
      const auto at = known.find(id);
      if (at == known.end() && static_cast<int64_t>(known.size()) == SketchTraining::pictures) continue;
      uint32_t place = at == known.end() ? static_cast<uint32_t>(known.size()) : at->second;
      if (at == known.end()) {
        try {
          append(read_image(table.image_path(order[i])));
        } catch (const std::runtime_error& error) {
          broken.insert(id);
          check_input(static_cast<int64_t>(broken.size()) <= o.max_broken, "{}; at most {} unreadable pictures are allowed",
                      error.what(), o.max_broken);
          continue;
        }
        known[id] = place;
      }
      rows.push_back(order[i]);
      picture_of_row.push_back(place);
    }
    progress.finish();
    check_input(!rows.empty(), "{}: no picture could be read", table.file().string());
  }

  void append(const Image& image) {
    const auto side = static_cast<int>(size);
    for (const float v : resize_bilinear_antialias(image, side, side)) {
      pixels.push_back(static_cast<uint8_t>(std::lround(v * 255)));
    }
  }

  // Places in `rows` -> [B, S, S, 3] in [0, 1].
  Tensor batch(const std::vector<size_t>& places) const {
    Tensor t = Tensor::empty({static_cast<int64_t>(places.size()), size, size, 3});
    const size_t each = static_cast<size_t>(size * size) * 3;
    for (size_t b = 0; b < places.size(); ++b) {
      const uint8_t* from = pixels.data() + picture_of_row[places[b]] * each;
      for (size_t k = 0; k < each; ++k) t.data<float>()[b * each + k] = static_cast<float>(from[k]) / 255;
    }
    return t;
  }
};

}  // namespace

double train_sketch(const Cascade& cascade, const ParameterSet& parameters, const GlamiTable& table,
                    const EncodeItems& encode, uint64_t seed, const SketchTraining& o) {
  Random random{seed};
  const SmallPictures pictures(table, cascade.config.image_sizes[0], random, o);
  Adam optimizer(parameters, AdamOptions{.beta2 = 0.99});
  Schedule schedule{.kind = Schedule::Kind::cosine, .peak = o.peak_rate, .steps = o.steps};
  schedule.warm_up = static_cast<int64_t>(warm_up_share * static_cast<double>(o.steps));
  const Training training;
  Progress progress("sketches", o.steps, "steps", o.quiet);
  double sum = 0;
  const int64_t reported = std::max<int64_t>(1, std::llround(reported_share * static_cast<double>(o.steps)));
  for (int64_t step = 0; step < o.steps; ++step) {
    check_input(!interrupted(), "interrupted in step {} of {} of the sketches, which begin anew", step + 1, o.steps);
    const PhiloxStream stream = random.reserve(static_cast<uint64_t>(o.batch));
    std::vector<size_t> places;
    std::vector<uint32_t> items;
    for (int64_t b = 0; b < o.batch; ++b) {
      places.push_back(static_cast<size_t>(stream.uniform(b) * static_cast<double>(pictures.rows.size())));
      items.push_back(pictures.rows[places.back()]);
    }
    const Tensor loss =
        cascade.sketch_loss(pictures.batch(places).to(cascade.device()), encode(items, random));
    backward(loss);
    optimizer.step(schedule.at(step));
    parameters.clear_gradients();
    if (step >= o.steps - reported) sum += loss.item() / static_cast<double>(reported);
    if (step % 10 == 0) progress.update(step + 1, fmt::format("loss {:.3f}", loss.item()));
  }
  progress.finish();
  check_input(std::isfinite(sum), "the sketches' loss is {}", sum);
  return sum;
}

}  // namespace weft
