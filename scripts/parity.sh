#!/usr/bin/env bash
# Full-size models against the originals: builds each with random weights in its own library, saves it as it is published, converts it
# (weft-convert), runs it in weft in f32 and bf16, and prints a table (docs/parity.md). Exit 0 only if every model is within the limits: largest error
# |a - b| / (|b| + max |b|) below 1e-4 in f32, smallest cosine of a token's or an item's vector above 0.9995 in bf16.
# Needs a finished build, and a Python with torch torchvision transformers open_clip_torch safetensors (PyPI), named by WEFT_PYTHON.
# One model at a time: XLM-R large takes 6 GB of memory and 5 GB of disk (TMPDIR) while it is its turn.
# Usage: WEFT_PYTHON=VENV/bin/python scripts/parity.sh [MODEL...]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${WEFT_PYTHON:-python3}
bin=build/bin
for program in weft-bench weft-convert; do
  [[ -x $bin/$program ]] || { echo "error: $bin/$program is missing: run scripts/build.sh" >&2; exit 1; }
done
models=("$@")
((${#models[@]})) || mapfile -t models < <("$python" scripts/parity.py list)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

bad=0
echo "| model | f32: largest error | f32: smallest cosine | bf16: largest error | bf16: smallest cosine | within the limits |"
echo "| --- | --- | --- | --- | --- | --- |"
for model in "${models[@]}"; do
  folder=$work/$model
  mkdir "$folder"
  source=$("$python" -W ignore scripts/parity.py make "$model" "$folder" 2>/dev/null | tail -1)
  $bin/weft-convert "$source" "$folder/model" >/dev/null
  rm -rf "$folder/original"
  for dtype in f32 bf16; do
    $bin/weft-bench --model "$folder/model" --input "$folder/input.safetensors" --output "$folder/$dtype.safetensors" \
      --dtype $dtype >/dev/null
  done
  "$python" scripts/parity.py compare "$model" "$folder" || bad=1
  rm -rf "$folder"
done
exit $bad
