#include "apps/training_step.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "apps/classifier.h"
#include "kernels/arithmetic.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "kernels/cross_entropy.h"
#include "kernels/embracement.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

constexpr int text_chunks = 4;  // parts of a batch, by length, each padded to its own longest text

}  // namespace

double TrainingStep::operator()(const Batch& batch, int64_t step, double learning_rate) {
  return can_be_recorded(batch) ? recorded_step(batch, step, learning_rate) : eager_step(batch, step, learning_rate);
}

// The rows of the token table that stand for the items of a batch.
std::vector<uint32_t> TrainingStep::text_rows(const Batch& batch) {
  return p_.tokens ? p_.tokens->with_some_names(batch.items, p_.options.name_only, p_.random) : batch.items;
}

Tensor TrainingStep::text_features(const std::vector<uint32_t>& items) {
  if (!p_.tokens) return {};
  if (one_text_shape()) return text_features(inputs_of_texts(items));
  // Sorted by length and cut into parts, the texts need about half the padding.
  std::vector<uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return p_.tokens->length(items[a]) < p_.tokens->length(items[b]); });
  Tensors parts;
  std::vector<int64_t> place(items.size());
  for (int chunk = 0; chunk < text_chunks; ++chunk) {
    const size_t begin = order.size() * chunk / text_chunks, end = order.size() * (chunk + 1) / text_chunks;
    if (begin == end) continue;
    std::vector<uint32_t> part;
    for (size_t i = begin; i < end; ++i) {
      part.push_back(items[order[i]]);
      place[order[i]] = static_cast<int64_t>(i);
    }
    const TokenizedBatch texts = p_.tokens->batch(part, true, p_.options.token_drop, &p_.random);
    parts.push_back(embracenet().text_features(texts.ids, texts.mask, p_.dtype, &p_.random));
  }
  return index_select(concat(parts, 0), Tensor::from(place, {static_cast<int64_t>(place.size())}));
}

// EmbraceNet's modality dropout: every row keeps modality round(2 u), u uniform: text 1/4, image 1/2, source 1/4; of
// those in use here.
Tensor TrainingStep::random_single_modality(int64_t rows) {
  Tensor weights = Tensor::zeros({rows, modality_count});
  const PhiloxStream stream = p_.random.reserve(rows);
  for (int64_t b = 0; b < rows; ++b) {
    const float u = stream.uniform(b);
    const int kept = p_.options.use_source ? static_cast<int>(std::nearbyint(2 * u))
                     : u < 0.5f              ? text_modality
                                             : image_modality;
    weights.data<float>()[b * modality_count + kept] = 1;
  }
  return weights;
}

// Whether all texts of a batch are one tensor, whose shape does not depend on them.
bool TrainingStep::one_text_shape() const {
  return p_.cache || p_.options.graph || p_.options.model.pooling == TextPooling::flatten;
}

TrainingStep::TextInputs TrainingStep::inputs_of_texts(const std::vector<uint32_t>& items) {
  if (!p_.tokens) return {};
  if (p_.cache) return {{}, {}, p_.cache->rows(items)};
  const TokenizedBatch texts = p_.tokens->batch(items, false, p_.options.token_drop, &p_.random);
  return {texts.ids, texts.mask, {}};
}

Tensor TrainingStep::text_features(const TextInputs& texts) {
  if (!p_.tokens) return {};
  if (texts.cached.defined()) return texts.cached.to(p_.classifier.device());
  return embracenet().text_features(texts.ids, texts.mask, p_.dtype, &p_.random);
}

TrainingStep::StepInputs TrainingStep::inputs_of(const Batch& batch) {
  const int64_t B = static_cast<int64_t>(batch.items.size());
  StepInputs in;
  in.images = Tensor::from(batch.images, {batch.image_count, batch.height, batch.width, 3});
  in.image_of_item = cast(Tensor::from(batch.image_of_item, {B}), DType::i64);
  in.labels = cast(Tensor::from(batch.labels, {B}), DType::i64);
  if (p_.classifier.resnext) return in;
  if (p_.options.use_source) {
    const int64_t sources = embracenet().head.config.inputs[source_modality];
    in.source = source_tensor(p_.table, batch.items, sources, p_.dtype, Device::cpu);
  }
  if (p_.options.loss == LossKind::separate) in.labels = concat({in.labels, in.labels, in.labels}, 0);
  in.weights = modality_weights(B, {true, true, p_.options.use_source});
  if (p_.options.loss == LossKind::dropout && p_.random.reserve(1).uniform(0) < 0.5f) {
    in.weights = random_single_modality(B);
  }
  return in;
}

