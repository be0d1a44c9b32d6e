#!/usr/bin/env python3
"""Writes pil_resize.bin: what Pillow makes of a picture of noise and one with edges in many odd sizes, and torchvision of their
tensors. Pillow 13 goes along columns first where the height shrinks much more than the width; here are only sizes where it does as
every Pillow before. Needs from PyPI: pillow, numpy, torch, torchvision. Run: python3 make_pil_resize.py

The file: for each case 6 little-endian i32 (seed, height, width, new height, new width, kind), then the result. Kind 0, 1, 2: Pillow
bilinear, bicubic, lanczos (u8); 3, 4: torchvision's antialiased bilinear, bicubic (f32); 5: CLIP's pixels (f32, new height squared).
The picture of a seed: byte i is the top byte of seed * 2654435761 + i * 2246822519 (mod 2^32), mixed by x ^= x >> 15 and x *= 0x2c1b3c6d;
an even seed rounds it to 0 or 255.
"""
import os
import struct

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

torch.set_num_threads(1)
FILTERS = [Image.BILINEAR, Image.BICUBIC, Image.LANCZOS]
MODES = [InterpolationMode.BILINEAR, InterpolationMode.BICUBIC]
CLIP = [transforms.ToTensor(), transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))]


def picture(seed, height, width):
    x = (np.uint64(seed * 2654435761) + np.arange(height * width * 3, dtype=np.uint64) * np.uint64(2246822519)) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(15)
    x = (x * np.uint64(0x2C1B3C6D)) & np.uint64(0xFFFFFFFF)
    values = (x >> np.uint64(24)).astype(np.uint8)
    if seed % 2 == 0:
        values = np.where(values > 127, 255, 0).astype(np.uint8)
    return values.reshape(height, width, 3)


def result(seed, height, width, new_height, new_width, kind):
    pixels = picture(seed, height, width)
    image = Image.fromarray(pixels)
    if kind < 3:
        return np.asarray(image.resize((new_width, new_height), FILTERS[kind])).tobytes()
    if kind < 5:
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        return F.resize(tensor.contiguous(), [new_height, new_width], MODES[kind - 3], antialias=True).permute(1, 2, 0).contiguous().numpy().tobytes()
    steps = [transforms.Resize(new_height, interpolation=InterpolationMode.BICUBIC), transforms.CenterCrop(new_height)] + CLIP
    return transforms.Compose(steps)(image).permute(1, 2, 0).contiguous().numpy().tobytes()


sizes = [(1, 1, 3, 5), (1, 7, 1, 3), (7, 1, 5, 1), (2, 3, 17, 11), (13, 17, 7, 5), (31, 29, 32, 30), (40, 33, 40, 20), (40, 33, 20, 33),
         (64, 48, 9, 7), (97, 101, 13, 11), (23, 19, 61, 47), (5, 250, 3, 9), (90, 100, 30, 34), (33, 65, 33, 65)]
cases = [(s + k + 1, *size, k) for s, size in enumerate(sizes) for k in range(5)
         if k < 3 or size[3] > 1]  # torch 2.15 repeats the first value of a tensor of width 1
cases += [(3, 31, 40, 24, 24, 5), (4, 50, 31, 21, 21, 5), (5, 37, 37, 16, 16, 5), (7, 9, 10, 18, 18, 5)]
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "pil_resize.bin"), "wb") as out:
    for case in cases:
        out.write(struct.pack("<6i", *case) + result(*case))
