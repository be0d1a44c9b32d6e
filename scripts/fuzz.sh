#!/usr/bin/env bash
# Fuzzes the readers with clang's libFuzzer, address and undefined-behaviour sanitizers: every target for a while, from the
# seeds in tests/fuzz/seeds and from what earlier runs found (build-fuzz/corpus). Installs clang where it is missing.
# An input that crashes, takes more than 2 seconds or allocates more than 66 MiB at once is kept in build-fuzz/ and ends the run.
# Usage: scripts/fuzz.sh [SECONDS [TARGET...]]     SECONDS of each target (default 60); TARGET as in tests/fuzz/TARGET_fuzz.cc
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
[[ $seconds =~ ^[0-9]+$ ]] || { echo "error: a number of seconds was expected but '$seconds' was given" >&2; exit 2; }
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

for target in "${targets[@]}"; do
  mkdir -p "build-fuzz/corpus/$target"
  echo "$target: $seconds s"
  # Leaves twice an input's size beside the 64 MiB that a reader may take; inputs are of at most 1 MiB.
  "build-fuzz/bin/${target}_fuzz" "build-fuzz/corpus/$target" "tests/fuzz/seeds/$target" -max_total_time="$seconds" -max_len=1048576 \
    -malloc_limit_mb=66 -rss_limit_mb=1024 -timeout=2 -artifact_prefix="build-fuzz/$target-" -print_final_stats=1 2>"build-fuzz/$target.log" ||
    { tail -n 60 "build-fuzz/$target.log" >&2; echo "error: $target: an input that it must not fail on is in build-fuzz/$target-*" >&2; exit 1; }
  grep -E 'number_of_executed_units|peak_rss_mb|cov:' "build-fuzz/$target.log" | tail -n 3
done