Tensor TrainingStep::images_of(const StepInputs& in) const {
  return cast(in.images.to(p_.classifier.device()), p_.dtype);
}

Tensor TrainingStep::loss(const Tensor& text_features, const StepInputs& in) {
  if (!p_.classifier.resnext) return joint_loss(text_features, in);
  const Tensor logits = index_select((*p_.classifier.resnext)(images_of(in)), in.image_of_item);
  return cross_entropy(logits, in.labels, {.label_smoothing = p_.options.label_smoothing});
}

Tensor TrainingStep::joint_loss(const Tensor& text_features, const StepInputs& in) {
  const EmbraceNet& head = embracenet().head;
  const CrossEntropyOptions cross{.label_smoothing = p_.options.label_smoothing};
  const Tensor text = head.dock(text_modality, text_features);
  if (p_.options.loss == LossKind::text) return cross_entropy(head.post(text), in.labels, cross);
  const Tensor features = embracenet().image_encoder.features(images_of(in));
  const Tensor image = index_select(head.dock(image_modality, features), in.image_of_item);
  Tensor source;
  if (in.source.defined()) source = head.dock(source_modality, in.source.to(p_.classifier.device()));
  const Tensor joint = embracement(stack_modalities({text, image, source}), in.weights, &p_.random);
  if (p_.options.loss != LossKind::separate) return cross_entropy(head.post(joint), in.labels, cross);
  // One product for all three; the mean over 3 B rows is a third of the sum of the losses.
  return mul(cross_entropy(head.post(concat({joint, text, image}, 0)), in.labels, cross), 3);
}

double TrainingStep::checked_loss(double loss, const Batch& batch, int64_t step) const {
  check_input(std::isfinite(loss), "the loss is {} at step {} (epoch {}); a lower --lr may help", loss, step,
              batch.epoch + 1);
  return loss;
}

// One update from a batch; returns its loss.
double TrainingStep::eager_step(const Batch& batch, int64_t step, double learning_rate) {
  const Tensor text = text_features(text_rows(batch));
  const Tensor value = loss(text, inputs_of(batch));
  backward(value);
  const double number = checked_loss(value.item(), batch, step);
  if (p_.options.clip > 0) clip_by_global_norm(parameters(), p_.options.clip);
  p_.optimizer.step(learning_rate);
  parameters().clear_gradients();
  if (p_.ema) p_.ema->update();
  ran_eagerly_ = ran_eagerly_ || static_cast<int64_t>(batch.items.size()) == p_.options.batch;
  return number;
}

bool TrainingStep::can_be_recorded(const Batch& batch) const {
  return p_.options.graph && ran_eagerly_ && static_cast<int64_t>(batch.items.size()) == p_.options.batch &&
         batch.image_count == p_.options.batch;
}

// The same as a CUDA graph, made of the first batch; the others take its place on the host.
double TrainingStep::recorded_step([[maybe_unused]] const Batch& batch, [[maybe_unused]] int64_t step,
                                   [[maybe_unused]] double learning_rate) {
#ifdef WEFT_HAS_CUDA
  const TextInputs texts = inputs_of_texts(text_rows(batch));
  const StepInputs in = inputs_of(batch);
  if (!recorded_) {
    Recorded& r = recorded_.emplace();
    r.texts = texts;
    r.in = in;
    r.graph.emplace([&] {
      const Tensor value = loss(text_features(r.texts), r.in);
      backward(value);
      if (p_.options.clip > 0) r.norm = clip_gradients(parameters(), p_.options.clip);
      p_.optimizer.step(learning_rate);
      parameters().clear_gradients();
      if (p_.ema) p_.ema->update();
      r.loss = value.detach();
    }, &p_.random);
  }
  const auto put = [](std::initializer_list<std::pair<Tensor, Tensor>> places) {
    for (const auto& [place, value] : places) {
      if (place.defined() && place.raw() != value.raw()) place.copy_from(value);
    }
  };
  Recorded& r = *recorded_;
  put({{r.texts.ids, texts.ids},
       {r.texts.mask, texts.mask},
       {r.texts.cached, texts.cached},
       {r.in.images, in.images},
       {r.in.image_of_item, in.image_of_item},
       {r.in.source, in.source},
       {r.in.labels, in.labels},
       {r.in.weights, in.weights}});
  p_.optimizer.set_learning_rate(learning_rate);
  r.graph->launch();
  const double number = checked_loss(r.loss.item(), batch, step);
  if (r.norm) r.norm->value();
  return number;
#else
  fail("this build of weft has no cuda device: it was built without nvcc");
#endif
}

}  // namespace weft
