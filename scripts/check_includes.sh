#!/usr/bin/env bash
# Checks that includes follow the house's arrows: apps -> models -> nn -> kernels -> tensor; tokenizer and data know only
# tensor; vgpu knows nothing of the rest; kernels/*_cases.cc may use tests/op_check. Also that every room of kernels/ ends
# in record() or no_gradient() and has cases. Prints every violation; exit 1 if there is one.
# Usage: scripts/check_includes.sh [FOLDER]
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

declare -A may=(
  [tensor]="tensor" [kernels]="tensor kernels" [nn]="tensor kernels nn" [models]="tensor kernels nn models"
  [tokenizer]="tensor tokenizer" [data]="tensor data" [vgpu]="vgpu"
  [apps]="tensor kernels nn models tokenizer data apps")
house="tensor kernels nn models tokenizer data apps vgpu tests bench"
bad=0
violation() { echo "$1" >&2; bad=1; }

# An include in quotes starts at the root; one in angle brackets is ours if its first folder is.
for folder in "${!may[@]}"; do
  [[ -d $folder ]] || continue
  while IFS=: read -r file line include; do
    path=${include#*[\"<]}
    path=${path%%[\">]*}
    first=${path%%/*}
    [[ $include == *\"* || " $house " == *" $first "* && $path == */* ]] || continue
    [[ $file == kernels/*_cases.c[cu] && $path == tests/op_check/* ]] && continue
    [[ $path == */* && " ${may[$folder]} " == *" $first "* ]] ||
      violation "$file:$line: $folder may include ${may[$folder]// /, } but includes $path"
  done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include\b' --include='*.h' --include='*.cc' --include='*.cu' --include='*.cuh' "$folder")
done

for room in kernels/*.cc; do
  [[ $room != *_cases.cc && -e $room ]] || continue
  grep -qE '\b(record|no_gradient)\(' "$room" || violation "$room: every op must end in record() or no_gradient()"
  [[ -e ${room%.cc}_cases.cc ]] || violation "$room: its cases ${room%.cc}_cases.cc are missing"
done
exit $bad
