#!/usr/bin/env bash
# On a machine with a real GPU: builds weft for it, runs every check of the cuda device on it, times the kernels beside cuBLAS, cuDNN
# and (where present) PyTorch, and writes one report. Exit 0 only if every step passed; a missing tool is a step that failed.
# Usage: scripts/gpu_check.sh [REPORT]   (default: docs/gpu-report.md)
set -uo pipefail
cd "$(dirname "$0")/.."
report=${1:-docs/gpu-report.md}
failed=()

command -v nvidia-smi >/dev/null || { echo "error: nvidia-smi not found: this machine has no NVIDIA driver; scripts/vgpu needs none" >&2; exit 1; }
command -v nvcc >/dev/null || { echo "error: nvcc not found: the CUDA toolkit 13 must be installed and on PATH" >&2; exit 1; }
gpu=$(nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader | head -1) || exit 1
arch=$(cut -d, -f3 <<<"$gpu" | tr -d ' .')

log=$(mktemp -d) || exit 1
part=$(mktemp "$report.XXXXXX") || exit 1
trap 'rm -f "$part"; rm -rf "$log"' EXIT

say() { echo "$*" | tee -a "$part"; }

# step NAME COMMAND...: runs it, keeps what it printed (the last 400 lines), notes whether it passed.
step() {
  local name=$1 start=$SECONDS
  shift
  say "" && say "## $name" && say "" && say "\`$*\`" && say ""
  if "$@" >"$log/step" 2>&1; then
    say "passed in $((SECONDS - start)) s"
  else
    say "**FAILED** with exit code $? after $((SECONDS - start)) s"
    failed+=("$name")
  fi
  { echo '```'; tail -400 "$log/step"; echo '```'; } >>"$part"
}

say "# weft on a GPU"
say ""
say "- GPU, driver, compute capability, memory: $gpu"
say "- CUDA: $(nvcc --version | sed -n 's/.*release \([^,]*\),.*/\1/p')"
say "- weft: $(git rev-parse --short HEAD 2>/dev/null || echo 'not a git checkout')"

# The classifier on the GPU and on the CPU, from one seed.
training() {
  local data=$log/emoji13 common=(--epochs 1 --quiet --seed 1)
  build/bin/weft-prepare emoji --out "$data" &&
    for device in cpu cuda; do
      build/bin/weft-train embracenet --data "$data" --out "$log/$device" --device "$device" "${common[@]}" &&
        build/bin/weft-evaluate --model "$log/$device" --data "$data" --device "$device" || return 1
    done
}

peer() {
  if python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    python3 bench/peer_gpu.py
  else
    echo "PyTorch with CUDA is not installed here: no comparison"
  fi
}

step "Build" env WEFT_CUDA_ARCH="$arch" scripts/build.sh cuda
if ((${#failed[@]} == 0)); then
  step "Every op against f64 truth" build/bin/op_check test --device cuda
  step "Every op through cuBLAS and cuDNN" build/bin/op_check test --device cuda --gemm cublas --conv cudnn
  for tool in memcheck racecheck initcheck synccheck; do
    step "compute-sanitizer $tool" env WEFT_CUDA_CACHE=off compute-sanitizer --tool "$tool" --error-exitcode 1 build/bin/op_check test --device cuda --seed 1
  done
  step "One epoch on the CPU and on the GPU" training
  step "Times of every op, beside a copy, cuBLAS and cuDNN" build/bin/op_check bench --device cuda
  step "Times of PyTorch at the same sizes" peer
fi

say ""
if ((${#failed[@]})); then
  say "FAILED: $(printf '%s; ' "${failed[@]}")"
else
  say "Every step passed."
fi
chmod 644 "$part" && mv "$part" "$report" && echo "report: $report"
((${#failed[@]} == 0))
