#!/usr/bin/env bash
# The includes follow the house's arrows, and a violation of each kind is seen.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

"$root/scripts/check_includes.sh" || fail "the includes of the repository"

# plant FILE LINE: a tree with that one line in it is refused, naming the file; without it, it is fine.
plant() {
  rm -rf "$folder/tree"
  mkdir -p "$folder/tree"/{tensor,kernels/device,nn,models,tokenizer,data,apps,vgpu}
  echo 'Tensor silu(const Tensor& x) { return record("silu", y, {x}); }' >"$folder/tree/kernels/silu.cc"
  echo '#include "tests/op_check/op_check.h"' >"$folder/tree/kernels/silu_cases.cc"
  printf '#include <vector>\n#include "kernels/silu.h"\n' >"$folder/tree/nn/layers.cc"
  "$root/scripts/check_includes.sh" "$folder/tree" 2>"$folder/stderr" || fail "an empty house: $(cat "$folder/stderr")"
  echo "$2" >>"$folder/tree/$1"
  if "$root/scripts/check_includes.sh" "$folder/tree" 2>"$folder/stderr"; then fail "\"$2\" in $1 was not seen"; fi
  [[ $(wc -l <"$folder/stderr") == 1 && $(cat "$folder/stderr") == "$1"* ]] || fail "$1: $(cat "$folder/stderr")"
}
plant tensor/tensor.cc '#include "kernels/silu.h"'
plant kernels/silu.h '#include "nn/layers.h"'
plant kernels/silu.cc '#include "tests/op_check/op_check.h"'
plant kernels/silu_cases.cc '#include "data/glami.h"'
plant kernels/device/onednn.h '#  include "nn/params.h"'
plant nn/layers.h '#include "models/resnext.h"'
plant nn/layers.h '#include <models/resnext.h>'
plant nn/layers.h '#include "../apps/program.h"'
plant nn/layers.cc '#include "params.h"'
plant models/resnext.cc '#include "data/image.h"'
plant tokenizer/unigram.cc '#include "data/utf8.h"'
plant data/loader.cc '#include "kernels/silu.h"'
plant data/loader.cc '#include "tokenizer/unigram.h"'
plant apps/weft-train.cc '#include "tests/temporary_folder.h"'
plant vgpu/run.cc '#include "tensor/tensor.h"'
plant kernels/gelu_cases.cc '#include "nn/layers.h"'
plant kernels/mish_cases.cu '#include "apps/program.h"'
rm -rf "$folder/tree"
mkdir -p "$folder/tree/kernels"
echo 'Tensor gelu(const Tensor& x) { return y; }' >"$folder/tree/kernels/gelu.cc"
if "$root/scripts/check_includes.sh" "$folder/tree" 2>"$folder/stderr"; then fail "an op without a gradient was not seen"; fi
grep -q 'kernels/gelu.cc: every op must end in record' "$folder/stderr" || fail "$(cat "$folder/stderr")"
grep -q 'gelu_cases.cc are missing' "$folder/stderr" || fail "$(cat "$folder/stderr")"
echo "includes_test: all passed"
