#!/usr/bin/env bash
# tests/gemm_device_test.cc on the virtual GPU, every check on.
set -euo pipefail
bin=$1
root=$(cd "$(dirname "$0")/.." && pwd)
if [[ ! -e $bin/../vgpu/libcudart.so.13 ]]; then
  echo "SKIPPED: built without the cuda device"
  exit 0
fi
output=$(WEFT_BUILD=$(dirname "$bin") "$root/scripts/vgpu" --check race,uninit "$bin/gemm_device_test")
echo "$output"
if grep -q SKIPPED <<<"$output"; then exit 1; fi
