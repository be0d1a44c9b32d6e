#!/usr/bin/env python3
"""Tiny models in the files in which their authors publish them, for weft-convert.

PyPI: torch, torchvision, transformers, safetensors, open_clip_torch. Run: python3 tests/golden/make_pretrained.py
Writes pretrained/ beside this script (written with torch 2.15, transformers 5.23, torchvision 0.29, open_clip 3.3).

  mt5/            MT5ForConditionalGeneration.save_pretrained, in two shards: encoder, decoder and output layer
  mclip/          multilingual CLIP's text tower as on the hub: pytorch_model.bin of `transformer.*` and
                  `LinearTransformation.*`, a config.json with modelBase, transformerDimensions and numDims only
  xlmr/           XLMRobertaForMaskedLM.save_pretrained
  clip/           CLIPModel.save_pretrained (transformers' names)
  clip.safetensors  what clip/ answers: input.image [2, 8, 8, 3], input.ids, image, text (not normalised), logits
  open_clip.bin   an open_clip CLIP's state dict in f16, under `state_dict.module.` as its training writes
  clip_jit.pt     the same model traced to TorchScript, as OpenAI's ViT-B-32.pt, with input_resolution and the like
  resnext.pth     torchvision's ResNet with Bottleneck blocks, groups 2
  embracenet.pt   the GLAMI-1M authors' checkpoint: model_state_dict, optimizer_state_dict, label_binarizer, ...
"""
import pathlib
import shutil
import warnings

import open_clip
import torch
import transformers
from torchvision.models.resnet import Bottleneck, ResNet

from safetensors_io import save

FOLDER = pathlib.Path(__file__).with_name("pretrained")
WIDTHS = (4, 4, 8, 8)


class TinyResNeXt(ResNet):
    """torchvision's class with its 64..512 planes cut down to WIDTHS."""

    def __init__(self, classes):
        super().__init__(Bottleneck, [2, 1, 1, 1], num_classes=classes, groups=2, width_per_group=32)
        self.fc = torch.nn.Linear(WIDTHS[-1] * 4, classes)

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        index = (64, 128, 256, 512).index(planes)
        if index == 0:
            self.inplanes = 8
            self.conv1 = torch.nn.Conv2d(3, 8, kernel_size=7, stride=2, padding=3, bias=False)
            self.bn1 = self._norm_layer(8)
        return super()._make_layer(block, WIDTHS[index], blocks, stride, dilate)


def texts():
    mt5 = transformers.MT5ForConditionalGeneration(transformers.MT5Config(
        vocab_size=40, d_model=16, d_kv=4, num_heads=3, d_ff=24, num_layers=2, relative_attention_num_buckets=8,
        relative_attention_max_distance=20))
    mt5.save_pretrained(FOLDER / "mt5", max_shard_size="24KB")
    config = transformers.XLMRobertaConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
                                           max_position_embeddings=12, type_vocab_size=1)
    transformers.XLMRobertaForMaskedLM(config).save_pretrained(FOLDER / "xlmr")
    config.hidden_size, config.num_attention_heads, config.num_hidden_layers = 64, 1, 1
    tower = torch.nn.ModuleDict({"transformer": transformers.XLMRobertaModel(config), "LinearTransformation": torch.nn.Linear(64, 8)})
    (FOLDER / "mclip").mkdir()
    torch.save(tower.state_dict(), FOLDER / "mclip/pytorch_model.bin")
    (FOLDER / "mclip/config.json").write_text('{"modelBase": "xlm-roberta-tiny", "transformerDimensions": 64, "numDims": 8}\n')
    (FOLDER / "mclip/sentencepiece.bpe.model").write_text("stands for a tokenizer\n")


def hugging_face_clip():
    # An end of text of 2 is transformers' sign for OpenAI's original rule: the largest id.
    text = dict(vocab_size=50, hidden_size=24, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=9,
                eos_token_id=2, bos_token_id=1)
    vision = dict(hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4)
    model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    model.save_pretrained(FOLDER / "clip")
    image, ids = torch.randn(2, 3, 8, 8), torch.tensor([[1, 7, 49, 0, 0], [1, 3, 4, 5, 49]])
    with torch.no_grad():
        answer = model(input_ids=ids, pixel_values=image)
        i = model.visual_projection(model.vision_model(pixel_values=image).pooler_output)
        t = model.text_projection(model.text_model(input_ids=ids).pooler_output)
    save(FOLDER / "clip.safetensors", {"input.image": image.permute(0, 2, 3, 1), "input.ids": ids, "image": i, "text": t,
                                       "logits": answer.logits_per_image})


class Answer(torch.nn.Module):
    """OpenAI's archive holds the model itself; a trace needs a forward of tensors."""

    def __init__(self, model):
        super().__init__()
        for name, child in model.named_children():
            setattr(self, name, child)
        for name, p in model.named_parameters(recurse=False):
            setattr(self, name, p)
        self.register_buffer("attn_mask", model.attn_mask)
        for name, value in (("input_resolution", 8), ("context_length", 9), ("vocab_size", 50)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, x):
        return x * self.logit_scale + self.attn_mask.sum() + self.input_resolution


def open_clip_files():
    model = open_clip.CLIP(embed_dim=12, quick_gelu=True,
                           vision_cfg={"image_size": 8, "patch_size": 4, "width": 64, "layers": 1, "head_width": 64},
                           text_cfg={"context_length": 9, "vocab_size": 50, "width": 64, "heads": 1, "layers": 1}).eval()
    torch.save({"epoch": 3, "name": "tiny", "state_dict": {f"module.{k}": v.half() for k, v in model.state_dict().items()}},
               FOLDER / "open_clip.bin")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Answer(model.half()), torch.ones(1).half()).save(str(FOLDER / "clip_jit.pt"))


def images():
    model = TinyResNeXt(6)
    torch.save(model.state_dict(), FOLDER / "resnext.pth")
    d_model, tokens = 16, 4
    state = {f"pre_2.{k}": v for k, v in model.state_dict().items() if not k.startswith("fc.")}
    for k, inputs in enumerate((tokens * d_model, WIDTHS[-1] * 4, 3)):
        layer = torch.nn.Linear(inputs, 10)
        state.update({f"embracenet.docking_{k}.{name}": p.detach() for name, p in layer.state_dict().items()})
    post = torch.nn.Linear(10, 3)
    state.update({f"post.{name}": p.detach() for name, p in post.state_dict().items()})
    one_hot = lambda place: [int(i == place) for i in range(3)]
    torch.save({"epoch": 1, "model_state_dict": state,
                "optimizer_state_dict": {"state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.zeros(2)}}, "param_groups": []},
                "loss": 0.5, "label_binarizer": {7: one_hot(0), 12: one_hot(1), 105: one_hot(2)},
                "source_binarizer": {"custom-tag": one_hot(0), "nan": one_hot(1), "admin": one_hot(2)}}, FOLDER / "embracenet.pt")


def main():
    torch.manual_seed(6)
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    texts()
    hugging_face_clip()
    open_clip_files()
    images()
    for leftover in FOLDER.glob("*/generation_config.json"):
        leftover.unlink()
    for file in FOLDER.rglob("*.safetensors"):
        file.chmod(0o644)
    print(sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()), "bytes in", FOLDER)


if __name__ == "__main__":
    main()
