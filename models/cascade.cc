#include "models/cascade.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/arithmetic.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "kernels/dynamic_threshold.h"
#include "kernels/reduce.h"
#include "kernels/resize.h"
#include "nn/config.h"
#include "tensor/autograd.h"
#ifdef WEFT_HAS_CUDA
#include "tensor/cuda_graph.h"
#endif

namespace weft {

Compat compat_from_name(const std::string& name) {
  check(name == "fixed" || name == "glami", "[compat] the name must be fixed or glami but is '{}'", name);
  return name == "glami" ? Compat::glami : Compat::fixed;
}

const char* name_of(Compat compat) { return compat == Compat::glami ? "glami" : "fixed"; }

CascadeConfig CascadeConfig::from_json(const nlohmann::json& json, const std::string& file) {
  CascadeConfig c;
  const ConfigReader read(json, file);
  const size_t count = json.contains("unets") && json["unets"].is_array() ? json["unets"].size() : 0;
  check_input(count >= 1 && count <= 4, "{}: unets must be a list of 1 to 4 objects", file);
  c.unets.clear();
  for (size_t i = 0; i < count; ++i) {
    c.unets.push_back(UnetConfig::from_json(json["unets"][i], fmt::format("{}: unets[{}]", file, i)));
  }
  c.image_sizes = read.integers("image_sizes", count, 1, 4096);
  c.timesteps = read.integer("timesteps", 1, 100000, c.timesteps);
  c.max_tokens = read.integer("max_tokens", 1, 4096, c.max_tokens);
  c.cond_drop_prob = read.number("cond_drop_prob", 0, 1, c.cond_drop_prob);
  c.threshold_percentile = read.number("threshold_percentile", 0, 1, c.threshold_percentile);
  c.lowres_noise_level = read.number("lowres_noise_level", 0, 0.999, c.lowres_noise_level);
  c.p2_gamma = read.number("p2_gamma", 0, 10, c.p2_gamma);
  c.p2_k = read.number("p2_k", 1e-6, 1000, c.p2_k);
  c.prediction = prediction_from_name(read.choice("prediction", {"noise", "v"}, "noise"));
  c.compat = compat_from_name(read.choice("compat", {"fixed", "glami"}, "fixed"));
  for (size_t i = 0; i < count; ++i) {
    const UnetConfig& u = c.unets[i];
    check_input(c.image_sizes[i] % u.size_multiple() == 0, "{}: image_sizes[{}] must be a multiple of {} but is {}",
                file, i, u.size_multiple(), c.image_sizes[i]);
    check_input(u.layout_size == 0 || c.image_sizes[i] == u.layout_size * u.size_multiple(),
                "{}: image_sizes[{}] must be {}, layout_size times {}, but is {}", file, i,
                u.layout_size * u.size_multiple(), u.size_multiple(), c.image_sizes[i]);
    check_input(u.lowres_cond == (i > 0), "{}: unets[{}]: lowres_cond must be {}", file, i, i > 0);
    check_input(i == 0 || (u.channels == c.unets[0].channels && u.text_embed_dim == c.unets[0].text_embed_dim),
                "{}: unets[{}]: channels and text_embed_dim must be those of unets[0]", file, i);
  }
  return c;
}

nlohmann::json CascadeConfig::to_json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const UnetConfig& u : unets) list.push_back(u.to_json());
  return {{"unets", list},
          {"image_sizes", image_sizes},
          {"timesteps", timesteps},
          {"max_tokens", max_tokens},
          {"cond_drop_prob", cond_drop_prob},
          {"threshold_percentile", threshold_percentile},
          {"lowres_noise_level", lowres_noise_level},
          {"p2_gamma", p2_gamma},
          {"p2_k", p2_k},
          {"prediction", name_of(prediction)},
          {"compat", name_of(compat)}};
}

namespace {

constexpr float last_training_time = 0.999f;

// From [0, 1] to [-1, 1] and back.
Tensor normalised(const Tensor& image) { return add(mul(image, 2), -1); }
Tensor unnormalised(const Tensor& x) { return mul(add(x, 1), 0.5); }

// alpha x + sigma noise at one log-SNR for all.
Tensor noised(const Tensor& x, const Tensor& noise, float l) {
  return add(mul(x, alpha_of(l)), mul(noise, sigma_of(l)));
}

Tensor repeated(float value, int64_t count, Device device) { return Tensor::full({count}, value).to(device); }

// -1 and 1 are kept where x leaves them; on the cpu, where pictures end up.
Tensor clamped(const Tensor& x) {
  Tensor y = x.to(Device::cpu).clone();
  float* p = y.data<float>();
  for (int64_t i = 0; i < y.numel(); ++i) p[i] = p[i] < -1 ? -1 : p[i] > 1 ? 1 : p[i];
  return y;
}

bool all_finite(const Tensor& x) {
  const Tensor there = cast(x, DType::f32).to(Device::cpu);
  const float* p = there.data<float>();
  return std::all_of(p, p + there.numel(), [](float v) { return std::isfinite(v); });
}

}  // namespace

