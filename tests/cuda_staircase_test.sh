#!/usr/bin/env bash
# The steps of bench/gemm_staircase.cu are right, every check of the virtual GPU on; so is the one of bench/gemm_hopper.cu,
# whose counts are what its comments say.
set -euo pipefail
bin=$1
root=$(cd "$(dirname "$0")/.." && pwd)
export WEFT_BUILD WEFT_CUDA_CACHE=off
WEFT_BUILD=$(dirname "$bin")
"$root/scripts/vgpu" "$bin/gemm_staircase" 128 256 64
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
vgpu=("$root/scripts/vgpu" --gpu h100)
"${vgpu[@]}" --counts "$folder/counts.json" "$bin/gemm_hopper" 256 128 192
"${vgpu[@]}" --schedule 1 "$bin/gemm_hopper" 200 136 328  # tiles that do not fill; the ring goes round
"${vgpu[@]}" --schedule 2 "$bin/gemm_hopper" 1 8 8
python3 - "$folder/counts.json" <<'PY'
import json, sys
kernel, = json.load(open(sys.argv[1]))["kernels"]
total, M, N, K = kernel["total"], 256, 128, 192
blocks, stages = M // 128 * (N // 128), K // 64
assert total["flop_tensor"] == 2 * M * N * K, total
# Both factors' tiles once a block, the result once; whole sectors, no bank conflicts, no spills.
assert total["global_bytes"] == blocks * (stages * 2 * 128 * 64 * 2 + 128 * 128 * 2), total
assert total["global_sectors"] == total["global_sectors_min"] == total["global_bytes"] // 32, total
assert total["shared_wavefronts"] == total["shared_wavefronts_min"], total
assert kernel["spilled_bytes"] == 0 and kernel["unique_read_bytes"] == 2 * (M * K + K * N), kernel
products = sum(line["instructions"] for line in kernel["lines"] if line["flop_tensor"])
assert products == blocks * stages * 8 * 4, products  # of each warp: 8 products a stage and block, 4 warps each
PY
