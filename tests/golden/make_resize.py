#!/usr/bin/env python3
"""Writes resize.bin: what skimage.transform.resize (defaults, as GLAMI-1M's loader calls it) makes of the test pictures.

Made with scikit-image 0.26.0. Run: python3 make_resize.py (pip install scikit-image)
The file is float32, little endian: for each case [height, width, 3], one after another. tests/resize_test.cc has the same cases.
"""
import os

import numpy as np
from skimage.transform import resize

# (height, width) of the input and of the output
CASES = [
    ((129, 137), (64, 64)),
    ((64, 64), (37, 101)),
    ((31, 29), (64, 50)),
    ((300, 231), (29, 22)),
    ((5, 7), (13, 3)),
    ((1, 9), (4, 4)),
    ((50, 40), (3, 2)),
    ((40, 33), (33, 40)),
    ((64, 64), (16, 16)),
]


def picture(height, width):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return ((x * 7 + y * 13 + c * 31 + (x * y) % 17 * 9 + (x * x + y * 3) // 4) % 256).astype(np.uint8)


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "resize.bin"), "wb") as out:
    for source, target in CASES:
        out.write(resize(picture(*source), target).astype("<f4").tobytes())
