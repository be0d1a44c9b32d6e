// Texts without the padding between them: the same results as with it, forward and backward, and as each text alone.
#include <doctest/doctest.h>

#include <cmath>

#include "kernels/arithmetic.h"
#include "kernels/cast.h"
#include "models/t5_encoder.h"
#include "models/xlm_roberta.h"
#include "nn/packing.h"
#include "tensor/autograd.h"
#include "tests/cuda_values.h"

using namespace weft;

namespace {

Tensor mask_of(const std::vector<int64_t>& lengths, int64_t T) {
  const int64_t B = static_cast<int64_t>(lengths.size());
  const Tensor mask = Tensor::zeros({B, T}, DType::boolean);
  for (int64_t b = 0; b < B; ++b) std::fill_n(mask.data<bool>() + b * T, lengths[b], true);
  return mask;
}

Tensor ids_of(int64_t B, int64_t T, int64_t below) {
  const Tensor ids = Tensor::empty({B, T}, DType::i64);
  for (int64_t i = 0; i < ids.numel(); ++i) ids.data<int64_t>()[i] = (i * 7 + i / 5) % below;
  return ids;
}

const std::vector<int64_t> lengths{9, 1, 0, 6, 12, 3};
constexpr int64_t T = 14, heads = 2, D = 8;

// Of each text's row of hidden states: its tokens.
void check_each_text_alone(const std::function<Tensor(const Tensor& ids, const Tensor& mask)>& model, int64_t below) {
  const NoGrad no_grad;
  const Tensor ids = ids_of(6, T, below), hidden = model(ids, mask_of(lengths, T));
  for (int64_t b = 0; b < 6; ++b) {
    const int64_t n = lengths[b];
    if (n == 0) continue;
    const Tensor alone = model(ids.leading(b, b + 1).reshape({T}).leading(0, n).reshape({1, n}).clone(), mask_of({n}, n));
    CAPTURE(b);
    CHECK(difference(hidden.leading(b, b + 1).reshape({T, hidden.dim(2)}).leading(0, n), alone.reshape({n, hidden.dim(2)})) <
          2e-6);
  }
}

}  // namespace

TEST_CASE("attention on packed texts is attention with a mask, and so are its gradients") {
  const Tensor mask = mask_of(lengths, T);
  const Packing packed("test", mask, Device::cpu), padded("test", mask, Device::cpu, false);
  CHECK(packed.rows() == 32);  // 31 tokens
  CHECK(packed.length() == 12);
  CHECK(padded.rows() == 6 * T);
  for (const bool causal : {false, true}) {
    Tensors results, gradients[2];
    for (const Packing* packing : {&packed, &padded}) {
      Tensors leaves;
      for (uint64_t i = 0; i < 3; ++i) leaves.push_back(random_tensor({6, T, heads * D}, i).set_requires_grad());
      const int64_t L = packing->length();
      Tensor bias = Tensor::empty({heads, L, L});
      for (int64_t i = 0; i < bias.numel(); ++i) bias.data<float>()[i] = std::sin(static_cast<float>(i / L % L * 3 + i % L));
      AttentionOptions options;
      options.scale = 0.3, options.causal = causal, options.bias = bias;
      const Tensor y = packing->attend(packing->pack(leaves[0]), packing->pack(leaves[1]), packing->pack(leaves[2]), heads, options);
      const Tensor keep = cast(mask, DType::f32).reshape({6, T, 1});
      const Tensor tokens = mul(packing->unpack(y), keep);
      results.push_back(tokens.detach());
      backward(tokens, random_tensor(tokens.shape(), 9));
      for (const Tensor& leaf : leaves) gradients[packing == &padded].push_back(leaf.grad());
    }
    CHECK(difference(results[0], results[1]) < 1e-6);
    for (int i = 0; i < 3; ++i) CHECK(difference(gradients[0][i], gradients[1][i]) < 1e-6);
  }
}

TEST_CASE("unpacked texts have zeros where there is no token, and no text at all is no error") {
  const Packing small("test", mask_of({1, 2}, 3), Device::cpu);
  CHECK(small.rows() == 6);  // 8 rows would be more than the padding has
  const Tensor y = Tensor::full({2, 10, 4}, 5);
  const Packing packing("test", mask_of({1, 2}, 10), Device::cpu);
  CHECK(packing.rows() == 8);
  const std::vector<double> back = packing.unpack(packing.pack(y)).to_doubles();
  for (int i = 0; i < 80; ++i) CHECK(back[i] == (i / 4 == 0 || i / 4 == 10 || i / 4 == 11 ? 5 : 0));
  const Packing none("test", mask_of({0, 0}, 3), Device::cpu);
  CHECK(none.rows() == 0);
  CHECK(none.unpack(none.pack(Tensor::full({2, 3, 4}, 5))).to_doubles() == std::vector<double>(24, 0));
}

TEST_CASE("a mask with a hole is refused") {
  const Tensor mask = mask_of({3, 2}, 3);
  mask.data<bool>()[1] = false;
  CHECK_THROWS_WITH(Packing("test", mask, Device::cpu),
                    "[test] every row of mask must be true up to a length but row 0 is not");
}

TEST_CASE("mT5 and XLM-RoBERTa give each text of a batch what they give it alone") {
  ParameterSet a, b;
  T5Config t5;
  t5.vocab_size = 50, t5.d_model = 24, t5.d_kv = 8, t5.num_heads = 3, t5.d_ff = 40, t5.num_layers = 2;
  const T5Encoder encoder(Params(a), t5);
  check_each_text_alone([&](const Tensor& ids, const Tensor& mask) { return encoder(ids, mask, DType::f32); }, 50);
  XlmRobertaConfig xlm;
  xlm.vocab_size = 50, xlm.hidden_size = 24, xlm.num_hidden_layers = 2, xlm.num_attention_heads = 3, xlm.intermediate_size = 40;
  const XlmRoberta roberta(Params(b), xlm);
  check_each_text_alone([&](const Tensor& ids, const Tensor& mask) { return roberta(ids, mask, DType::f32); }, 50);
}
