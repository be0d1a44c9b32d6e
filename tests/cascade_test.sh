#!/usr/bin/env bash
# weft-train cascade and weft-generate as a user runs them, on a tiny data set: the same bytes in every run and after an interrupt,
# pictures that repeat from their own parameters, and one line of error for what cannot be.
set -euo pipefail
shopt -s inherit_errexit
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
source "$here/as_a_user.bash"
# A team of threads that spins at every barrier needs the machine for itself.
export OMP_WAIT_POLICY=passive

# expect CODE TEXT COMMAND...: the exit code and exactly one line of error, which holds TEXT; notes may stand beside it
expect() {
  local code=$1 text=$2 got=0
  shift 2
  "$@" >"$folder/stdout" 2>"$folder/stderr" || got=$?
  [[ $got == "$code" ]] || fail "$*: exit code $got, expected $code: $(cat "$folder/stderr")"
  [[ $(grep -c '^error: ' "$folder/stderr") == 1 ]] || fail "$*: not one line of error: $(cat "$folder/stderr")"
  grep -qF -- "$text" "$folder/stderr" || fail "$*: \"$text\" expected, found: $(cat "$folder/stderr")"
}
same() { cmp "$1" "$2" || fail "$3"; }

data=$folder/data
python3 "$here/classifier_data.py" "$data"
(cd "$data" && spm_train --input=texts.txt --model_prefix=spiece --vocab_size=600 --hard_vocab_limit=false --byte_fallback=true --pad_id=0 \
  --eos_id=1 --unk_id=2 --bos_id=-1 --minloglevel=2 --num_threads=1)
sizes=(--steps 8 --batch 2 --sketch-steps 3 --sample-every 4 --sample-count 4 --sample-steps 2 --seed 3 --threads 2)
train() { "$bin/weft-train" cascade --data "$data" --out "$@" --quiet; }
draw() { "$bin/weft-generate" --model "$folder/model" --steps 2 --quiet "$@"; }

# --- Training: what it leaves, and the same bytes again after an interrupt.
train "$folder/model" "${sizes[@]}"
(cd "$folder/model" && [[ $(find . -type f | sort | tr '\n' ' ') == "./config.json ./losses.csv ./losses.png ./model.safetensors \
./samples/step_000004.png ./samples/step_000008.png ./spiece.model ./text_encoder/config.json ./text_encoder/model.safetensors " ]]) ||
  fail "files: $(find "$folder/model" -type f)"
[[ $(wc -l <"$folder/model/losses.csv") == 17 ]] || fail "losses.csv: $(cat "$folder/model/losses.csv")"
"$bin/weft-train" cascade --data "$data" --out "$folder/stopped" "${sizes[@]}" --quiet 2>"$folder/stderr" &
trainer=$!
for ((i = 0; i < 6000; ++i)); do
  [[ ! -e $folder/stopped/samples/step_000004.png ]] || break
  kill -0 $trainer 2>/dev/null || fail "training ended by itself: $(cat "$folder/stderr")"
  sleep 0.01
done
kill -INT $trainer
got=0; wait $trainer || got=$?
[[ $got == 1 ]] && grep -qE '^error: interrupted at step [4-8] of 8; --resume' "$folder/stderr" || fail "Ctrl-C: $got $(cat "$folder/stderr")"
expect 1 "other settings" train "$folder/stopped" "${sizes[@]}" --resume --lr 0.5
train "$folder/stopped" "${sizes[@]}" --resume
for file in model.safetensors text_encoder/model.safetensors losses.csv samples/step_000008.png; do
  same "$folder/model/$file" "$folder/stopped/$file" "stopped and resumed, $file is another"
done
expect 1 "finished model" train "$folder/stopped" "${sizes[@]}" --resume

# What the texts' sketches are worth before the first step: little after 2 steps of theirs, more after 60.
sketched() {
  "$bin/weft-train" cascade --data "$data" --out "$folder/sketched" --unet 0 --steps 1 --batch 2 --sample-every 0 --seed 3 --threads 2 \
    --sketch-steps "$1" >"$folder/stdout" 2>&1 || fail "sketches: $(cat "$folder/stdout")"
  sed -n 's/.*sketches: loss \([0-9.]*\) after.*/\1/p' "$folder/stdout"
}
first=$(sketched 2)
last=$(sketched 60)
awk -v first="$first" -v last="$last" 'BEGIN { exit !(last > 0 && last < 0.5 * first) }' || fail "sketches: loss $first, then $last"
# One UNet alone, in bf16, in parts of a batch, stored in half the bytes, on the text encoder of another model.
train "$folder/upper" "${sizes[@]}" --unet 1 --dtype bf16 --accumulate 2 --store bf16 --text-encoder "$folder/model"
(($(stat -c %s "$folder/upper/model.safetensors") * 19 < $(stat -c %s "$folder/model/model.safetensors") * 10)) || fail "--store bf16 does not halve the file"

