#!/usr/bin/env bash
# On a machine with a real GPU: builds weft for it, runs every check of the cuda device on it, times the kernels beside
# cuBLAS, cuDNN and (where present) PyTorch, and writes one report. Exit 0 only if every step passed; a missing tool is
# a step that failed.
# Usage: scripts/gpu_check.sh [REPORT]   (default: docs/gpu-report.md)
# For a look at single parts, which the report says:
#   --programs DIR   programs that were built before; nothing is built
#   --op NAME        checks and times of this op only
#   --data DIR       trains on this folder in place of emoji13
#   --train OPTION   one more option of weft-train; may be given several times
#   --no-times       nothing is timed
set -uo pipefail
usage() { sed -n '2,/^set /p' "$0" | sed '/^set /d; s/^# \{0,1\}//'; }
wrong() { echo "error: $1; see scripts/gpu_check.sh --help" >&2; exit 2; }

op=() train=() programs="" data="" times=1 report="" only=()
while (($#)); do
  case $1 in
    --programs | --op | --data | --train)
      (($# >= 2)) && [[ -n $2 ]] || wrong "$1 takes a value"
      only+=("$1 $2")
      case $1 in
        --programs) programs=$(realpath -- "$2") || exit 1 ;;
        --op) op=(-o "$2") ;;
        --data) data=$(realpath -- "$2") || exit 1 ;;
        --train) train+=("$2") ;;
      esac
      shift 2
      ;;
    --no-times) times=0 only+=("$1") && shift ;;
    -h | --help) usage && exit 0 ;;
    -*) wrong "unknown option $1" ;;
    *)
      [[ -z $report ]] || wrong "one report was expected but there are '$report' and '$1'"
      report=$(realpath -m -- "$1")
      shift
      ;;
  esac
done
cd "$(dirname "$0")/.." || exit 1
report=${report:-$PWD/docs/gpu-report.md}
bin=${programs:-build/bin}
failed=()

command -v nvidia-smi >/dev/null ||
  { echo "error: nvidia-smi not found: this machine has no NVIDIA driver; scripts/vgpu needs none" >&2; exit 1; }
command -v nvcc >/dev/null ||
  { echo "error: nvcc not found: the CUDA toolkit 13 must be installed and on PATH" >&2; exit 1; }
gpus=$(nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader) ||
  { echo "error: nvidia-smi failed: $gpus" >&2; exit 1; }
gpu=${gpus%%$'\n'*}
arch=$(cut -d, -f3 <<<"$gpu" | tr -d ' .')
[[ $arch =~ ^[0-9]+$ ]] || { echo "error: nvidia-smi gave no compute capability but '$gpu'" >&2; exit 1; }

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
((${#only[@]} == 0)) || say "- not the whole check: ${only[*]}"

# The classifier on the CPU and on the GPU, there also with its steps as graphs, from one seed.
training() {
  local common=(--epochs 1 --quiet --seed 1 --items-per-image 1 ${train[@]+"${train[@]}"}) run
  [[ -n $data ]] || { data=$log/emoji13 && "$bin/weft-prepare" emoji --out "$data"; } || return 1
  for run in "cpu" "cuda" "cuda --graph"; do
    # shellcheck disable=SC2086
    "$bin/weft-train" embracenet --data "$data" --out "$log/model $run" --device $run "${common[@]}" &&
      "$bin/weft-evaluate" --model "$log/model $run" --data "$data" --device "${run% --graph}" || return 1
  done
}

peer() {
  if python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    python3 bench/peer_gpu.py
  else
    echo "PyTorch with CUDA is not installed here: no comparison"
  fi
}

[[ -n $programs ]] || step "Build" env WEFT_CUDA_ARCH="$arch" scripts/build.sh cuda
if ((${#failed[@]} == 0)); then
  check=("$bin/op_check" test --device cuda ${op[@]+"${op[@]}"})
  step "Every op against f64 truth" "${check[@]}"
  step "Every op through cuBLAS and cuDNN" "${check[@]}" --gemm cublas --conv cudnn
  for tool in memcheck racecheck initcheck synccheck; do
    step "compute-sanitizer $tool" env WEFT_CUDA_CACHE=off \
      compute-sanitizer --tool "$tool" --error-exitcode 1 "${check[@]}" --seed 1
  done
  step "One epoch on the CPU and on the GPU" training
  if ((times)); then
    step "Times of every op, beside a copy, cuBLAS and cuDNN" "$bin/op_check" bench --device cuda ${op[@]+"${op[@]}"}
    step "Times of PyTorch at the same sizes" peer
  fi
fi

say ""
if ((${#failed[@]})); then
  say "FAILED: $(printf '%s; ' "${failed[@]}")"
else
  say "Every step passed."
fi
chmod 644 "$part" && mv "$part" "$report" && echo "report: $report"
((${#failed[@]} == 0))
