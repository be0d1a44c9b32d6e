#!/usr/bin/env bash
# Fuzzes the readers with clang's libFuzzer, address and undefined-behaviour sanitizers: every target for a while, from the
# seeds in tests/fuzz/seeds and from what earlier runs found (build-fuzz/corpus). Installs clang where it is missing.
# An input that crashes, takes more than 2 seconds of the processor or allocates more than 66 MiB at once is kept in
# build-fuzz/ and ends its target's run; the others go on.
# Usage: scripts/fuzz.sh [-c | -t] [-j JOBS] [SECONDS [TARGET...]]
#   SECONDS  of processor time for each target (default 60); TARGET as in tests/fuzz/TARGET_fuzz.cc (default all)
#   -j JOBS  targets at once (default 1)
#   -c       SECONDS of the clock
#   -t       SECONDS in total: what this program has had before counts (build-fuzz/spent), so that a long run may be ended
#            at any moment and goes on where it was
set -euo pipefail
cd "$(dirname "$0")/.."
usage() { sed -n 's/^# \(Usage:.*\)/\1/p' "$0" >&2; exit 2; }
counted=processor jobs=1
while getopts ctj: option; do
  case $option in
    c) counted=clock ;;
    t) counted=total ;;
    j) jobs=$OPTARG ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
seconds=${1:-60}
[[ $seconds =~ ^[0-9]+$ ]] || { echo "error: a number of seconds was expected but '$seconds' was given" >&2; exit 2; }
[[ $jobs =~ ^[1-9][0-9]*$ ]] || { echo "error: a number of targets at once was expected but '$jobs' was given" >&2; exit 2; }
targets=("${@:2}")
if ((${#targets[@]} == 0)); then
  for source in tests/fuzz/*_fuzz.cc; do
    targets+=("$(basename "$source" _fuzz.cc)")
  done
fi
for target in "${targets[@]}"; do
  [[ -e tests/fuzz/${target}_fuzz.cc ]] || { echo "error: tests/fuzz/${target}_fuzz.cc was expected" >&2; exit 2; }
done

for package in clang libclang-rt-14-dev; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' && continue
  as_root=()
  ((EUID == 0)) || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
done
scripts/build.sh fuzz "${targets[@]/%/_fuzz}"

# Runs TARGET for SECONDS, in slices: libFuzzer knows the clock's time only, and what a slice found and used is kept.
# build-fuzz/spent/TARGET has the program's checksum, its hundredths of a second and its inputs: another program begins at 0.
fuzz_target() {
  local target=$1 limit=$(($2 * 100)) counted=$3 program=build-fuzz/bin/$1_fuzz ledger=build-fuzz/spent/$1 log=build-fuzz/$1.log
  local checksum known spent=0 inputs=0 slice used unit
  checksum=$(sha256sum "$program")
  checksum=${checksum%% *}
  if [[ -e $ledger ]]; then
    read -r known spent inputs <"$ledger"
    [[ $known == "$checksum" ]] || spent=0 inputs=0
  fi
  local before=$spent began=$SECONDS had=0
  [[ $counted != total ]] || had=$spent
  mkdir -p "build-fuzz/corpus/$target" build-fuzz/spent
  while ((had < limit)); do
    slice=$(((limit - had + 99) / 100))
    ((slice < 300)) || slice=300
    # Inputs are of at most 1 MiB: twice that beside the 64 MiB that a reader may take. A program that waits for the
    # processor is not slow: libFuzzer's limit is generous, and what it calls slow is measured alone, in processor time.
    TIMEFORMAT='%U %S'
    used=$({ time "$program" "build-fuzz/corpus/$target" "tests/fuzz/seeds/$target" -max_total_time="$slice" \
      -max_len=1048576 -malloc_limit_mb=66 -rss_limit_mb=1024 -timeout=60 -report_slow_units=2 \
      -artifact_prefix="build-fuzz/$target-" -print_final_stats=1 >"$log" 2>&1; } 2>&1) || {
        tail -n 60 "$log" >&2
        echo "error: $target: an input that it must not fail on is in build-fuzz/$target-*" >&2
        return 1
      }
    for unit in "build-fuzz/$target"-slow-unit-*; do
      [[ -e $unit ]] || continue
      (ulimit -t 2 && "$program" "$unit" >/dev/null 2>&1) ||
        { echo "error: $target: $unit takes more than 2 seconds of the processor" >&2; return 1; }
      rm "$unit"
    done
    spent=$((spent + $(awk '{ printf "%d", ($1 + $2) * 100 }' <<<"$used")))
    inputs=$((inputs + $(awk '/number_of_executed_units/ { print $2 }' "$log")))
    echo "$checksum $spent $inputs" >"$ledger.part"
    mv "$ledger.part" "$ledger"
    case $counted in
      clock) had=$(((SECONDS - began) * 100)) ;;
      processor) had=$((spent - before)) ;;
      total) had=$spent ;;
    esac
  done
  echo "$target: no failure in $(((spent - before) / 100)) s of processor time, $((SECONDS - began)) s of the clock (in all runs of this program $((spent / 100)) s, $inputs inputs)"
}
export -f fuzz_target
printf '%s\0' "${targets[@]}" |
  xargs -0 -P "$jobs" -I{} bash -euo pipefail -c 'fuzz_target "$@"' fuzz_target {} "$seconds" "$counted" || exit 1