Tensor resize_square(const Tensor& x, int64_t size, Compat compat) {
  if (x.dim(1) == size && x.dim(2) == size) return x;
  return resize_cubic(x, size, size, compat == Compat::glami);
}

Cascade::Cascade(const Params& p, const CascadeConfig& c, const std::vector<bool>& built) : config(c) {
  check(c.unets.size() == c.image_sizes.size(),
        "[cascade] there must be an image size for each of the {} UNets but there are {}", c.unets.size(),
        c.image_sizes.size());
  for (size_t i = 0; i < c.unets.size(); ++i) {
    const bool wanted = built.empty() || built[i];
    unets.push_back(wanted ? std::make_unique<Unet>(p / "unets" / static_cast<int>(i), c.unets[i]) : nullptr);
  }
}

Device Cascade::device() const {
  for (const auto& unet : unets) {
    if (unet) return unet->device();
  }
  return Device::cpu;
}

TrainingDraws Cascade::draw(int64_t unet, int64_t B, Random& random) const {
  TrainingDraws d;
  const int64_t S = config.image_sizes[unet], C = config.unets[unet].channels;
  const auto uniforms = [&](int64_t count) {
    const PhiloxStream stream = random.reserve(count);
    std::vector<float> u;
    for (int64_t i = 0; i < count; ++i) u.push_back(stream.uniform(i));
    return u;
  };
  const auto normals = [&] {
    Tensor t = Tensor::empty({B, S, S, C});
    const PhiloxStream stream = random.reserve(t.numel());
    for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = static_cast<float>(stream.normal(i));
    return t;
  };
  for (const float u : uniforms(B)) d.times.push_back(last_training_time * u);
  d.noise = normals();
  if (config.unets[unet].lowres_cond) {
    d.augmentation_time = last_training_time * uniforms(1)[0];
    d.lowres_noise = normals();
  }
  d.keep = Tensor::empty({B}, DType::boolean);
  const std::vector<float> u = uniforms(B);
  for (int64_t b = 0; b < B; ++b) d.keep.data<bool>()[b] = u[b] >= static_cast<float>(config.cond_drop_prob);
  return d;
}

namespace {

// A picture with noise in it, and what a UNet is to predict of it.
struct Noised {
  Tensor x, wanted;           // [B, S, S, C] f32
  std::vector<float> log_snr;  // of each row
};

Noised add_noise(const CascadeConfig& c, const Tensor& target, const Tensor& noise, const std::vector<float>& times) {
  Noised n;
  std::vector<float> alpha, sigma;
  for (const float t : times) {
    n.log_snr.push_back(log_snr(NoiseSchedule::cosine, t));
    alpha.push_back(alpha_of(n.log_snr.back()));
    sigma.push_back(sigma_of(n.log_snr.back()));
  }
  const auto rows = [&](const std::vector<float>& v) {
    return Tensor::from(v, {static_cast<int64_t>(v.size()), 1, 1, 1}).to(target.device());
  };
  const Tensor a = rows(alpha), s = rows(sigma);
  n.x = add(mul(target, a), mul(noise, s));
  n.wanted = c.prediction == Prediction::v ? sub(mul(noise, a), mul(target, s)) : noise;
  return n;
}

// The mean of squares [B, ...], each row weighted with (k + exp(l))^-gamma.
Tensor weighted_mean_square(const CascadeConfig& c, const Tensor& error, const std::vector<float>& log_snr) {
  std::vector<float> weights;
  for (const float l : log_snr) {
    weights.push_back(std::pow(static_cast<float>(c.p2_k) + std::exp(l), static_cast<float>(-c.p2_gamma)));
  }
  const int64_t B = error.dim(0);
  const Tensor of_row = mean(mul(error, error).reshape({B, error.numel() / std::max<int64_t>(B, 1)}), 1);
  return mean(mul(of_row, Tensor::from(weights, {B}).to(error.device())));
}

}  // namespace

