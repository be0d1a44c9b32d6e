#!/usr/bin/env python3
"""Writes images/*.jpg and images/*.png, pictures of every kind that files come in, and beside each what PIL makes of it
(NAME.rgb: the bytes of convert("RGB"), of turned*.jpg and turned.png those of ImageOps.exif_transpose before it). Made with Pillow 13.0.0. Run: python3 make_images.py (pip install pillow numpy)
"""
import os
import zlib

import numpy as np
from PIL import Image, ImageOps

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


def raw_png(name, bits, colour_type, rows, extra=b"", interlaced=False):
    """A PNG whose rows are given in bytes as the file has them: [height][bytes], or a list of such for Adam7's seven passes."""
    passes = rows if interlaced else [rows]
    data = b"".join(b"\0" + row for one in passes for row in one)
    head = WIDTH.to_bytes(4, "big") + HEIGHT.to_bytes(4, "big") + bytes([bits, colour_type, 0, 0, interlaced])
    path = os.path.join(folder, name)
    with open(path, "wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b""))
    with open(path + ".rgb", "wb") as out:
        out.write(Image.open(path).convert("RGB").tobytes())


def packed(values, bits):
    """Rows of values of 1, 2 or 4 bits, put into bytes."""
    rows = []
    for row in values:
        text = "".join(format(int(v), f"0{bits}b") for v in row)
        text += "0" * (-len(text) % 8)
        rows.append(bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8)))
    return rows


def big_endian(values):
    return [row.tobytes() for row in np.ascontiguousarray(values).astype(">u2").reshape(HEIGHT, -1)]


grey16 = (x * 2500 + y * 333).astype(np.uint16)
alpha16 = (65535 - x * 2000).astype(np.uint16)
raw_png("grey2.png", 2, 0, packed((x + y) % 4, 2))
raw_png("grey4.png", 4, 0, packed((x + y) % 16, 4))
raw_png("grey16.png", 16, 0, big_endian(grey16))
raw_png("grey_alpha16.png", 16, 4, big_endian(np.stack([grey16, alpha16], 2)))
raw_png("alpha16.png", 16, 6, big_endian(np.dstack([wide, alpha16])))
palette = chunk(b"PLTE", bytes(rgb[0, :16].reshape(-1)))
raw_png("palette4.png", 4, 3, packed((x + y) % 16, 4), palette)
raw_png("grey_key.png", 8, 0, [row.tobytes() for row in grey], chunk(b"tRNS", b"\0\x0c"))
raw_png("colour_key.png", 8, 2, [row.tobytes() for row in rgb], chunk(b"tRNS", b"\0\x0a\0\x0e\0\x0c"))
adam7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
raw_png("interlaced.png", 8, 2, [[row.tobytes() for row in rgb[a::c, b::d]] for a, b, c, d in adam7], interlaced=True)

for orientation in range(1, 10):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, options in ((f"turned{orientation}.jpg", {"quality": 60}),) + ((("turned.png", {}),) if orientation == 6 else ()):
        path = os.path.join(folder, name)
        colour.save(path, exif=exif, **options)
        with open(path + ".rgb", "wb") as out:
            out.write(ImageOps.exif_transpose(Image.open(path)).convert("RGB").tobytes())
