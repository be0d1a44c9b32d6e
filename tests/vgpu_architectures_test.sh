#!/usr/bin/env bash
# The sample kernels against the CPU, from PTX of the architectures that the named GPUs run, with every check on, in two orders.
# (vgpu_generators_test.cc compares those of later architectures.)
# Usage: vgpu_architectures_test.sh BUILD/bin
set -uo pipefail
build=$(cd "$1/.." && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
if [[ ! -x $nvcc || ! -e $build/vgpu/libcudart.so.13 ]]; then
  echo "SKIPPED: nvcc was not found when this was built"
  exit 0
fi
export WEFT_BUILD=$build
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0
for arch in 75 80 90; do
  "$nvcc" -std=c++20 -lineinfo -cudart shared -gencode arch=compute_$arch,code=compute_$arch -Xfatbin -compress=false \
    "$root/bench/vgpu_kernels.cu" -o "$folder/kernels" || exit 1
  options=()
  ((arch >= 80)) || options=(--no-mma)
  for schedule in 0 5; do
    if ! "$root/scripts/vgpu" --schedule $schedule "$folder/kernels" ${options[@]+"${options[@]}"} >"$folder/out" 2>&1 ||
      [[ $(grep -c ' ok$' "$folder/out") != $((8 - ${#options[@]})) ]]; then
      echo "FAILED: compute_$arch, schedule $schedule" >&2
      cat "$folder/out" >&2
      failures=$((failures + 1))
    fi
  done
done
exit $((failures > 0))
