#!/usr/bin/env bash
# weft-tokenize as a user runs it, and against spm_encode on every CLDR annotation of sixteen languages.
# Usage: tests/tokenize_test.sh FOLDER_OF_PROGRAMS
set -uo pipefail
export LC_ALL=C.UTF-8
bin=$(cd "$1" && pwd)
golden=$(cd "$(dirname "$0")/golden" && pwd)
models=$golden/sentencepiece
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

expect() {  # EXIT_CODE STDOUT STDERR COMMAND...: the exact output and error of a command whose input is the file `in`
  local code=$1 out=$2 err=$3
  shift 3
  "$@" <in >got.out 2>got.err
  local got=$?
  if [[ $got != "$code" || $(cat got.out) != "$out" || $(cat got.err) != "$err" ]]; then
    echo "FAILED: $*: exit $got, expected $code; stdout: $(head -c 300 got.out); stderr: $(cat got.err)"
    failures=$((failures + 1))
  fi
}

printf 'ča, ča\n\nx' >in
ids=$(spm_encode --model="$models/rules.model" --output_format=id <in)
expect 0 "$ids" "" "$bin/weft-tokenize" --model "$models/rules.model"
eos=$(spm_encode --model="$models/rules.model" --output_format=id --extra_options=eos <in)
expect 0 "$eos" "" "$bin/weft-tokenize" --model "$models/rules.model" --eos
mkdir folder && cp "$models/rules.model" folder/spiece.model
expect 0 "$ids" "" "$bin/weft-tokenize" --model folder
printf '%s\n' "$ids" >in
expect 0 $'ča, ča\n\nx' "" "$bin/weft-tokenize" --model folder --decode
: >in
expect 0 "" "" "$bin/weft-tokenize" --model folder

printf '5 6\n7 x8\n' >in
expect 1 "$(spm_decode --model="$models/rules.model" --input_format=id <<<"5 6")" \
  'error: standard input: line 2: expected ids from 0 to 699, found "x8"' "$bin/weft-tokenize" --model folder --decode
echo '99999999999999999999' >in
expect 1 "" 'error: standard input: line 1: expected ids from 0 to 699, found "99999999999999999999"' \
  "$bin/weft-tokenize" --model folder --decode
expect 1 "" "error: nowhere.model: expected a SentencePiece model, found no such file" \
  "$bin/weft-tokenize" --model nowhere.model
head -c 5000 folder/spiece.model >cut.model
"$bin/weft-tokenize" --model cut.model <in >got.out 2>got.err
[[ $? == 1 && ! -s got.out && $(wc -l <got.err) == 1 && $(cat got.err) == "error: cut.model: byte "*": expected "*", found "* ]] ||
  { echo "FAILED: cut.model: $(cat got.err)"; failures=$((failures + 1)); }
expect 2 "" "error: --model is required (see --help)" "$bin/weft-tokenize"
expect 2 "" "error: --decode excludes --eos (see --help)" "$bin/weft-tokenize" --model folder --decode --eos
[[ $("$bin/weft-tokenize" --help) == *"Example: "*weft-tokenize* ]] || { echo "FAILED: --help"; failures=$((failures + 1)); }
if [[ -w /dev/full ]]; then
  "$bin/weft-tokenize" --model folder <"$golden/sentencepiece_texts.txt" >/dev/full 2>got.err
  [[ $? == 1 && $(cat got.err) == "error: cannot write to standard output: "* ]] ||
    { echo "FAILED: full disk: $(cat got.err)"; failures=$((failures + 1)); }
fi

for language in cs sk ro el sl hu hr es lt lv tr et bg en ja ar; do
  sed -n 's/.*<annotation cp="[^"]*"[^>]*>\(.*\)<\/annotation>.*/\1/p' \
    "/usr/share/unicode/cldr/common/annotations/$language.xml"
done >texts
for model in "$models"/*.model; do
  spm_encode --model="$model" --output_format=id <texts >expected
  "$bin/weft-tokenize" --model "$model" <texts >got
  cmp expected got || { echo "FAILED: $(basename "$model") on CLDR"; failures=$((failures + 1)); }
done
echo "$(wc -l <texts) texts compared, $failures failures"
((failures == 0))
