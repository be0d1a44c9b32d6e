// Tiny models and their goldens, the outputs and gradients of independent implementations (golden/make_*.py say what
// each tensor is; they are f64 rounded to f32), for the tests of either device.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/arithmetic.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "kernels/cross_entropy.h"
#include "kernels/embracement.h"
#include "kernels/reduce.h"
#include "kernels/softmax.h"
#include "models/clip.h"
#include "models/embracenet.h"
#include "models/resnext.h"
#include "models/t5_encoder.h"
#include "models/xlm_roberta.h"
#include "tensor/autograd.h"
#include "tests/tensor_error.h"

namespace weft {

/// What a model computes in, and where.
struct Place {
  DType dtype;
  Device device = Device::cpu;
  DType parameters() const { return dtype == DType::bf16 ? DType::f32 : dtype; }
};

struct Golden {
  Safetensors file;
  Device device = Device::cpu;  // of what it hands out
  explicit Golden(const std::string& name, Device device = Device::cpu)
      : file(std::string(WEFT_TESTS) + "/golden/" + name + "_tiny.safetensors"), device(device) {}

  Tensor operator()(const std::string& name) const { return file.tensor(name).to(device); }
  /// A copy in that dtype, a leaf with a gradient.
  Tensor leaf(const std::string& name, DType dtype) const {
    Tensor t = Tensor::empty(file.tensor(name).shape(), dtype);
    t.copy_from(file.tensor(name));
    return t.to(device).set_requires_grad();
  }
  void check_close(const Tensor& computed, const std::string& name, double tolerance, double at_least = 0) const {
    CAPTURE(name);
    CAPTURE(computed.dtype());
    CHECK(error_of(computed, file.tensor(name), at_least) <= tolerance);
  }
  /// Every gradient of the file under `prefix` against that of the parameter or input of that name, and none left out.
  void check_gradients(const ParameterSet& set, const std::string& prefix, double tolerance,
                       const std::vector<NamedTensor>& inputs = {}) const {
    std::vector<NamedTensor> leaves = inputs;
    for (const Parameter& p : set.trainable()) leaves.push_back({p.name, p.tensor});
    for (const NamedTensor& leaf : leaves) {
      // On paper 0: a constant added to all scores of a query changes no softmax.
      const bool vanishes = leaf.name.ends_with(".key.bias");
      check_close(leaf.tensor.grad(), prefix + leaf.name, tolerance, vanishes ? 1 : 0);
    }
    const auto recorded = std::count_if(file.entries().begin(), file.entries().end(),
                                        [&](const Safetensors::Entry& e) { return e.name.starts_with(prefix); });
    CHECK(recorded == static_cast<int64_t>(leaves.size()));
  }
};

/// Largest errors against a golden: of outputs and loss, and of gradients.
struct Tolerance {
  double output, gradient;
};

inline ResNextConfig tiny_resnext(std::array<int64_t, 4> layers, int64_t classes) {
  return {.layers = layers, .planes = {4, 6, 8, 12}, .stem = 8, .groups = 2, .width_per_group = 32, .classes = classes};
}

struct TinyResNext {
  ParameterSet set;
  ResNext net;
  TinyResNext(const Golden& golden, DType parameters)
      : set(0, parameters, golden.device), net(Params(set).from(golden.file), tiny_resnext({2, 1, 1, 1}, 5)) {
    set.check_all_used({"input.", "train.", "eval."});
  }
};

inline void check_resnext(bool training, const Place& place, const Tolerance& tolerance) {
  const Golden golden("resnext", place.device);
  const TinyResNext model(golden, place.parameters());
  const std::string mode = training ? "train." : "eval.";
  const Tensor image = golden.leaf("input.image_nhwc", place.dtype);
  {
    const Training guard(training);
    const Tensor features = model.net.features(image), logits = (*model.net.fc)(features);
    const Tensor loss = cross_entropy(logits, golden("input.label"));
    golden.check_close(features, mode + "features", tolerance.output);
    golden.check_close(logits, mode + "logits", tolerance.output);
    golden.check_close(loss, mode + "loss", tolerance.output);
    backward(loss);
  }
  golden.check_gradients(model.set, mode + "grad.", tolerance.gradient, {{"input.image_nhwc", image}});
  int buffers = 0;
  for (const Parameter& p : model.set.all()) {
    if (p.kind != Parameter::Kind::buffer) continue;
    golden.check_close(p.tensor, fmt::format("{}{}", training ? "train.after." : "", p.name), tolerance.output);
    ++buffers;
  }
  CHECK(buffers == 3 * (1 + 3 * 5 + 4));
}

inline T5Config tiny_t5() {
  T5Config c;
  c.vocab_size = 97, c.d_model = 24, c.d_kv = 8, c.num_heads = 3, c.d_ff = 40, c.num_layers = 2;
  return c;
}

struct TinyT5 {
  ParameterSet set;
  T5Encoder net;
  TinyT5(const Golden& golden, DType parameters)
      : set(0, parameters, golden.device), net(Params(set).from(golden.file), tiny_t5()) {
    set.check_all_used({"long.", "short.", "buckets"});
  }
};

/// Positions without a token have no meaning and are not compared.
inline Tensor tokens_only(const Tensor& hidden, const Tensor& mask) {
  return mul(cast(hidden.to(Device::cpu), DType::f64), cast(mask.to(Device::cpu), DType::f64).reshape({mask.dim(0), mask.dim(1), 1}));
}

inline void check_t5(const std::string& name, const Place& place, const Tolerance& tolerance) {
  const Golden golden("t5_encoder", place.device);
  const TinyT5 model(golden, place.parameters());
  const DType dtype = place.dtype;
  const Tensor mask = cast(golden(name + ".input.mask"), DType::boolean);
  const Tensor hidden = model.net(golden(name + ".input.ids"), mask, dtype);
  CAPTURE(name);
  CAPTURE(dtype);
  CHECK(error_of(tokens_only(hidden, mask), tokens_only(golden(name + ".hidden"), mask)) <= tolerance.output);
  const Tensor loss = sum(mul(hidden, cast(golden(name + ".loss_weight"), dtype)));
  golden.check_close(loss, name + ".loss", tolerance.output);
  backward(loss);
  golden.check_gradients(model.set, name + ".grad.", tolerance.gradient);
}

struct TinyEmbraceNet {
  ParameterSet set;
  ResNext image_encoder;
  EmbraceNet head;
  TinyEmbraceNet(const Golden& golden, DType parameters)
      : set(0, parameters, golden.device),
        image_encoder(Params(set).from(golden.file) / "pre_2", tiny_resnext({1, 1, 1, 1}, 0)),
        head(Params(set).from(golden.file), {.inputs = {30, 48, 4}, .embracement = 16, .classes = 9}) {}

