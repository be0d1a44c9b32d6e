#!/usr/bin/env python3
"""Writes interpolate.json: torch.nn.functional.interpolate and its gradient in f64 for small images, values rounded to 9 digits.

usage: make_interpolate.py > tests/golden/interpolate.json   (needs torch >= 1.11)
"""
import json
import sys

import torch

torch.manual_seed(0)
cases = []
for size, to in [((5, 7), (9, 4)), ((16, 12), (5, 5)), ((3, 3), (8, 7)), ((1, 6), (4, 1)), ((20, 9), (7, 18))]:
    for mode, antialias in [("bilinear", False), ("bilinear", True), ("nearest-exact", False)]:
        x = torch.randint(-99, 100, (1, 2) + size).double().requires_grad_()
        y = torch.nn.functional.interpolate(x, to, mode=mode, antialias=antialias)
        dy = torch.randint(-99, 100, y.shape).double()
        y.backward(dy)
        nhwc = lambda t: [float("%.9g" % v) for v in t.detach().permute(0, 2, 3, 1).reshape(-1).tolist()]
        cases.append({"mode": mode, "antialias": antialias, "from": size, "to": to,
                      "x": nhwc(x), "y": nhwc(y), "dy": nhwc(dy), "dx": nhwc(x.grad)})
json.dump({"torch": torch.__version__, "cases": cases}, sys.stdout, separators=(",", ":"))
print()
