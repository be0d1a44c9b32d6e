#!/usr/bin/env bash
# The virtual GPU as a user runs it: programs that must work, and planted errors that must each be reported as what they
# are, at the lines marked "expect: KIND". Usage: vgpu_test.sh BUILD/bin
set -uo pipefail
build=$(cd "$1/.." && pwd)
here=$(cd "$(dirname "$0")" && pwd)
programs=$build/vgpu/programs
if [[ ! -d $programs ]]; then
  echo "SKIPPED: nvcc was not found when this was built"
  exit 0
fi
export WEFT_BUILD=$build
vgpu=$here/../scripts/vgpu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0
fail() {
  echo "FAILED: $1" >&2
  sed 's/^/    /' "$folder/out" "$folder/err" >&2
  failures=$((failures + 1))
}
# errors.cu copies too much on purpose, and is told so beside the error code.
no_report() { ! grep -qv '^vgpu: out of bounds: copy from of 1200 bytes' "$folder/err"; }
run() { "$vgpu" "$@" >"$folder/out" 2>"$folder/err"; }

# Programs that are right, in order and in drawn orders, on every GPU.
for program in saxpy reduction streams graphs managed printing errors cublas cudnn; do
  [[ -x $programs/$program || ! $program =~ ^cu ]] || continue  # the library is not installed here
  for options in "" "--schedule 1" "--schedule 2 --gpu a100" "--gpu rtx4090 --check none"; do
    # shellcheck disable=SC2086
    run $options "$programs/$program" && [[ $(tail -1 "$folder/out") == ok ]] && no_report ||
      fail "$program with '$options' did not end with ok, exit 0 and no report"
  done
done

for program in "$programs"/hopper_*; do
  for options in "" "--schedule 1" "--schedule 2 --threads 1" "--check none"; do
    # shellcheck disable=SC2086
    run --gpu h100 $options "$program" && [[ $(tail -1 "$folder/out") == ok ]] && no_report ||
      fail "$(basename "$program") with '$options' did not end with ok, exit 0 and no report"
  done
done

run "$programs/printing"
[[ $(grep -c '^block [01] thread \(0\|32\): \(0.00\|16.00\) text$' "$folder/out") == 4 ]] || fail "device printf"
run "$programs/printing" assert && fail "a failed assertion ended with 0"
line=$(grep -n 'expect: assert' "$here/vgpu/printing.cu" | cut -d: -f1)
grep -q '^asserted$' "$folder/out" && grep -q "printing.cu:$line: .*assertion" "$folder/err" ||
  fail "the assertion's report"

# Planted errors: reported with their kind and line, exit 1; nothing to report once they are fixed.
for source in "$here"/vgpu/bug_*.cu; do
  name=$(basename "$source" .cu)
  [[ -x $programs/$name || ! $name =~ cublas ]] || continue
  for options in "" "--schedule 1"; do
    # shellcheck disable=SC2086
    run $options "$programs/$name" && fail "$name $options: not reported"
    kind=$(grep -o 'expect: .*' "$source" | head -1 | cut -d' ' -f2-)
    grep -q "^vgpu: $kind" "$folder/err" || fail "$name $options: not reported as \"$kind\""
    # A leak, an access of the host and a library call have no line.
    lines=$(grep -n 'expect:' "$source" | cut -d: -f1)
    [[ $kind != leak && $kind != "host access" && ! $name =~ cublas ]] || lines=""
    for line in $lines; do
      grep -q "$name.cu:$line\b" "$folder/err" || fail "$name $options: line $line is not in the report"
    done
    # shellcheck disable=SC2086
    run $options "$programs/$name" fixed && no_report || fail "$name $options: a report although fixed"
  done
done
run --check none "$programs/bug_race_shared" || fail "--check none still looks for races"

# A missing dependency between streams is right in the order of the calls; some seed shows it, and none does once it is
# there.
run "$programs/missing_wait" || fail "streams in the order of the calls"
shown=0
for seed in 1 2 3 4 5 6 7 8; do
  run --schedule $seed "$programs/missing_wait" || shown=$((shown + 1))
  run --schedule $seed "$programs/missing_wait" fixed || fail "seed $seed breaks a program that waits"
done
((shown > 0)) || fail "no seed shows that a stream does not wait for another"

# What bad input gets: one line, exit 1 (2 for wrong usage).
run "$programs/unsupported" && fail "a call that is lacking was accepted"
[[ $(wc -l <"$folder/err") == 1 ]] && grep -q 'cudaMallocArray' "$folder/err" ||
  fail "the call that is lacking is not named"
run "$programs/unsupported_instruction"
[[ $? == 1 ]] && grep -q "unsupported instruction.*'discard'" "$folder/err" || fail "an instruction that is lacking"
run "$programs/no_ptx"
[[ $? == 1 && $(wc -l <"$folder/err") == 1 ]] && grep -q 'programs/no_ptx has no PTX' "$folder/err" ||
  fail "a program without PTX"
run --bogus "$programs/saxpy"
[[ $? == 2 ]] || fail "an unknown option"
run --schedule x "$programs/saxpy"
[[ $? == 2 ]] || fail "a seed that is no number"
run --gpu tpu "$programs/saxpy"
[[ $? == 1 ]] && grep -q h100 "$folder/err" || fail "an unknown GPU"
WEFT_BUILD=$folder run "$programs/saxpy"
[[ $? == 1 ]] && grep -q 'scripts/build.sh' "$folder/err" || fail "a build without the virtual GPU"
run /bin/ls
[[ $? == 1 ]] && grep -q 'cudart shared' "$folder/err" || fail "a program without the CUDA runtime"

# Counts: exact, and the same with any number of cores.
run --counts "$folder/counts.json" --report "$folder/counts.html" --threads 1 "$programs/saxpy" || fail "counts"
cp "$folder/counts.json" "$folder/first.json"
run --counts "$folder/counts.json" --threads 2 "$programs/saxpy" && cmp -s "$folder/counts.json" "$folder/first.json" ||
  fail "the counts depend on the number of cores"
python3 - "$folder/counts.json" <<'PY' || fail "the counts of saxpy"
import json, sys
report = json.load(open(sys.argv[1]))
kernel, = report["kernels"]
total = kernel["total"]
# 1,000 elements: x and y are read, y is written; 125 sectors each, all of them full.
assert kernel["name"] == "saxpy" and kernel["launches"] == 1 and kernel["grid"] == [4, 1, 1], kernel
assert total["flop_fma"] == 2000 and total["global_bytes"] == 12000, total
assert total["global_sectors"] == total["global_sectors_min"] == 375, total
assert kernel["unique_read_bytes"] == 8000 and kernel["unique_written_bytes"] == 4000, kernel
assert kernel["registers"] > 0 and kernel["spilled_bytes"] == 0 and kernel["occupancy"] == 1, kernel
assert abs(kernel["bound_seconds"] - 12000 / 3.35e12) < 1e-12 or kernel["bound_limit"] != "memory", kernel
assert any(line["file"].endswith("saxpy.cu") and line["flop_fma"] == 2000 for line in kernel["lines"]), kernel["lines"]
PY
grep -q 'bound, not a time' "$folder/counts.html" && grep -q 'y\[i\] = a \* x\[i\]' "$folder/counts.html" ||
  fail "the page lacks its notice or the source"

((failures == 0)) || exit 1