Tensor Cascade::loss(int64_t unet, const Tensor& images, const TextBatch& text, const TrainingDraws& d) const {
  const Unet& net = *unets[unet];
  const int64_t B = images.dim(0), S = config.image_sizes[unet];
  const DType dtype = text.embeddings.dtype();
  check(static_cast<int64_t>(d.times.size()) == B,
        "[cascade] a time for each of the {} images must be given but there are {}", B, d.times.size());
  const Tensor target = normalised(resize_square(images, S, config.compat));
  const Noised noised_target = add_noise(config, target, d.noise.to(device()), d.times);
  Tensor lowres, lowres_l;
  if (net.config.lowres_cond) {
    const float t = d.augmentation_time, noising = log_snr(NoiseSchedule::linear, t);
    const Tensor small = resize_square(images, config.image_sizes[unet - 1], config.compat);
    lowres =
        cast(noised(normalised(resize_square(small, S, config.compat)), d.lowres_noise.to(device()), noising), dtype);
    const float told = config.compat == Compat::glami ? log_snr(NoiseSchedule::cosine, t) : noising;
    lowres_l = repeated(told, B, device());
  }
  const UnetText seen = net.text(text.embeddings, text.mask, d.keep);
  const Tensor predicted = net(cast(noised_target.x, dtype), Tensor::from(noised_target.log_snr, {B}).to(device()), seen,
                               lowres, lowres_l);
  return weighted_mean_square(config, sub(predicted, noised_target.wanted), noised_target.log_snr);
}

Tensor Cascade::sketch_loss(const Tensor& images, const TextBatch& text) const {
  const Tensor keep = Tensor::full({images.dim(0)}, 1, DType::boolean);
  const Unet& net = *unets[0];
  const Tensor error = sub(cast(net.sketch(net.text(text.embeddings, text.mask, keep)), images.dtype()), normalised(images));
  return mean(mul(error, error));
}

double Cascade::zero_loss(int64_t unet, const Tensor& images, const TrainingDraws& d) const {
  const NoGrad no_grad;
  check(unet < static_cast<int64_t>(unets.size()), "[cascade] there is no UNet {}", unet);
  const Tensor target = normalised(resize_square(images, config.image_sizes[unet], config.compat));
  const Noised n = add_noise(config, target, d.noise.to(target.device()), d.times);
  return weighted_mean_square(config, n.wanted, n.log_snr).item();
}

namespace {

// The small picture as the next UNet sees it in sampling, and the log-SNR that it is told.
std::pair<Tensor, float> conditioning(const CascadeConfig& c, const Tensor& picture, int64_t size, Compat compat,
                                      const NoiseSource& noise) {
  const Tensor up = resize_square(picture, size, compat);
  const Tensor drawn = noise(up.shape()).to(up.device());
  if (compat == Compat::glami) {
    // The level was stored as a whole number, and the noise was added before the picture was brought to [-1, 1].
    const float l = log_snr(NoiseSchedule::linear, 0);
    return {normalised(noised(up, drawn, l)), l};
  }
  const float l = log_snr(NoiseSchedule::linear, static_cast<float>(c.lowres_noise_level));
  return {noised(normalised(up), drawn, l), l};
}

// The forward pass of a step, whose inputs keep their place: on the cuda device it is recorded after its first run, and
// then started as a whole.
class RepeatedForward {
 public:
  explicit RepeatedForward(std::function<Tensor()> forward) : forward_(std::move(forward)) {}

  Tensor operator()() {
#ifdef WEFT_HAS_CUDA
    if (graph_) {
      graph_->launch();
      return result_;
    }
    result_ = forward_();
    if (result_.device() == Device::cuda) {
      const Tensor first = result_;
      graph_ = std::make_unique<cuda::Graph>([this] { result_ = forward_(); });
      return first;
    }
    return result_;
#else
    return forward_();
#endif
  }

 private:
  std::function<Tensor()> forward_;
#ifdef WEFT_HAS_CUDA
  std::unique_ptr<cuda::Graph> graph_;
  Tensor result_;  // in the graph's memory
#endif
};

Tensor twice(const Tensor& x, bool two) { return two && x.defined() ? concat({x, x}, 0) : x; }

}  // namespace

