#include "models/unet_resampler.h"

#include <cmath>

#include "kernels/arithmetic.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "kernels/reduce.h"

namespace weft {

PerceiverAttention::PerceiverAttention(const Params& p, int64_t width, int64_t heads, int64_t head_width)
    : norm(p / "norm", width),
      norm_latents(p / "norm_latents", width),
      to_q(p / "to_q", width, heads * head_width, false),
      to_kv(p / "to_kv", width, 2 * heads * head_width, false),
      out(p / "to_out" / 0, heads * head_width, width, false),
      out_norm(p / "to_out" / 1, width),
      heads(heads) {}

Tensor PerceiverAttention::operator()(const Tensor& x, const Tensor& latents) const {
  const Tensor l = norm_latents(latents);
  const Tensor q = to_q(l), kv = to_kv(concat({norm(x), l}, 1));
  const int64_t B = q.dim(0), inner = q.dim(2), width = inner / heads;
  const auto part = [&](int i) {
    return slice(kv, 2, i * inner, (i + 1) * inner).reshape({B, kv.dim(1), heads, width});
  };
  AttentionOptions options;
  options.scale = 1 / std::sqrt(static_cast<double>(width));
  const Tensor y = attention(q.reshape({B, q.dim(1), heads, width}), part(0), part(1), options);
  return out_norm(out(y.reshape(q.shape())));
}

PerceiverFeedForward::PerceiverFeedForward(const Params& p, int64_t width)
    : norm(p / 0, width),
      hidden_norm(p / 3, 4 * width),
      up(p / 1, width, 4 * width, false),
      down(p / 4, 4 * width, width, false) {}

Tensor PerceiverFeedForward::operator()(const Tensor& x) const {
  return down(hidden_norm(up(norm(x), Activation::gelu)));
}

PerceiverResampler::PerceiverResampler(const Params& p, int64_t width, int64_t learned, int64_t heads,
                                       int64_t head_width)
    : position(p / "pos_emb", positions, width),
      latents(p.parameter("latents", {learned, width}, init::normal(1), false)),
      mean_norm(p / "to_latents_from_mean_pooled_seq" / 0, width),
      from_mean(p / "to_latents_from_mean_pooled_seq" / 1, width, mean_latents * width) {
  for (int i = 0; i < depth; ++i) {
    attention.emplace_back(p / "layers" / i / 0, width, heads, head_width);
    feed_forward.emplace_back(p / "layers" / i / 1, width);
  }
}

Tensor PerceiverResampler::operator()(const Tensor& x) const {
  const int64_t B = x.dim(0), T = x.dim(1), width = x.dim(2);
  check(T <= positions, "[perceiver_resampler] a text has at most {} positions but this one {}", positions, T);
  const auto learned = [&](const Tensor& t) { return cast(t, x.dtype()).reshape({1, t.dim(0), t.dim(1)}); };
  const Tensor positioned = add(x, learned(position.weight.leading(0, T)));
  const Tensor from_text = from_mean(mean_norm(mean(x, 1))).reshape({B, mean_latents, width});
  const Tensor own = add(Tensor::zeros({B, latents.dim(0), width}, x.dtype(), x.device()), learned(latents));
  Tensor l = concat({from_text, own}, 1);
  for (int i = 0; i < depth; ++i) {
    l = add(attention[i](positioned, l), l);
    l = add(feed_forward[i](l), l);
  }
  return l;
}

}  // namespace weft
