#!/usr/bin/env python3
"""Writes tiny model folders with random weights: tiny_towers.py FOLDER VOCABULARY

FOLDER/clip: a CLIP whose image tower reads 32x32 pictures, with a few of CLIP's merges; FOLDER/m-clip: multilingual CLIP's text tower for a tokenizer of
that many pieces. Both embed into 16 dimensions.
"""
import gzip
import json
import os
import random
import shutil
import struct
import sys


def save(path, shapes, draw):
    header, offset, blobs = {}, 0, []
    for name, shape in shapes.items():
        count = 1
        for extent in shape:
            count *= extent
        norm = "ln_" in name or "LayerNorm" in name
        start = 1.0 if norm and name.endswith("weight") else 0.0
        spread = 0.1 if norm or len(shape) < 2 else 0.5 if "embedding" in name else shape[-1] ** -0.5
        blobs.append(struct.pack(f"<{count}f", *(start + draw.gauss(0, spread) for _ in range(count))))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + 4 * count]}
        offset += 4 * count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def block(name, width):
    return {name + "ln_1.weight": [width], name + "ln_1.bias": [width], name + "ln_2.weight": [width],
            name + "ln_2.bias": [width], name + "attn.in_proj_weight": [3 * width, width],
            name + "attn.in_proj_bias": [3 * width], name + "attn.out_proj.weight": [width, width],
            name + "attn.out_proj.bias": [width], name + "mlp.c_fc.weight": [4 * width, width],
            name + "mlp.c_fc.bias": [4 * width], name + "mlp.c_proj.weight": [width, 4 * width],
            name + "mlp.c_proj.bias": [width]}


def main():
    folder, vocabulary = sys.argv[1], int(sys.argv[2])
    draw = random.Random(3)
    merges_file = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden/tokenizers/clip/bpe_simple_vocab_16e6.txt.gz")
    with gzip.open(merges_file) as file:
        merges = len(file.read().splitlines()) - 1
    os.makedirs(folder + "/clip")
    os.makedirs(folder + "/m-clip")
    shutil.copy(merges_file, folder + "/clip")
    shapes = {"visual.conv1.weight": [24, 3, 8, 8], "visual.class_embedding": [24], "visual.positional_embedding": [17, 24],
              "visual.ln_pre.weight": [24], "visual.ln_pre.bias": [24], "visual.ln_post.weight": [24],
              "visual.ln_post.bias": [24], "visual.proj": [24, 16], "token_embedding.weight": [merges + 514, 16],
              "positional_embedding": [77, 16], "ln_final.weight": [16], "ln_final.bias": [16], "text_projection": [16, 16],
              "logit_scale": []}
    for i in range(2):
        shapes |= block(f"visual.transformer.resblocks.{i}.", 24) | block(f"transformer.resblocks.{i}.", 16)
    save(folder + "/clip/model.safetensors", shapes, draw)
    with open(folder + "/clip/config.json", "w") as file:
        json.dump({"embed_dim": 16, "quick_gelu": True,
                   "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 24, "layers": 2, "heads": 3},
                   "text_cfg": {"context_length": 77, "vocab_size": merges + 514, "width": 16, "layers": 2, "heads": 2}}, file)
    shapes = {"embeddings.word_embeddings.weight": [vocabulary, 24], "embeddings.position_embeddings.weight": [34, 24],
              "embeddings.token_type_embeddings.weight": [1, 24], "embeddings.LayerNorm.weight": [24],
              "embeddings.LayerNorm.bias": [24]}
    for i in range(2):
        layer = f"encoder.layer.{i}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {layer + name + ".weight": [24, 24], layer + name + ".bias": [24]}
        for name, shape in (("intermediate.dense", [40, 24]), ("output.dense", [24, 40])):
            shapes |= {layer + name + ".weight": shape, layer + name + ".bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {layer + name + ".weight": [24], layer + name + ".bias": [24]}
    shapes = {"transformer." + name: shape for name, shape in shapes.items()}
    shapes |= {"LinearTransformation.weight": [16, 24], "LinearTransformation.bias": [16]}
    save(folder + "/m-clip/model.safetensors", shapes, draw)
    with open(folder + "/m-clip/config.json", "w") as file:
        json.dump({"vocab_size": vocabulary, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
                   "intermediate_size": 40, "max_position_embeddings": 34, "numDims": 16}, file)


main()