Tensor Cascade::sample(int64_t unet, const TextBatch& text, const Tensor& lowres, const SamplingOptions& o,
                       const NoiseSource& noise, const SamplingCallback& callback) const {
  const NoGrad no_grad;
  const Unet& net = *unets[unet];
  const int64_t B = text.embeddings.dim(0), T = text.embeddings.dim(1), S = config.image_sizes[unet];
  const Shape shape{B, S, S, net.config.channels};
  check(o.guidance >= 0 && std::isfinite(o.guidance), "[cascade] the guidance must be at least 0 but is {}",
        o.guidance);

  // One batch for both branches: rows with their text, then the same rows without.
  const bool two = o.guidance != 1;
  Tensor keep = Tensor::zeros({two ? 2 * B : B}, DType::boolean);
  for (int64_t b = 0; b < B; ++b) {
    const bool* row = text.mask.data<bool>() + b * T;
    keep.data<bool>()[b] = std::any_of(row, row + T, [](bool token) { return token; });
  }
  const Tensor embeddings = cast(text.embeddings.to(device()), o.dtype);
  const UnetText seen = net.text(twice(embeddings, two), twice(text.mask, two), keep, true);
  Tensor small, small_l;
  if (net.config.lowres_cond) {
    const auto [picture, l] = conditioning(config, lowres.to(device()), S, o.compat, noise);
    small = twice(cast(picture, o.dtype), two);
    small_l = repeated(l, small.dim(0), device());
  }

  Sampler sampler(o.sampler, o.steps);
  Tensor x = noise(shape).to(device());
  const Tensor in = empty_like(twice(cast(x, o.dtype), two)), l = repeated(0, in.dim(0), device());
  RepeatedForward forward([&] { return net(in, l, seen, small, small_l); });
  for (int64_t step = 0; step < sampler.steps(); ++step) {
    in.copy_from(twice(cast(x, o.dtype), two));
    l.fill(sampler.log_snr_at(step));
    Tensor predicted = forward();
    if (two) {
      const Tensor with = predicted.leading(0, B), without = predicted.leading(B, 2 * B);
      predicted = add(without, mul(sub(with, without), o.guidance));
    }
    if (!all_finite(predicted)) {
      const std::string at = fmt::format("UNet {}, step {} of {}", unet, step + 1, sampler.steps());
      net(in, l, seen, small, small_l, [&](const std::string& layer, const Tensor& y) {
        check_input(all_finite(y), "sampling: {}: a value of layer {} is not finite", at, layer);
      });
      fail("sampling: {}: the predicted noise is not finite", at);
    }
    const Tensor x0 = dynamic_threshold(sampler.predict(step, x, predicted, config.prediction), config.threshold_percentile);
    const Tensor drawn = sampler.draws_noise() ? noise(shape).to(device()) : Tensor();
    x = sampler.next(step, x, x0, drawn);
    if (callback && !callback({unet, step, sampler.steps(), x, x0})) return {};
  }
  return unnormalised(clamped(x));
}

UnetAverage::UnetAverage(const Params& p, const ParameterSet& averaged, const std::string& prefix, double most)
    : most_(most) {
  for (const Parameter& parameter : averaged.trainable()) {
    if (parameter.name.starts_with(prefix)) parameters_.push_back(parameter);
  }
  for (const Parameter& parameter : parameters_) {
    averages_.push_back((p / "ema_model").buffer(parameter.name.substr(prefix.size()), parameter.tensor.shape(), 0));
    averages_.back().copy_from(parameter.tensor);
  }
  initted_ = p.buffer("initted", {1}, 0, DType::i64);
  step_ = p.buffer("step", {1}, 0, DType::i64);
}

void UnetAverage::update() {
  const NoGrad no_grad;
  constexpr int64_t every = 10, copies_until = 100;
  int64_t& step = *step_.data<int64_t>();
  const int64_t n = step++;
  if (n % every != 0) return;
  int64_t& initted = *initted_.data<int64_t>();
  const bool copies = n <= copies_until || initted == 0;
  if (n > copies_until) initted = 1;
  const double k = static_cast<double>(n - copies_until);
  const double decay = k <= 0 ? 0 : std::min(1 - std::pow(1 + k, -2.0 / 3), most_);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor online = parameters_[i].tensor.detach(), &average = averages_[i];
    average.copy_from(copies ? online : sub(average, mul(sub(average, online), 1 - decay)));
    average.mark_modified();
  }
}

void UnetAverage::swap() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor parameter = parameters_[i].tensor.clone();
    parameters_[i].tensor.copy_from(averages_[i]);
    averages_[i].copy_from(parameter);
    parameters_[i].tensor.mark_modified();
    averages_[i].mark_modified();
  }
}

}  // namespace weft
