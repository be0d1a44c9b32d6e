#!/usr/bin/env bash
# weft and PyTorch side by side in accuracy: the same architecture, recipe, data and precision, several seeds each. Prints top-1 of every
# run (expected inference, all items, then those without the category country-flag), then mean and standard deviation of each program.
# Needs, beside scripts/build.sh's packages: python3-torch python3-sentencepiece python3-pil libopenblas0-pthread (Debian).
# Usage: bench/compare_accuracy.sh DATA [OUT [SEED...]]   (DATA: a folder made by weft-prepare emoji; default: build/accuracy 1 2 3)
# About 4 minutes a seed of weft and 12 of PyTorch on two free cores; runs whose figures are in OUT are not repeated.
set -euo pipefail
cd "$(dirname "$0")/.."
data=$1 out=${2:-build/accuracy}
seeds=("${@:3}")
((${#seeds[@]})) || seeds=(1 2 3)
mkdir -p "$out"
for seed in "${seeds[@]}"; do
  if [[ ! -e $out/weft-$seed.json ]]; then
    build/bin/weft-train embracenet --data "$data" --out "$out/weft-$seed" --dtype bf16 --seed "$seed" --quiet
    build/bin/weft-evaluate --model "$out/weft-$seed" --data "$data" --dtype bf16 --json "$out/weft-$seed.json" --quiet >/dev/null
  fi
done
for seed in "${seeds[@]}"; do
  if [[ ! -e $out/pytorch-$seed.json ]]; then
    /usr/bin/python3 bench/peer_pytorch.py --data "$data" --dtype bf16 --seed "$seed" --json "$out/pytorch-$seed.part" >"$out/pytorch-$seed.log"
    mv "$out/pytorch-$seed.part" "$out/pytorch-$seed.json"
  fi
done
python3 - "$out" "${seeds[@]}" <<'PY'
import json, statistics, sys

folder, seeds = sys.argv[1], sys.argv[2:]
columns = [(m, f) for f in (True, False) for m in ("text+image", "image", "text")]


def top1(program, seed):
    """{(modalities, with flags): top-1} of one run."""
    with open(f"{folder}/{program}-{seed}.json") as file:
        figures = json.load(file)
    if program == "pytorch":
        return {(r["modalities"], r["with_flags"]): r["top1"] for r in figures["rows"]}
    tables = {True: figures["rows"], False: figures["rows_without_country_flag"]}
    return {(r["modalities"], f): r["top1"] for f, rows in tables.items() for r in rows
            if r["inference"] == "expected" and r["geo"] == "all"}


print(f"{'program':8} {'seed':>9}" + "".join(f" {m:>11}" for m, f in columns if f) +
      "".join(f" {m + '*':>11}" for m, f in columns if not f))
for program in ("weft", "pytorch"):
    runs = [top1(program, seed) for seed in seeds]
    for seed, run in zip(seeds, runs):
        print(f"{program:8} {seed:>9}" + "".join(f" {run[c]:11.4f}" for c in columns))
    print(f"{program:8} {'mean':>9}" + "".join(f" {statistics.mean(r[c] for r in runs):11.4f}" for c in columns))
    if len(runs) > 1:
        print(f"{program:8} {'deviation':>9}" + "".join(f" {statistics.stdev(r[c] for r in runs):11.4f}" for c in columns))
print("* without the category country-flag")
PY
