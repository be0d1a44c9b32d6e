"""Golden file of a tiny mT5 encoder: Hugging Face's MT5EncoderModel, in float64 (its RMS-norm variance and its
softmax are f32 inside the library), rounded to f32.

Debian's python3-torch and, in a virtual environment that sees it (python3 -m venv --system-site-packages),
pip install transformers==4.30.2 'numpy<2'. Run with that environment's python.
Writes t5_encoder_tiny.safetensors beside this script (written with torch 1.13, transformers 4.30.2).

Config: d_model 24, d_kv 8, 3 heads, d_ff 40, 2 layers, vocabulary 97, gated-gelu (tanh), 32 buckets, max distance 128.
Two batches, `long` [2, 150] (every bucket is hit; second row has 101 real tokens) and `short` [3, 9] (9, 4 and 1 real
tokens; padding id 0). Tensors:
  <state-dict name>             the weights (encoder.embed_tokens is shared.weight, stored once)
  {case}.input.ids i64, {case}.input.mask i64 (1 = real token)
  {case}.hidden                 last hidden state [B, T, 24], at padded positions too
  {case}.loss                   sum(hidden * {case}.loss_weight), whose loss_weight is 0 at padded positions
  {case}.grad.<parameter>       its gradient
  buckets                       relative position bucket of k - q = -150..150 [301] i64
"""
import pathlib

import torch
from transformers import MT5Config, MT5EncoderModel

from safetensors_io import save


def main():
    torch.manual_seed(2)
    config = MT5Config(d_model=24, d_kv=8, num_heads=3, d_ff=40, num_layers=2, vocab_size=97, dropout_rate=0.0,
                       feed_forward_proj="gated-gelu", relative_attention_num_buckets=32,
                       relative_attention_max_distance=128, pad_token_id=0, eos_token_id=1)
    net = MT5EncoderModel(config).eval()
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "layer_norm" in name:
                value.normal_(1, 0.2)
            elif "relative_attention_bias" in name:
                value.normal_(0, 0.5)
            elif "shared" in name:
                value.normal_(0, 1)
            else:
                value.normal_(0, value.shape[1] ** -0.5)
    net = net.double()
    out = {name: value.clone() for name, value in net.named_parameters()}
    for case, lengths in (("long", (150, 101)), ("short", (9, 4, 1))):
        mask = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
        for row, length in enumerate(lengths):
            mask[row, :length] = 1
        ids = torch.randint(3, 97, mask.shape) * mask
        for row, length in enumerate(lengths):
            ids[row, length - 1] = 1
        net.zero_grad()
        hidden = net(input_ids=ids, attention_mask=mask).last_hidden_state
        assert hidden.dtype == torch.float64
        weight = torch.randn(hidden.shape).double() * mask[:, :, None]
        loss = (hidden * weight).sum()
        loss.backward()
        out[f"{case}.input.ids"], out[f"{case}.input.mask"] = ids, mask
        out[f"{case}.hidden"], out[f"{case}.loss"], out[f"{case}.loss_weight"] = hidden, loss, weight
        for name, p in net.named_parameters():
            out[f"{case}.grad.{name}"] = p.grad.clone()
    attention = net.encoder.block[0].layer[0].SelfAttention
    out["buckets"] = attention._relative_position_bucket(torch.arange(-150, 151), True, 32, 128)
    assert set(out["buckets"].tolist()) == set(range(32)) - {16}, "k > q starts at bucket 17"
    path = pathlib.Path(__file__).with_name("t5_encoder_tiny.safetensors")
    save(path, out, {"d_model": 24, "d_kv": 8, "heads": 3, "d_ff": 40, "layers": 2, "vocab": 97})
    print(path, path.stat().st_size, "bytes, losses", float(out["long.loss"]), float(out["short.loss"]))


if __name__ == "__main__":
    main()