# From the first model's weights: what is not trained stays as it was.
train "$folder/more" "${sizes[@]}" --unet 1 --start "$folder/model" --text-encoder "$folder/model"
for file in model.safetensors text_encoder/model.safetensors; do
  head -c 4000 "$folder/more/$file" | grep -qaF '"format":"pt"' || fail "$file: transformers wants to be told whose tensors they are"
done
same "$folder/model/text_encoder/model.safetensors" "$folder/more/text_encoder/model.safetensors" "a frozen text encoder changed"
python3 - "$folder/model/model.safetensors" "$folder/more/model.safetensors" <<'PY'
import json, struct, sys
def tensors(path):
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]] for name, t in header.items()}
before, after = map(tensors, sys.argv[1:])
assert before.keys() == after.keys()
changed = {name.split(".")[1] for name in before if before[name] != after[name]}
assert changed == {"1"}, changed
PY

# --- Drawing.
# No parameter is the default, so that one which the picture does not keep shows.
draw --text "ab" --text "" --text "ab" --count 2 --seed 4 --sampler ddpm --guidance 2.5 --compat glami --dtype bf16 --out "$folder/grid.png" \
  2>"$folder/stderr"
grep -qF "text 2: it is empty" "$folder/stderr" || fail "an empty text goes unmentioned"
"$bin/weft-generate" --model "$folder/model" --from "$folder/grid.png" --quiet --out "$folder/again.png" 2>/dev/null
same "$folder/grid.png" "$folder/again.png" "--from does not repeat the picture"
for parameter in "--seed 5" "--steps 3" "--sampler ddim" "--guidance 3" "--compat fixed" "--dtype f32"; do
  # shellcheck disable=SC2086
  "$bin/weft-generate" --model "$folder/model" --from "$folder/grid.png" $parameter --quiet --out "$folder/other.png" 2>/dev/null
  ! cmp -s "$folder/grid.png" "$folder/other.png" || fail "--from with $parameter draws the same picture"
done
draw --from "$folder/grid.png" --text "ab" --count 1 --preview "$folder/preview.png" --dtype bf16 --out "$folder/one.png"
[[ -s $folder/one.png && -s $folder/preview.png ]] || fail "no picture or no preview"
draw --text "$(printf 'word %.0s' {1..60})" --out "$folder/long.png" 2>"$folder/stderr"
grep -qF "text 1: cut to the 24 tokens" "$folder/stderr" || fail "a cut text goes unmentioned"
"$bin/weft-generate" --model "$folder/model" --text a --steps 10000 --quiet --batch 1 --count 2 --out "$folder/none.png" 2>"$folder/stderr" &
drawer=$!
wait_until_catching $drawer
kill -INT $drawer
got=0; wait $drawer || got=$?
[[ $got == 1 && ! -e $folder/none-1.png ]] && grep -qF "error: interrupted at step" "$folder/stderr" || fail "Ctrl-C: $got $(cat "$folder/stderr")"

# --- A classifier looks at the drawings.
"$bin/weft-train" embracenet --data "$data" --out "$folder/classifier" --image-size 32x32 --text-width 32 --text-layers 0 --image-layers 1,1,1,1 \
  --image-planes 8,16,32,64 --image-stem 8 --image-groups 4 --embracement 64 --epochs 25 --batch 16 --items-per-image 1 --crop 0 --no-flip \
  --lr 4e-3 --quiet
drawings() {
  "$bin/weft-evaluate" drawings --model "$folder/model" --classifier "$folder/classifier" --steps 2 --quiet "$@"
}
drawings --data "$data" --items 5 --languages 2 --json "$folder/drawings.json" --grid "$folder/drawings.png" \
  --language-grid "$folder/languages.png" >"$folder/table"