  /// The golden's inputs, docked and side by side [7, 3, 16].
  Tensor docked(const Golden& golden, const Tensor& text, const Tensor& image, const Tensor& source) const {
    return stack_modalities({head.dock(text_modality, pool_text(text, golden("input.mask"), TextPooling::flatten)),
                             head.dock(image_modality, image_encoder.features(image)),
                             head.dock(source_modality, source)});
  }
};

inline Tensor weights_of(const Golden& golden, const std::string& name) {
  const Tensor available = golden("input.availabilities");
  return name == "weighted" ? mul(available, golden("input.selection_probabilities")) : available;
}

inline void check_embracenet(const std::string& name, const Place& place, const Tolerance& tolerance) {
  const Golden golden("embracenet", place.device);
  const TinyEmbraceNet model(golden, place.parameters());
  const DType dtype = place.dtype;
  const Tensor text = golden.leaf("input.text", dtype), image = golden.leaf("input.image_nhwc", dtype),
               source = golden.leaf("input.source", dtype);
  CAPTURE(name);
  {
    const bool sampled = name == "sampled";
    const Training guard(sampled);
    const Tensor docked = model.docked(golden, text, image, source), weights = weights_of(golden, name);
    const Tensor embraced = sampled ? embracement(docked, golden("sampled.indices"))
                                    : embracement(docked, weights, nullptr, {.expected = true});
    const Tensor logits = sampled ? model.head.post(embraced) : model.head(docked, weights, nullptr);
    golden.check_close(embraced, name + ".embraced", tolerance.output);
    golden.check_close(log_softmax(logits), name + ".log_probs", tolerance.output);
    const Tensor loss = cross_entropy(logits, golden("input.label"));
    golden.check_close(loss, name + ".loss", tolerance.output);
    backward(loss);
  }
  golden.check_gradients(model.set, name + ".grad.", tolerance.gradient,
                         {{"input.text", text}, {"input.image_nhwc", image}, {"input.source", source}});
}

inline constexpr const char* embracenet_cases[] = {"sampled", "expected", "weighted"};

struct TinyClip {
  ParameterSet set;
  Clip net;
  TinyClip(const Golden& golden, DType parameters, bool quick)
      : set(0, parameters, golden.device), net(Params(set).from(golden.file), config(quick)) {
    set.check_all_used({"input.", "quick.", "exact."});
  }
  static ClipConfig config(bool quick) {
    return {.embed_dim = 12, .quick_gelu = quick, .image_size = 15, .patch_size = 5, .vision = {24, 2, 3},
            .context_length = 11, .vocab_size = 61, .text = {16, 2, 2}, .mlp_ratio = 4};
  }
};

/// The diagonal is each row's and each column's class.
inline Tensor contrastive_loss(const Tensor& logits) {
  Tensor labels = Tensor::empty({logits.dim(0)}, DType::i64);
  for (int64_t i = 0; i < labels.numel(); ++i) labels.data<int64_t>()[i] = i;
  labels = labels.to(logits.device());
  return mul(add(cross_entropy(logits, labels), cross_entropy(transpose(logits, 0, 1), labels)), 0.5);
}

inline void check_clip(const Place& place, const Tolerance& tolerance) {
  const Golden golden("clip", place.device);
  const TinyClip model(golden, place.parameters(), true);
  const Tensor pixels = golden.leaf("input.image_nhwc", place.dtype);
  const Tensor image = model.net.visual(pixels), text = model.net.text(golden("input.ids"), place.dtype);
  golden.check_close(image, "quick.image", tolerance.output);
  golden.check_close(text, "quick.text", tolerance.output);
  const Tensor logits = clip_logits(image, text, model.net.logit_scale);
  golden.check_close(logits, "quick.logits", tolerance.output);
  const Tensor loss = contrastive_loss(logits);
  golden.check_close(loss, "quick.loss", tolerance.output);
  backward(loss);
  golden.check_gradients(model.set, "quick.grad.", tolerance.gradient, {{"input.image_nhwc", pixels}});
}

struct TinyXlmRoberta {
  ParameterSet set;
  MultilingualClipText net;
  TinyXlmRoberta(const Golden& golden, DType parameters)
      : set(0, parameters, golden.device), net(Params(set).from(golden.file), config()) {
    set.check_all_used({"input.", "hidden", "embedding", "loss", "grad."});
  }
  static MultilingualClipConfig config() {
    XlmRobertaConfig c;
    c.vocab_size = 97, c.hidden_size = 24, c.num_hidden_layers = 2, c.num_attention_heads = 3, c.intermediate_size = 40;
    c.max_position_embeddings = 20;
    return {c, 10};
  }
};

inline void check_xlm_roberta(const Place& place, const Tolerance& tolerance) {
  const Golden golden("xlm_roberta", place.device);
  const TinyXlmRoberta model(golden, place.parameters());
  const Tensor ids = golden("input.ids"), mask = cast(golden("input.mask"), DType::boolean);
  {
    const NoGrad no_grad;
    const Tensor hidden = model.net.transformer(ids, mask, place.dtype);
    CHECK(error_of(tokens_only(hidden, mask), tokens_only(golden("hidden"), mask)) <= tolerance.output);
  }
  const Tensor embedding = model.net(ids, mask, place.dtype);
  golden.check_close(embedding, "embedding", tolerance.output);
  const Tensor loss = sum(mul(embedding, cast(golden("loss_weight"), place.dtype)));
  golden.check_close(loss, "loss", tolerance.output);
  backward(loss);
  golden.check_gradients(model.set, "grad.", tolerance.gradient);
}

}  // namespace weft
