#!/usr/bin/env python3
"""Writes a tiny data set in GLAMI-1M's format and a few odd pictures: classifier_data.py FOLDER [ITEMS]

Every category has its own colours and its own words in each language, so a model can learn the items by heart.
The JPEGs are made of 8x8 blocks of one colour each, which takes no cosine transform: only the DC coefficients.
"""
import csv
import os
import random
import struct
import sys

GEOS = "cz sk ro gr si hu hr es lt lv tr ee bg".split()


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(blocks, adobe=None):
    """blocks[row][column] is a tuple of 1 (grey), 3 (YCbCr) or 4 (CMYK) levels 0..255."""
    rows, columns, components = len(blocks), len(blocks[0]), len(blocks[0][0])
    file = b"\xff\xd8"
    if adobe is not None:
        file += segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, adobe))
    file += segment(0xDB, b"\x00" + bytes([8] * 64))  # a DC step of 8 is one grey level
    frame = b"".join(bytes([c + 1, 0x11, 0]) for c in range(components))
    file += segment(0xC0, struct.pack(">BHHB", 8, 8 * rows, 8 * columns, components) + frame)
    file += segment(0xC4, b"\x00" + bytes([0, 0, 0, 12] + [0] * 12) + bytes(range(12)))  # DC: size s has the 4-bit code s
    file += segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\x00")  # AC: end of block is the bit 0
    scan = b"".join(bytes([c + 1, 0]) for c in range(components))
    file += segment(0xDA, bytes([components]) + scan + b"\x00\x3f\x00")
    bits, before = [], [128] * components
    for row in blocks:
        for block in row:
            for c, level in enumerate(block):
                difference, before[c] = level - before[c], level
                size = abs(difference).bit_length()
                value = difference if difference >= 0 else difference + (1 << size) - 1
                bits.append(format(size, "04b") + (format(value, f"0{size}b") if size else "") + "0")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
    return file + data + b"\xff\xd9"


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def main():
    folder, items = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 96
    draw = random.Random(7)
    categories = [f"category-{i:02}" for i in range(12)]
    colours = [[[tuple(draw.randrange(40, 216) for _ in range(3)) for _ in range(4)] for _ in range(4)] for _ in categories]
    word = lambda: "".join(draw.choice("abcdefghijklmnoprstuvzěščřžőűñășδλπшщъ") for _ in range(draw.randrange(4, 9)))
    words = {(geo, i): [word() for _ in range(6)] for geo in GEOS for i in range(len(categories))}
    os.makedirs(f"{folder}/images")
    rows, texts = [], []
    for item in range(items):
        category, geo = item % 12, GEOS[item % 13]
        write(f"{folder}/images/{1000 + item}.jpg",
              jpeg([[tuple(level + draw.randrange(-15, 16) for level in block) for block in row] for row in colours[category]]))
        name = " ".join(draw.sample(words[geo, category], 3))
        description = "" if item % 5 == 0 else f"{words[geo, category][0]}, \"{item}\"\n{words[geo, category][1]}"
        texts.append(name + " " + description.replace("\n", " "))
        rows.append([item + 1, 1000 + item, geo, name, description, category, categories[category],
                     ["admin", "", "custom-tag", "combined-tag", "quality-check"][item % 5]])
    held_out = set(range(items // 2, items // 2 + items // 4))
    for split, chosen in (("train", [r for i, r in enumerate(rows) if i not in held_out]),
                          ("test", [r for i, r in enumerate(rows) if i in held_out])):
        with open(f"{folder}/GLAMI-1M-{split}.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow("item_id,image_id,geo,name,description,category,category_name,label_source".split(","))
            table.writerows(chosen)
    write(f"{folder}/texts.txt", "\n".join(texts).encode())
    grey = jpeg([[(90 + 8 * x + y,) for x in range(4)] for y in range(4)])
    write(f"{folder}/grey.jpg", grey)
    write(f"{folder}/cmyk.jpg", jpeg([[(200, 60 + 9 * x, 90, 240 - y) for x in range(4)] for y in range(4)], adobe=0))
    write(f"{folder}/cmyk-bare.jpg", jpeg([[(200, 60, 90, 240)]]))
    write(f"{folder}/truncated.jpg", grey[:len(grey) // 2])
    at = grey.index(b"\xff\xc0") + 5
    write(f"{folder}/huge.jpg", grey[:at] + struct.pack(">HH", 65000, 65000) + grey[at + 4:])
    write(f"{folder}/text.jpg", b"no picture at all")


main()
