#!/usr/bin/env python3
"""Writes images/*.jpg and images/*.png, pictures of every kind that files come in, and beside each what PIL makes of it
(NAME.rgb: the bytes of convert("RGB")). Made with Pillow 13.0.0. Run: python3 make_images.py (pip install pillow numpy)
"""
import os
import zlib

import numpy as np
from PIL import Image

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "images")
os.makedirs(folder, exist_ok=True)
HEIGHT, WIDTH = 17, 24
y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
rgb = np.stack([x * 10, y * 14, (x + y) * 6], 2).astype(np.uint8)
grey = (x * 5 + y * 7).astype(np.uint8)
alpha = (255 - x * 8).astype(np.uint8)
cmyk = np.stack([x * 10, y * 14, 255 - x * 10, (x + y) * 3], 2).astype(np.uint8)


def save(name, image, **options):
    path = os.path.join(folder, name)
    image.save(path, **options)
    with open(path + ".rgb", "wb") as out:
        out.write(Image.open(path).convert("RGB").tobytes())


colour = Image.fromarray(rgb, "RGB")
save("colour444.jpg", colour, quality=95, subsampling=0)
save("colour420.jpg", colour, quality=90, subsampling=2)
save("progressive.jpg", colour, quality=95, subsampling=0, progressive=True)
save("restart.jpg", colour, quality=95, subsampling=0, restart_marker_blocks=1)
save("grey.jpg", Image.fromarray(grey, "L"), quality=95)
save("cmyk.jpg", Image.fromarray(cmyk, "CMYK"), quality=95)
save("colour.png", colour)
save("grey.png", Image.fromarray(grey, "L"))
save("bits.png", Image.fromarray(grey, "L").convert("1"))
save("palette.png", colour.quantize(16))
save("palette_transparent.png", colour.quantize(16), transparency=3)
save("alpha.png", Image.fromarray(np.dstack([rgb, alpha]), "RGBA"))
save("grey_alpha.png", Image.fromarray(np.dstack([grey, alpha]), "LA"))


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


# 16 bits a sample, which PIL reads but does not write for colour.
wide = rgb.astype(">u2") * 257 - 100 * (rgb > 0)
rows = b"".join(b"\0" + wide[r].astype(">u2").tobytes() for r in range(HEIGHT))
header = WIDTH.to_bytes(4, "big") + HEIGHT.to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
with open(os.path.join(folder, "wide.png"), "wb") as out:
    out.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
with open(os.path.join(folder, "wide.png.rgb"), "wb") as out:
    out.write(Image.open(os.path.join(folder, "wide.png")).convert("RGB").tobytes())
