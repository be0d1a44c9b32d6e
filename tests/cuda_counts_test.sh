#!/usr/bin/env bash
# The kernels execute what tests/golden/kernel_counts.json says: exactly, but for what nvcc's own variation moves.
set -euo pipefail
bin=$1
root=$(cd "$(dirname "$0")/.." && pwd)
WEFT_BUILD=$(dirname "$bin") "$root/scripts/kernel_counts.py"
