#!/usr/bin/env bash
# The steps of bench/gemm_staircase.cu are right, every check of the virtual GPU on.
set -euo pipefail
bin=$1
root=$(cd "$(dirname "$0")/.." && pwd)
if [[ ! -e $bin/gemm_staircase || ! -e $bin/../vgpu/libcudart.so.13 ]]; then
  echo "SKIPPED: built without the cuda device"
  exit 0
fi
WEFT_BUILD=$(dirname "$bin") "$root/scripts/vgpu" --check race,uninit "$bin/gemm_staircase" 128 256 64
