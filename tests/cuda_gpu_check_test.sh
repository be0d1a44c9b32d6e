#!/usr/bin/env bash
# scripts/gpu_check.sh from end to end without a GPU: its programs run on the virtual GPU, nvidia-smi and
# compute-sanitizer are stand-ins. What it times and what it builds is left out.
# Usage: cuda_gpu_check_test.sh BUILD/bin
set -uo pipefail
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0
fail() {
  echo "FAILED: $1" >&2
  sed 's/^/    /' "$folder/out" "$folder/report.md" >&2
  failures=$((failures + 1))
}
export OMP_WAIT_POLICY=passive VGPU_CHECK=none

# A PATH of its own, so that each tool can be missing.
tools=$folder/tools
mkdir "$tools"
for tool in bash env sed awk tail head cut tr cat tee mktemp mv rm chmod dirname realpath git python3 grep; do
  ln -s "$(command -v $tool)" "$tools/$tool"
done
cat >"$tools/nvidia-smi" <<'SH'
#!/bin/sh
[ "$*" = "--query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader" ] || exit 2
echo "Virtual H100, 580.00, 9.0, 81559 MiB"
echo "Virtual A100, 580.00, 8.0, 40960 MiB"
SH
cat >"$tools/nvcc" <<'SH'
#!/bin/sh
echo "Cuda compilation tools, release 13.0, V13.0.88"
SH
cat >"$tools/compute-sanitizer" <<'SH'
#!/bin/sh
[ "$1" = --tool ] && [ "$3 $4" = "--error-exitcode 1" ] && [ "$WEFT_CUDA_CACHE" = off ] || exit 2
echo "sanitizer $2"
shift 4
exec "$@"
SH
chmod +x "$tools"/nvidia-smi "$tools"/nvcc "$tools"/compute-sanitizer

python3 "$here/classifier_data.py" "$folder/data"
(cd "$folder/data" && spm_train --input=texts.txt --model_prefix=spiece --vocab_size=600 --hard_vocab_limit=false \
  --byte_fallback=true --pad_id=0 --eos_id=1 --unk_id=2 --bos_id=-1 --minloglevel=2 --num_threads=1) || exit 1
options=(--programs "$bin" --op softmax --data "$folder/data" --no-times)
for option in --image-size 8x8 --max-tokens 8 --text-width 8 --text-heads 1 --text-head-size 8 --text-ff 8 \
  --embracement 8 \
  --image-layers 1,1,1,1 --image-planes 4,4,8,8 --image-stem 4 --image-groups 1 --image-width-per-group 64 --batch 8; do
  options+=(--train "$option")
done
run() {
  rm -f "$folder/report.md"
  PATH=$tools LD_LIBRARY_PATH="$(dirname "$bin")/vgpu" bash "$here/../scripts/gpu_check.sh" "$@" >"$folder/out" 2>&1
}
has() { grep -qF -- "$1" "$folder/report.md"; }

run "${options[@]}" "$folder/report.md" || fail "every step should have passed"
for text in "GPU, driver, compute capability, memory: Virtual H100, 580.00, 9.0, 81559 MiB" "- CUDA: 13.0" \
  "not the whole check: --programs $bin --op softmax" "## Every op against f64 truth" "--gemm cublas --conv cudnn" \
  "sanitizer memcheck" "sanitizer racecheck" "sanitizer initcheck" "sanitizer synccheck" \
  "## One epoch on the CPU and on the GPU" "Every step passed."; do
  has "$text" || fail "the report lacks '$text'"
done
[[ $(grep -c '^passed in ' "$folder/report.md") == 7 ]] || fail "seven steps should have passed"
[[ $(grep -c '^modalities ' "$folder/report.md") == 3 ]] ||
  fail "the report lacks the evaluations"

# A tool that is missing fails the job, and the report says which step.
mv "$tools/compute-sanitizer" "$folder"
run "${options[@]}" "$folder/report.md" && fail "compute-sanitizer was missing"
s=compute-sanitizer
has "FAILED: $s memcheck; $s racecheck; $s initcheck; $s synccheck" ||
  fail "the report does not name the steps that failed"
mv "$folder/compute-sanitizer" "$tools"
for tool in nvidia-smi nvcc; do
  mv "$tools/$tool" "$folder"
  run "${options[@]}" "$folder/report.md" && fail "$tool was missing"
  [[ ! -e $folder/report.md && $(wc -l <"$folder/out") == 1 ]] && grep -q "^error: $tool not found" "$folder/out" ||
    fail "$tool was missing: one line and no report were expected"
  mv "$folder/$tool" "$tools"
done

# A program that fails fails its steps alone; a step that cannot build stops what needs its programs.
mkdir "$folder/broken"
cp "$bin"/weft-* "$folder/broken"
printf '#!/bin/sh\necho "op_check: planted"\nexit 3\n' >"$folder/broken/op_check"
chmod +x "$folder/broken/op_check"
run --programs "$folder/broken" "${options[@]:2}" "$folder/report.md" && fail "a failing op_check was accepted"
has "**FAILED** with exit code 3" && has "op_check: planted" &&
  [[ $(grep -c '^passed in ' "$folder/report.md") == 1 ]] ||
  fail "the report of a failing op_check"
run --op
[[ $? == 2 ]] && grep -q '^error: --op takes a value' "$folder/out" || fail "an option without its value"

((failures == 0)) || exit 1
