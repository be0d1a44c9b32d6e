#!/usr/bin/env bash
# Speed of the virtual GPU on sample kernels (bench/vgpu_kernels.cu), elements or FLOP per second: plain, with counts, with counts and
# all checks. Each line runs for a second at least, or --seconds S. Rates of one core are per second of processor time, so that other
# programs disturb them little. Rates of several are by the clock; "busy" says how many cores the checked run really had, and "a core"
# is its rate for each of them, to be held against one core's.
# Usage: scripts/vgpu_bench.sh [--cores N] [--seconds S] [KERNEL...]      needs nvcc and a finished build
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cores=1 seconds=1
while [[ ${1:-} == --cores || ${1:-} == --seconds ]]; do
  [[ $1 == --cores ]] && cores=$2 || seconds=$2
  shift 2
done
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
[[ -x $nvcc ]] || { echo "error: nvcc was not found" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$nvcc" -std=c++20 -O2 -lineinfo -cudart shared -gencode arch=compute_80,code=compute_80 -Xfatbin -compress=false \
  "$here/bench/vgpu_kernels.cu" -o "$folder/kernels"
clock=()
((cores > 1)) || clock=(--cpu-time)
run() { "$here/scripts/vgpu" --threads "$cores" "$@" "$folder/kernels" --seconds "$seconds" ${clock[@]+"${clock[@]}"} "${kernels[@]}" 2>/dev/null; }
kernels=("$@")
run --check none >"$folder/plain"
run --check none --counts "$folder/counts.json" >"$folder/counted"
run --check all --counts "$folder/counts.json" >"$folder/checked"
printf '%-20s %10s %10s %10s %6s %10s   million per second, %d core(s)\n' kernel plain counts checks busy 'a core' "$cores"
paste "$folder/plain" "$folder/counted" "$folder/checked" |
  awk -v cores="$cores" '{
    printf "%-20s %10.1f %10.1f %10.1f %6.2f %10.1f   %s\n", $1, $2, $10, $18, $21, (cores > 1) ? $18 / $21 : $18, substr($3, 2, length($3) - 3)
  }'
