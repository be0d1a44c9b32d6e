#!/usr/bin/env bash
# Speed of the virtual GPU on sample kernels (bench/vgpu_kernels.cu), elements or FLOP per second: plain, with counts, with counts and
# all checks. Rates of one core are per second of processor time, so that other programs disturb them little.
# Usage: scripts/vgpu_bench.sh [--cores N] [KERNEL...]      needs nvcc and a finished build
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cores=1
if [[ ${1:-} == --cores ]]; then
  cores=$2
  shift 2
fi
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
[[ -x $nvcc ]] || { echo "error: nvcc was not found" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$nvcc" -std=c++20 -O2 -lineinfo -cudart shared -gencode arch=compute_80,code=compute_80 -Xfatbin -compress=false \
  "$here/bench/vgpu_kernels.cu" -o "$folder/kernels"
clock=()
((cores > 1)) || clock=(--cpu-time)
run() { "$here/scripts/vgpu" --threads "$cores" "$@" "$folder/kernels" --repeat 3 ${clock[@]+"${clock[@]}"} "${kernels[@]}" 2>/dev/null; }
kernels=("$@")
run --check none >"$folder/plain"
run --check none --counts "$folder/counts.json" >"$folder/counted"
run --check all --counts "$folder/counts.json" >"$folder/checked"
printf '%-20s %12s %12s %12s   million per second, %d core(s)\n' kernel plain counts checks "$cores"
paste "$folder/plain" "$folder/counted" "$folder/checked" |
  awk '{ printf "%-20s %12.1f %12.1f %12.1f   %s\n", $1, $2, $8, $14, substr($3, 2, length($3) - 3) }'
