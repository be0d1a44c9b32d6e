#!/usr/bin/env python3
"""Golden file of a tiny XLM-RoBERTa and multilingual CLIP's head on it: transformers' XLMRobertaModel, in float64,
rounded to f32.

PyPI: torch, transformers. Run: python3 tests/golden/make_xlm_roberta.py [OUT]
Writes xlm_roberta_tiny.safetensors beside this script (written with torch 2.15, transformers 5.23).

Config: hidden 24, 3 heads, feed-forward 40, 2 layers, vocabulary 97, 20 positions, pad 1; head to 10 dimensions.
Tensors:
  transformer.<state-dict name>      the weights, without the pooler; LinearTransformation.{weight,bias} those of the head
  input.ids, input.mask              [4, 18] i64: 18 (as many as there are positions), 7, 2 and 3 tokens, then padding 1
  hidden                             last hidden state [4, 18, 24], at padded positions too
  embedding                          [4, 10]: M-CLIP's sum(hidden * mask) / sum(mask), then the linear layer
  loss                               sum(embedding * loss_weight)
  grad.<parameter>                   its gradient
"""
import pathlib
import sys

import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from safetensors_io import save


def main():
    torch.set_num_threads(1)
    torch.manual_seed(5)
    config = XLMRobertaConfig(vocab_size=97, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
                              intermediate_size=40, max_position_embeddings=20, type_vocab_size=1, pad_token_id=1,
                              bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5, hidden_act="gelu")
    config._attn_implementation = "eager"
    transformer = XLMRobertaModel(config, add_pooling_layer=False)
    net = torch.nn.ModuleDict({"transformer": transformer, "LinearTransformation": torch.nn.Linear(24, 10)}).double().eval()
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "LayerNorm" in name:
                value.normal_(float(name.endswith("weight")), 0.2)
            elif value.ndim == 1:
                value.normal_(0, 0.2)
            elif "embeddings" in name:
                value.normal_(0, 0.5)
            else:
                value.normal_(0, value.shape[1] ** -0.5)
            value.copy_(value.float().double())
    out = {name: value.clone() for name, value in net.named_parameters()}
    lengths = (18, 7, 2, 3)
    mask = (torch.arange(18)[None] < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(3, 97, mask.shape)
    ids[:, 0] = 0
    for row, length in enumerate(lengths):
        ids[row, length - 1] = 2
    ids = ids * mask + (1 - mask)
    hidden = transformer(input_ids=ids, attention_mask=mask).last_hidden_state
    assert hidden.dtype == torch.float64
    mean = (hidden * mask.unsqueeze(2)).sum(1) / mask.sum(1)[:, None]
    embedding = net["LinearTransformation"](mean)
    weight = torch.randn(embedding.shape).double()
    loss = (embedding * weight).sum()
    loss.backward()
    out.update({"input.ids": ids, "input.mask": mask, "hidden": hidden, "embedding": embedding, "loss": loss,
                "loss_weight": weight})
    for name, p in net.named_parameters():
        out["grad." + name] = p.grad
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("xlm_roberta_tiny.safetensors")
    save(path, out, {"hidden": 24, "heads": 3, "layers": 2})
    print(path, path.stat().st_size, "bytes, loss", loss.item())


if __name__ == "__main__":
    main()
