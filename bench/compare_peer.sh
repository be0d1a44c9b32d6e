#!/usr/bin/env bash
# weft and PyTorch side by side: the same architecture, recipe, data and precision, one after the other on the same cores.
# Prints training items/s and peak memory of each, then the cold start of classifying one item.
# Needs, beside scripts/build.sh's packages: python3-torch python3-sentencepiece python3-pil libopenblas0-pthread (Debian).
# Usage: bench/compare_peer.sh DATA [PART]   (DATA: a folder made by weft-prepare emoji; PART of an epoch that PyTorch trains, default 1)
set -euo pipefail
cd "$(dirname "$0")/.."
data=$1 part=${2:-1}
bin=build/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf '%-8s %-5s %10s %14s\n' program dtype items/s "peak MiB"
for dtype in f32 bf16; do
  $bin/weft-train embracenet --data "$data" --out "$work/weft-$dtype" --epochs 1 --dtype "$dtype" >"$work/log" 2>/dev/null
  sed -nE 's/.* ([0-9]+) items\/s, peak memory ([0-9]+) MiB.*/\1 \2/p' "$work/log" | tail -n 1 |
    { read -r rate peak; printf '%-8s %-5s %10s %14s\n' weft "$dtype" "$rate" "$peak"; }
  /usr/bin/python3 bench/peer_pytorch.py --data "$data" --epochs "$part" --dtype "$dtype" --out "$work/peer-$dtype" >"$work/log"
  sed -nE 's/^peak memory ([0-9]+) MiB, ([0-9]+) items\/s.*/\2 \1/p' "$work/log" |
    { read -r rate peak; printf '%-8s %-5s %10s %14s\n' pytorch "$dtype" "$rate" "$peak"; }
done

images=("$data"/images/*.jpg)
image=${images[0]}
best_of_5() {
  local best=1000000 start end i
  for i in 1 2 3 4 5; do
    start=$(date +%s%N)
    "$@" >/dev/null
    end=$(date +%s%N)
    ((end - start < best * 1000)) && best=$(((end - start) / 1000))
  done
  printf '%d.%03d' $((best / 1000000)) $((best / 1000 % 1000))
}
echo
echo "cold start, one picture and one text, best of 5:"
echo "  weft     $(best_of_5 $bin/weft-classify --model "$work/weft-f32" --image "$image" --text "red apple") s"
echo "  pytorch  $(best_of_5 /usr/bin/python3 bench/peer_pytorch.py --classify "$work/peer-f32" --image "$image" --text "red apple") s"
