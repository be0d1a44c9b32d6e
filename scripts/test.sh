#!/usr/bin/env bash
# Builds weft and runs every test. Installs the Debian packages that are missing.
# Usage: scripts/test.sh [--asan]     --asan: only the tests of what reads files, with the address and undefined-behaviour sanitizers
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
  '')
    scripts/build.sh
    ctest --test-dir build --output-on-failure
    ;;
  --asan)
    readers=(csv_test glami_test image_test safetensors_test sentencepiece_test params_test checkpoint_test)
    scripts/build.sh asan "${readers[@]}"
    for test in "${readers[@]}"; do build-asan/bin/"$test"; done
    ;;
  *)
    echo "error: --asan or nothing was expected but '$1' was given" >&2
    exit 2
    ;;
esac
