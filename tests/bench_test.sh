#!/usr/bin/env bash
# weft-bench as a user runs it: what CLIP gave in transformers comes out again, whatever the batch; its JSON; and what
# inputs that do not fit get.
set -euo pipefail
shopt -s inherit_errexit
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
source "$here/as_a_user.bash"
export OMP_WAIT_POLICY=passive

golden=$here/golden/pretrained
"$bin/weft-convert" "$golden/clip" "$folder/clip" >/dev/null
"$bin/weft-convert" "$golden/resnext.pth" "$folder/resnext" >/dev/null
cat >"$folder/tensors.py" <<'PYTHON'
import json, struct
BYTES = {"F32": "f", "I64": "q"}
def read(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    part = lambda e: data[8 + n + e["data_offsets"][0]:8 + n + e["data_offsets"][1]]
    return {name: (e["dtype"], e["shape"], part(e)) for name, e in header.items()}
def write(path, tensors):
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + body)
def values(tensor):
    code = BYTES[tensor[0]]
    return struct.unpack(f"<{len(tensor[2]) // struct.calcsize(code)}{code}", tensor[2])
PYTHON
python() { PYTHONPATH=$folder python3 - "$@"; }

python "$golden/clip.safetensors" "$folder" <<'PYTHON'
import struct, sys
from tensors import *
golden, folder = read(sys.argv[1]), sys.argv[2]
images, ids = golden["input.image"], golden["input.ids"]
write(f"{folder}/images.safetensors", {"images": images})
write(f"{folder}/ids.safetensors", {"ids": ids})
write(f"{folder}/none.safetensors", {"pictures": images})
write(f"{folder}/flat.safetensors", {"images": (images[0], [images[1][0], images[1][1] * images[1][2], 3], images[2])})
write(f"{folder}/long.safetensors", {"ids": ("I64", [1, 1000], bytes(8000))})
write(f"{folder}/high.safetensors", {"ids": ("I64", [1, 2], struct.pack("<2q", 1, 1 << 40))})
write(f"{folder}/mask.safetensors", {"ids": ids, "mask": ("I64", [1, 1], bytes(8))})
PYTHON

bench=("$bin/weft-bench" --model "$folder/clip")
for batch in 1 8; do
  "${bench[@]}" --input "$folder/images.safetensors" --output "$folder/image.safetensors" --batch $batch >/dev/null
  "${bench[@]}" --input "$folder/ids.safetensors" --output "$folder/text.safetensors" --batch $batch >/dev/null
  python "$golden/clip.safetensors" "$folder" <<'PYTHON'
import sys
from tensors import *
golden = read(sys.argv[1])
for name in "image", "text":
    wanted, got = golden[name], read(f"{sys.argv[2]}/{name}.safetensors")["output"]
    assert got[:2] == wanted[:2], (got[:2], wanted[:2])
    a, b = values(got), values(wanted)
    largest = max(map(abs, b))
    assert all(abs(x - y) <= 1e-5 * largest for x, y in zip(a, b)), name
PYTHON
done
"${bench[@]}" --input "$folder/images.safetensors" --seconds 0.1 --json >"$folder/json"
python3 -c 'import json, sys
r = json.load(open(sys.argv[1]))
assert r["items"] >= 1 and r["items_per_second"] > 0 and r["first_batch_seconds"] > 0 and r["peak_mib"] > 1, r' "$folder/json"

expect 1 "none.safetensors: a tensor named images or ids was expected" "${bench[@]}" --input "$folder/none.safetensors"
expect 1 "flat.safetensors: images must be floats [N, 8, 8, 3] but are f32" "${bench[@]}" --input "$folder/flat.safetensors"
expect 1 "flat.safetensors: images must be floats [N, any, any, 3]" "$bin/weft-bench" --model "$folder/resnext" --input "$folder/flat.safetensors"
expect 1 "long.safetensors: ids must be i64 [N, T] with T at most" "${bench[@]}" --input "$folder/long.safetensors"
expect 1 "high.safetensors: ids must lie in [0, 50) but one is 1099511627776" "${bench[@]}" --input "$folder/high.safetensors"
expect 1 "mask.safetensors: mask must have the shape of ids" "${bench[@]}" --input "$folder/mask.safetensors"
expect 1 "a model of texts was expected but it is of ResNeXt" "$bin/weft-bench" --model "$folder/resnext" --input "$folder/ids.safetensors"
expect 2 "batch" "${bench[@]}" --input "$folder/ids.safetensors" --batch 0
echo "bench_test: all passed"
