#!/usr/bin/env bash
# Builds weft into build/ (programs in build/bin). Installs the Debian packages that are missing (as root or through sudo).
# Usage: scripts/build.sh [release|cuda|asan [TARGET...]]     cuda: release, but without nvcc it is an error
# WEFT_CUDA_ARCH=90 scripts/build.sh: for GPUs of compute capability 9.0 and above (default: 8.0)
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
targets=("${@:2}")

packages=(g++ cmake ninja-build pkg-config libdnnl-dev libstb-dev libutf8proc-dev doctest-dev libcli11-dev nlohmann-json3-dev
  liblz4-dev libzstd-dev zlib1g-dev libjpeg62-turbo-dev libfaiss-dev libopenblas-openmp-dev libfmt-dev libpugixml-dev libfreetype-dev libharfbuzz-dev
  sentencepiece unicode-cldr-core unicode-data fonts-noto-color-emoji fonts-dejavu-core ruby-gemojione python3)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "installing: ${missing[*]}"
  as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "error: ${missing[*]} must be installed: run this as root, or install sudo" >&2; exit 1; }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

command -v nvcc >/dev/null || echo "nvcc not found: building without the cuda device"
cmake --preset "$preset" ${WEFT_CUDA_ARCH:+-DWEFT_CUDA_ARCH="$WEFT_CUDA_ARCH"} >/dev/null
cmake --build --preset "$preset" ${targets:+--target "${targets[@]}"}
