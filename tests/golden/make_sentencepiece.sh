#!/usr/bin/env bash
# Makes SentencePiece models from Unicode CLDR's annotations with Debian's sentencepiece.
# Usage: make_sentencepiece.sh             rewrites the committed models, and what the library makes of the texts
#        make_sentencepiece.sh nfkc DIR    models with the library's own character maps (250 KB each), into DIR
set -euo pipefail
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "$0")" && pwd)
annotations=/usr/share/unicode/cldr/common/annotations
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Every fourth annotation of six languages, in Latin, Greek and Cyrillic script.
for language in cs el hu bg es tr; do
  sed -n 's/.*<annotation cp="[^"]*"[^>]*>\(.*\)<\/annotation>.*/\1/p' "$annotations/$language.xml"
done | sed 's/ | /, /g' | awk 'NR % 4 == 0' >corpus.txt

train() {  # NAME [OPTION...]
  local name=$1
  shift
  spm_train --input=corpus.txt --model_prefix="$name" --vocab_size=700 --hard_vocab_limit=false --num_threads=1 "$@" \
    >"$name.log" 2>&1 || { cat "$name.log" >&2; return 1; }
}
mt5=(--byte_fallback --pad_id=0 --eos_id=1 --unk_id=2 --bos_id=-1)

if [[ ${1:-} == nfkc ]]; then
  train nmt_nfkc_bytes "${mt5[@]}"
  train nmt_nfkc --normalization_rule_name=nmt_nfkc '--user_defined_symbols=ﬁ,Ａｂｃ,<mask>,é'
  train nmt_nfkc_cf --normalization_rule_name=nmt_nfkc_cf
  train nfkc_suffix --normalization_rule_name=nfkc --treat_whitespace_as_suffix
  train bpe_nmt_nfkc --model_type=bpe --normalization_rule_name=nmt_nfkc '--user_defined_symbols=ﬁ,<mask>,abab'
  cp ./*.model "$2"
  exit
fi

# Rules small enough to commit: ligatures, case, composition, deletion, one space to two; and back in decoding.
printf '%s\n' $'66 69\t66' $'FB01\t66 69' $'41\t61' $'41 301\t E1' $'61 301\tE1' $'A0\t20' $'200B\t' $'2026\t2E 20 2E' \
  $'3000\t20 20' >rules.tsv
printf '%s\n' $'E1\t61 301' $'2E 20 2E\t2026' >back.tsv
train rules "${mt5[@]}" --normalization_rule_tsv=rules.tsv --denormalization_rule_tsv=back.tsv \
  '--user_defined_symbols=ﬁ'
train identity --normalization_rule_name=identity
train symbols --normalization_rule_name=identity \
  '--user_defined_symbols=<mask>,▁▁, x ,ča,čau,■,e' '--control_symbols=<cs>,<hu>'
train suffix --normalization_rule_name=identity --treat_whitespace_as_suffix
train spaces --normalization_rule_name=identity --add_dummy_prefix=false --remove_extra_whitespaces=false \
  --allow_whitespace_only_pieces=true --split_by_whitespace=false
train bpe --model_type=bpe --normalization_rule_name=identity '--user_defined_symbols=<mask>, x ,ča,čau,■'
train bpe_bytes --model_type=bpe "${mt5[@]}" --normalization_rule_tsv=rules.tsv

mkdir -p "$here/sentencepiece"
cd "$here/sentencepiece"
for model in "$work"/*.model; do
  name=$(basename "$model" .model)
  cp "$model" .
  spm_encode --model="$name.model" --output_format=id <"$here/sentencepiece_texts.txt" >"$name.ids"
  spm_decode --model="$name.model" --input_format=id <"$name.ids" >"$name.txt"
done
