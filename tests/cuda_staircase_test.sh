#!/usr/bin/env bash
# The steps of bench/gemm_staircase.cu are right, every check of the virtual GPU on.
set -euo pipefail
bin=$1
root=$(cd "$(dirname "$0")/.." && pwd)
WEFT_BUILD=$(dirname "$bin") WEFT_CUDA_CACHE=off "$root/scripts/vgpu" "$bin/gemm_staircase" 128 256 64
