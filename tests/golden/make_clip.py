#!/usr/bin/env python3
"""Golden file of a tiny CLIP: open_clip's own CLIP class, in float64, rounded to f32.

PyPI: torch, open_clip_torch. Run: python3 tests/golden/make_clip.py [OUT]
Writes clip_tiny.safetensors beside this script (written with torch 2.15, open_clip 3.3).

Config: embed_dim 12; vision image 15, patch 5, width 24, 2 layers, 3 heads; text context 11, vocabulary 61, width 16,
2 layers, 2 heads; mlp_ratio 4. Tensors:
  <state-dict name>             the weights, f32 numbers
  input.image_nhwc              [3, 15, 15, 3]
  input.ids                     [3, 11] i64: the text, the end of text 60, zeros; the third fills the context
  quick.image, quick.text       embeddings [3, 12], not normalised, with QuickGELU
  quick.logits                  exp(logit_scale) image text^T of the normalised embeddings [3, 3]
  quick.loss                    the mean of both cross-entropies with the diagonal
  quick.grad.<parameter>        its gradient; quick.grad.input.image_nhwc that of the images
  exact.image, exact.text       embeddings of the same weights with the exact GELU
"""
import pathlib
import sys

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

from safetensors_io import save


def tiny(quick):
    return CLIP(embed_dim=12, quick_gelu=quick,
                vision_cfg=CLIPVisionCfg(image_size=15, patch_size=5, width=24, layers=2, head_width=8),
                text_cfg=CLIPTextCfg(context_length=11, vocab_size=61, width=16, layers=2, heads=2)).double().eval()


def main():
    torch.set_num_threads(1)
    torch.manual_seed(4)
    net = tiny(True)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name == "logit_scale":
                value.fill_(1.5)
            elif "ln_" in name:
                value.normal_(float(name.endswith("weight")), 0.2)
            elif value.ndim == 1:
                value.normal_(0, 0.2)
            elif "embedding" in name:
                value.normal_(0, 0.5)
            else:
                value.normal_(0, value[0].numel() ** -0.5)
            value.copy_(value.float().double())
    out = {name: value.clone() for name, value in net.named_parameters()}
    image = torch.randn(3, 15, 15, 3).float().double()
    ids = torch.zeros(3, 11, dtype=torch.int64)
    for row, length in enumerate((4, 2, 11)):
        ids[row, :length - 1] = torch.randint(1, 60, (length - 1,))
        ids[row, length - 1] = 60
    out["input.image_nhwc"], out["input.ids"] = image, ids

    x = image.clone().requires_grad_()
    image_features, text_features = net.encode_image(x.permute(0, 3, 1, 2)), net.encode_text(ids)
    out["quick.image"], out["quick.text"] = image_features, text_features
    unit = torch.nn.functional.normalize
    logits = net.logit_scale.exp() * unit(image_features, dim=-1) @ unit(text_features, dim=-1).T
    label = torch.arange(3)
    loss = (torch.nn.functional.cross_entropy(logits, label) + torch.nn.functional.cross_entropy(logits.T, label)) / 2
    loss.backward()
    out["quick.logits"], out["quick.loss"] = logits, loss
    for name, p in net.named_parameters():
        out["quick.grad." + name] = p.grad
    out["quick.grad.input.image_nhwc"] = x.grad

    exact = tiny(False)
    exact.load_state_dict(net.state_dict())
    with torch.no_grad():
        out["exact.image"], out["exact.text"] = exact.encode_image(image.permute(0, 3, 1, 2)), exact.encode_text(ids)

    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("clip_tiny.safetensors")
    save(path, out, {"embed_dim": 12, "layers": 2})
    print(path, path.stat().st_size, "bytes, loss", loss.item())


if __name__ == "__main__":
    main()