python3 - "$folder/drawings.json" <<'PYTHON' || fail "drawings: $(cat "$folder/table")"
import json, sys
found = json.load(open(sys.argv[1]))
rows = {row["pictures"]: row for row in found["rows"]}
assert list(rows) == ["drawn", "real, same things", "real, held out", "noise"], rows
assert all(rows[name]["items"] == 5 for name in ("drawn", "real, same things", "noise"))
assert rows["real, same things"]["top1"] == 1, rows  # learnt by heart
assert all(0 <= row["top1"] <= row["top5"] <= 1 for row in rows.values())
assert len(found["in_languages"]) == 2, found
for thing in found["in_languages"]:
    seen = thing["categories"]
    assert len(seen) == len(thing["texts"]) > 0 and thing["category"] in seen, thing
    assert thing["consistent"] == seen.count(thing["category"]) == max(map(seen.count, seen)), thing
PYTHON
[[ -s $folder/drawings.png && -s $folder/languages.png ]] || fail "no grid of drawings"
# Pictures with a name in two languages each: neighbouring rows share the first one's picture and category.
mkdir "$folder/two"
cp -r "$data/." "$folder/two"
python3 - "$data/GLAMI-1M-train.csv" "$folder/two/GLAMI-1M-train.csv" <<'PYTHON'
import csv, sys
rows = list(csv.reader(open(sys.argv[1], encoding="utf-8", newline="")))
header, rows = rows[0], rows[1:]
for column in map(header.index, ("image_id", "category", "category_name")):
    for first, second in zip(rows[::2], rows[1::2]):
        second[column] = first[column]
csv.writer(open(sys.argv[2], "w", encoding="utf-8", newline="")).writerows([header] + rows)
PYTHON
drawings --data "$folder/two" --items 5 --languages 3 --json "$folder/drawings.json" >"$folder/table-of-two"
python3 - "$folder/drawings.json" "$folder/two/GLAMI-1M-train.csv" <<'PYTHON' || fail "two languages: $(cat "$folder/table-of-two")"
import csv, json, sys
names = {}
for row in csv.DictReader(open(sys.argv[2], encoding="utf-8", newline="")):
    names.setdefault(row["image_id"], []).append(row["name"])
things = json.load(open(sys.argv[1]))["in_languages"]
assert len(things) == 3 and len({tuple(thing["texts"]) for thing in things}) == 3, things
for thing in things:
    assert len(thing["texts"]) == 2 and thing["texts"] in names.values(), thing
    assert thing["consistent"] == max(map(thing["categories"].count, thing["categories"])), thing
PYTHON
drawings --data "$data" --items 5 --languages 2 | cmp - "$folder/table" || fail "a second run of drawings gives another table"
expect 1 "different things were expected, to leave 1000 and draw 5" drawings --data "$data" --items 5 --skip 1000

# --- What cannot be.
expect 2 "must be given" draw --out "$folder/x.png"
expect 2 "--guidance" draw --text a --guidance -1 --out "$folder/x.png"
expect 2 "--steps" draw --text a --steps 0 --out "$folder/x.png"
expect 2 ".png or .safetensors" draw --text a --out "$folder/x.jpg"
expect 1 "--sample-text: UNet 1 alone" train "$folder/x" "${sizes[@]}" --unet 1 --sample-text a
expect 1 "not of 48" draw --text a --size 48 --out "$folder/x.png"
expect 1 "no parameters" draw --from "$folder/model/losses.png" --out "$folder/x.png"
expect 1 "none: a model folder" "$bin/weft-generate" --model "$folder/none" --text a --out "$folder/x.png"
expect 1 "x.png" draw --text a --out "$folder/none/x.png"
head -c 5000 "$folder/model/model.safetensors" >"$folder/upper/model.safetensors"
expect 1 "upper/model.safetensors" "$bin/weft-generate" --model "$folder/upper" --text a --out "$folder/x.png"
rm "$folder/upper/spiece.model"
expect 1 "lr may help" train "$folder/high" "${sizes[@]}" --lr 1e30 --clip 0
[[ ! -e $folder/x.png ]] || fail "a refused drawing left a picture"
# --- The weights in the repository.
"$bin/weft-generate" --model "$here/../weights/cascade" --text "traktör" --steps 3 --dtype bf16 --quiet --out "$folder/shipped.png"
[[ -s $folder/shipped.png ]] || fail "the shipped weights draw nothing"
(($(du -sb "$here/../weights" | cut -f1) <= 16000000)) || fail "weights/ is larger than 16 MB"
echo "weft-train cascade and weft-generate behave"
