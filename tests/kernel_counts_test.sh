#!/usr/bin/env bash
# The kernels execute exactly what tests/golden/kernel_counts.json says.
set -euo pipefail
bin=$1
root=$(cd "$(dirname "$0")/.." && pwd)
if [[ ! -e $bin/kernel_counts || ! -e $bin/../vgpu/libcudart.so.13 ]]; then
  echo "SKIPPED: built without the cuda device"
  exit 0
fi
WEFT_BUILD=$(dirname "$bin") "$root/scripts/kernel_counts.py"
