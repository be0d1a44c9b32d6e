#!/usr/bin/env bash
# Builds weft and runs every test. Installs the Debian packages that are missing.
# Usage: scripts/test.sh [--asan [readers]]
#   --asan           with the address and undefined-behaviour sanitizers, the tests in which memory is handled by hand: readers of
#                    files, tensors, every op of the CPU, parameters, optimisers and checkpoints
#   --asan readers   only those of what reads other people's files and their fuzz targets without a fuzzer, which need no kernels
set -euo pipefail
cd "$(dirname "$0")/.."
readers=(csv_test glami_test image_test npy_test safetensors_test sentencepiece_test tensor_file_test tokenizers_test torch_file_test)
engine=(tensor_test autograd_test onednn_test norm_test attention_test places_test layers_test params_test optimizers_test checkpoint_test)
case $* in
  '')
    scripts/build.sh
    ctest --test-dir build --output-on-failure
    ;;
  '--asan readers')
    fuzz=()
    for source in tests/fuzz/*_fuzz.cc; do fuzz+=("$(basename "$source" _fuzz.cc)"); done
    scripts/build.sh asan "${readers[@]}" "${fuzz[@]/%/_fuzz}"
    for test in "${readers[@]}"; do build-asan/bin/"$test"; done
    for target in "${fuzz[@]}"; do build-asan/bin/"${target}_fuzz" "tests/fuzz/seeds/$target"; done
    ;;
  --asan)
    scripts/build.sh asan "${readers[@]}" "${engine[@]}" op_check
    for test in "${readers[@]}" "${engine[@]}"; do build-asan/bin/"$test"; done
    build-asan/bin/op_check test
    ;;
  *)
    echo "error: --asan [readers] or nothing was expected but '$*' was given" >&2
    exit 2
    ;;
esac
