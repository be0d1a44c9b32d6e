#!/usr/bin/env python3
"""The Python half of scripts/parity.sh.

parity.py make NAME DIR      builds the original model at full size with random weights, writes it as it is published (into
                             DIR/original; the file's or folder's name is printed), and inputs and outputs in f32
                             (DIR/input.safetensors, DIR/expected.safetensors)
parity.py compare NAME DIR   a line of the table: DIR/f32.safetensors and DIR/bf16.safetensors against what is expected
PyPI: torch, torchvision, transformers, open_clip_torch, safetensors.
"""
import json
import os
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file

LENGTHS = [18, 14, 20, 6, 14, 27, 6, 19, 11, 9, 22, 29, 32, 5, 3, 16]  # of 16 texts


def texts(vocabulary, begin, end, pad):
    """ids and mask [16, 32]: a first and a last id where the tokenizer has them, padded."""
    mask = torch.arange(32)[None] < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(10, vocabulary, mask.shape)
    if begin is not None:
        ids[:, 0] = begin
    for row, length in enumerate(LENGTHS):
        ids[row, length - 1] = end
    return torch.where(mask, ids, pad), mask


class Sequence(torch.nn.Module):
    """ids, mask -> last hidden state."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, ids, mask):
        return self.net(input_ids=ids, attention_mask=mask.long()).last_hidden_state


class MClip(torch.nn.Module):
    """ids, mask -> embeddings: multilingual CLIP's mean over the tokens and its linear layer."""

    def __init__(self, net):
        super().__init__()
        self.transformer, self.LinearTransformation = net, torch.nn.Linear(1024, 512)

    def forward(self, ids, mask):
        hidden = self.transformer(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        kept = mask.to(hidden.dtype)
        return self.LinearTransformation((hidden * kept[:, :, None]).sum(1) / kept.sum(1)[:, None])


class Images(torch.nn.Module):
    """images NHWC -> what the network's `method` makes of them as NCHW (in memory still NHWC)."""

    def __init__(self, net, method):
        super().__init__()
        self.net, self.method = net, method

    def forward(self, images):
        return getattr(self.net, self.method)(images.permute(0, 3, 1, 2))


class ClipTexts(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, ids):
        return self.net.encode_text(ids)


# Each returns the module, its original's state dict, config.json, and inputs for a comparison.
def mt5():
    from transformers import MT5Config, MT5EncoderModel
    config = {"vocab_size": 250112, "d_model": 512, "d_kv": 64, "num_heads": 6, "d_ff": 1024, "num_layers": 8,
              "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
              "layer_norm_epsilon": 1e-6, "feed_forward_proj": "gated-gelu"}
    net = MT5EncoderModel(MT5Config(dropout_rate=0.0, **config))
    ids, mask = texts(250000, None, 1, 0)
    weights = {k: v for k, v in net.state_dict().items() if k != "encoder.embed_tokens.weight"}
    return Sequence(net), weights, config, {"ids": ids, "mask": mask}


def mclip():
    from transformers import XLMRobertaConfig, XLMRobertaModel
    config = {"vocab_size": 250002, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
              "intermediate_size": 4096, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1,
              "layer_norm_eps": 1e-5, "hidden_act": "gelu"}
    net = MClip(XLMRobertaModel(XLMRobertaConfig(bos_token_id=0, eos_token_id=2, **config)))
    ids, mask = texts(250000, 0, 2, 1)
    return net, net.state_dict(), {**config, "numDims": 512}, {"ids": ids, "mask": mask}


def clip(tower):
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    net = CLIP(embed_dim=512, vision_cfg=CLIPVisionCfg(image_size=224, patch_size=32, width=768, layers=12),
               text_cfg=CLIPTextCfg(context_length=77, vocab_size=49408, width=512, heads=8, layers=12),
               quick_gelu=True)
    config = {"embed_dim": 512, "quick_gelu": True,
              "vision_cfg": {"image_size": 224, "patch_size": 32, "width": 768, "layers": 12},
              "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}}
    if tower == "image":
        module = Images(net, "encode_image")
        return module, net.state_dict(), config, {"images": torch.randn(8, 224, 224, 3)}
    ids = torch.zeros(16, 77, dtype=torch.int64)
    ids[:, :32] = texts(49000, 49406, 49407, 0)[0]
    return ClipTexts(net), net.state_dict(), config, {"ids": ids}


def resnext():
    from torchvision.models import resnext50_32x4d
    net = resnext50_32x4d(weights=None)
    images = torch.rand(8, 298, 228, 3)
    with torch.no_grad():
        for _ in range(2):  # running statistics of its own activations
            net(images.permute(0, 3, 1, 2))
    config = {"layers": [3, 4, 6, 3], "planes": [64, 128, 256, 512], "stem": 64, "groups": 32, "width_per_group": 4,
              "classes": 1000}
    weights = dict(net.state_dict())
    net.fc = torch.nn.Identity()  # the features are what is compared
    return Images(net, "forward"), weights, config, {"images": images}


MODELS = {"mt5-small": mt5, "xlm-r-large-m-clip": mclip, "clip-vit-b-32-image": lambda: clip("image"),
          "clip-vit-b-32-text": lambda: clip("text"), "resnext50-32x4d": resnext}


def save_for_weft(weights, config, folder):
    """A weft model folder without weft-convert, for benchmarks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def save_original(name, net, weights, config, folder):
    """As the model's authors publish it; returns what weft-convert is to read."""
    folder.mkdir(parents=True)
    if name == "mt5-small":
        net.net.save_pretrained(folder)
    elif name == "xlm-r-large-m-clip":
        torch.save(weights, folder / "pytorch_model.bin")
        (folder / "config.json").write_text(json.dumps({"modelBase": "xlm-roberta-large", "transformerDimensions": 1024, "numDims": 512}))
    elif name.startswith("clip"):
        torch.save(weights, folder / "open_clip_pytorch_model.bin")
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    else:  # torchvision's files of 2019 have the format of before PyTorch 1.6
        torch.save(weights, folder / f"{name}.pth", _use_new_zipfile_serialization=False)
    return folder if (folder / "config.json").exists() else next(f for f in folder.iterdir() if f.suffix in (".bin", ".pth"))


def make(name, folder):
    torch.manual_seed(1)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    net, weights, config, inputs = MODELS[name]()
    with torch.no_grad():
        output = net.eval()(*inputs.values())
    print(save_original(name, net, weights, config, folder / "original"))
    save_file({k: v.contiguous() for k, v in inputs.items()}, folder / "input.safetensors")
    save_file({"output": output.float().contiguous()}, folder / "expected.safetensors")


def compare(name, folder):
    expected = load_file(folder / "expected.safetensors")["output"].double()
    mask = load_file(folder / "input.safetensors").get("mask")
    kept = (lambda t: t[mask]) if mask is not None and expected.ndim == 3 else (lambda t: t)
    expected = kept(expected)
    line, ok = [name], True
    for dtype in ("f32", "bf16"):
        ours = kept(load_file(folder / f"{dtype}.safetensors")["output"].double())
        error = ((ours - expected).abs() / (expected.abs() + expected.abs().max())).max().item()
        cosine = torch.nn.functional.cosine_similarity(ours, expected, dim=-1).min().item()
        line += [f"{error:.1e}", f"{cosine:.6f}"]
        ok &= error < 1e-4 if dtype == "f32" else cosine > 0.9995  # a NaN fails both
    print("| " + " | ".join(line + ["yes" if ok else "NO"]) + " |")
    return 0 if ok else 1


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1] == "list":
        print("\n".join(MODELS))
    elif len(sys.argv) == 4 and sys.argv[1] in ("make", "compare") and sys.argv[2] in MODELS:
        sys.exit({"make": make, "compare": compare}[sys.argv[1]](sys.argv[2], pathlib.Path(sys.argv[3])))
    else:
        sys.exit("usage: parity.py list | make NAME DIR | compare NAME DIR")
