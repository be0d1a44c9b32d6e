#!/usr/bin/env bash
# weft-train, weft-evaluate and weft-classify as a user runs them, on a tiny data set: they learn it by heart, go on after an
# interrupt to the same bytes, and answer every bad input with one line that names the file and the place, leaving nothing half-written.
set -euo pipefail
shopt -s inherit_errexit
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
# A team of threads that spins at every barrier needs the machine for itself.
export OMP_WAIT_POLICY=passive

# expect CODE TEXT COMMAND...: the exit code, nothing on stdout, and exactly one line of error, which holds every part of TEXT (separated by |)
expect() {
  local code=$1 parts got=0 part
  IFS='|' read -ra parts <<<"$2"
  shift 2
  "$@" >"$folder/stdout" 2>"$folder/stderr" || got=$?
  [[ $got == "$code" ]] || fail "$*: exit code $got, expected $code: $(cat "$folder/stderr")"
  [[ $(wc -l <"$folder/stderr") == 1 && $(cat "$folder/stderr") == "error: "* ]] || fail "$*: not one line of error: $(cat "$folder/stderr")"
  [[ ! -s $folder/stdout ]] || fail "$*: prints $(cat "$folder/stdout")"
  for part in "${parts[@]}"; do
    grep -qF -- "$part" "$folder/stderr" || fail "$*: \"$part\" expected, found: $(cat "$folder/stderr")"
  done
}

data=$folder/data
python3 "$here/classifier_data.py" "$data"
(cd "$data" && spm_train --input=texts.txt --model_prefix=spiece --vocab_size=600 --hard_vocab_limit=false --byte_fallback=true --pad_id=0 \
  --eos_id=1 --unk_id=2 --bos_id=-1 --minloglevel=2 --num_threads=1)
sizes=(--image-size 32x32 --text-width 32 --text-layers 1 --text-heads 2 --text-head-size 16 --text-ff 64 --image-layers 1,1,1,1
  --image-planes 8,16,32,64 --image-stem 8 --image-groups 4 --image-width-per-group 16 --embracement 64)
# train DATA OUT OPTION...
train() { "$bin/weft-train" embracenet --data "$1" --out "$2" "${sizes[@]}" --batch 16 --items-per-image 1 --crop 0 --no-flip --lr 4e-3 --seed 3 --quiet "${@:3}"; }
evaluate() { "$bin/weft-evaluate" --quiet "$@"; }
classify() { "$bin/weft-classify" "$@"; }
same() { cmp "$1" "$2" || fail "$3"; }

# --- It learns 72 items by heart, in both number formats, the same bytes in every run.
train "$data" "$folder/model" --epochs 25 --threads 2
model=$folder/model
[[ $(ls -A "$model") == $'config.json\nmodel.safetensors\nspiece.model' ]] || fail "files: $(ls -A "$model")"
train "$data" "$folder/again" --epochs 25 --threads 2
same "$model/model.safetensors" "$folder/again/model.safetensors" "a second run gives other weights"
train "$data" "$folder/bf16" --epochs 25 --dtype bf16
accuracy='import json, sys
for row in json.load(open(sys.argv[1]))["rows"]:
    assert row["geo"] != "all" or row["top1"] > 0.95, row'
evaluate --model "$model" --data "$data" --split train --json "$folder/train.json" >/dev/null
python3 -c "$accuracy" "$folder/train.json" || fail "the items are not learnt"
evaluate --model "$folder/bf16" --data "$data" --split train --dtype bf16 --json "$folder/train.json" >/dev/null
python3 -c "$accuracy" "$folder/train.json" || fail "the items are not learnt in bf16"

# --- The text alone, half of the time its name alone, leaves the image encoder as it was and learns as well.
train "$data" "$folder/text" --epochs 25 --loss text --name-only 0.5
evaluate --model "$folder/text" --data "$data" --split train --modalities text --json "$folder/train.json" >/dev/null
python3 -c "$accuracy" "$folder/train.json" || fail "the texts are not learnt by --loss text"
expect 1 "--name-only 0.5: the texts of a frozen text encoder" \
  "$bin/weft-train" embracenet --data "$data" --out "$folder/refused" --text-encoder "$folder/text" --name-only 0.5

# --- weft-evaluate: the table and the JSON are the same figures.
evaluate --model "$model" --data "$data" --json "$folder/test.json" >"$folder/table"
evaluate --model "$model" --data "$data" --json - >"$folder/stdout.json" 2>"$folder/stderr"
same "$folder/test.json" "$folder/stdout.json" "--json - prints something else"
[[ ! -s $folder/stderr ]] || fail "--quiet --json prints $(cat "$folder/stderr")"
python3 - "$folder/test.json" "$folder/table" <<'PYTHON' || fail "table and JSON"
import json, sys
result = json.load(open(sys.argv[1]))
lines = [line.split() for line in open(sys.argv[2])]
assert result["items"] == 24 and lines[0] == ["24", "items"], lines[0]
rows = result["rows"]
assert {row["modalities"] for row in rows} == {"text+image", "image", "text"}
assert {row["inference"] for row in rows} == {"expected", "sampled"}
assert {row["geo"] for row in rows} == {"all", *"cz sk ro gr si hu hr es lt lv tr ee bg".split()}
for row in rows:
    assert set(row) == {"modalities", "inference", "geo", "items", "top1", "top5"}
    assert 0 <= row["top1"] <= row["top5"] <= 1
    if row["geo"] == "all":
        printed = [row["modalities"], row["inference"], "all", "24", f'{row["top1"]:.3f}', f'{row["top5"]:.3f}']
        assert printed in lines, printed
        parts = [r for r in rows if r["geo"] != "all" and (r["modalities"], r["inference"]) == (row["modalities"], row["inference"])]
        assert sum(p["items"] for p in parts) == 24
        assert abs(sum(p["items"] * p["top1"] for p in parts) - 24 * row["top1"]) < 1e-9
    elif row["inference"] == "expected":
        line = next(l for l in lines if l[:1] == [row["geo"]])
        column = 2 + ["text+image", "image", "text"].index(row["modalities"])
        assert line[1] == str(row["items"]) and line[column] == f'{row["top1"]:.3f}/{row["top5"]:.3f}', (line, row)
majority = next(l for l in lines if l[:1] == ["majority"])
assert majority[2:4] == ["24", f'{result["majority_top1"]:.3f}'], majority
assert abs(result["majority_top1"] - 2 / 24) < 1e-9
bayes = next(r for r in result["baselines"] if r["geo"] == "all")
assert ["naive-bayes", "all", "24", f'{bayes["top1"]:.3f}', f'{bayes["top5"]:.3f}'] in lines
PYTHON
evaluate --model "$model" --data "$data" --modalities text --json - >"$folder/text.json"
python3 -c 'import json, sys
a, b = (json.load(open(f))["rows"] for f in sys.argv[1:])
assert [r for r in b if r["modalities"] == "text" and r["inference"] == "expected"] == [r for r in a if r["inference"] == "expected"]' \
  "$folder/text.json" "$folder/test.json" || fail "--modalities text gives other figures"
for bad in '' text+ +image text+text picture text,image; do
  expect 2 "--modalities" evaluate --model "$model" --data "$data" --modalities "$bad"
done
table_only() { evaluate "$@" >/dev/null; }
expect 1 "none/out.json|cannot be created" table_only --model "$model" --data "$data" --json "$folder/none/out.json"

# --- weft-classify: text, image, both; either number format gives the same first answer.
image=$data/images/1000.jpg
text=$(python3 -c 'import csv, sys
row = next(csv.DictReader(open(sys.argv[1], newline="")))
print(row["name"] + " " + row["description"])' "$data/GLAMI-1M-train.csv")
for input in text image both; do
  options=()
  [[ $input == image ]] || options+=(--text "$text" --geo cz)
  [[ $input == text ]] || options+=(--image "$image")
  answer=$(classify --model "$model" "${options[@]}" --top 3)
  [[ $(wc -l <<<"$answer") == 3 && $(head -1 <<<"$answer") == *"  category-00" ]] || fail "$input: $answer"
  json=$(classify --model "$model" "${options[@]}" --top 3 --json)
  python3 -c 'import json, sys
answers = json.loads(sys.argv[1])["predictions"]
assert [set(a) for a in answers] == [{"category", "probability"}] * 3
assert 1 >= answers[0]["probability"] >= answers[1]["probability"] >= answers[2]["probability"] >= 0
lines = "\n".join("%.3f  %s" % (a["probability"], a["category"]) for a in answers)
assert lines == sys.argv[2], lines' "$json" "$answer" || fail "--json of $input: $json"
  bf16=$(classify --model "$model" "${options[@]}" --top 1 --dtype bf16)
  [[ $bf16 == *"  category-00" ]] || fail "bf16 of $input: $bf16"
done
[[ $(classify --model "$model" --text "$text" --top 1000 | wc -l) == 12 ]] || fail "--top 1000"
classify --model "$model" --text "" >/dev/null || fail "an empty text"
classify --model "$model" --text $'\xff\xfe\x80 broken UTF-8' >/dev/null || fail "a text that is not UTF-8"
expect 2 "--image, --text or both" classify --model "$model"
expect 2 "--geo|'xx'" classify --model "$model" --text a --geo xx
expect 2 "--top" classify --model "$model" --text a --top 0
expect 2 "--dtype" classify --model "$model" --text a --dtype f17

# --- Pictures: grey and Adobe's CMYK are read; what cannot be read is named.
for name in grey cmyk; do classify --model "$model" --image "$data/$name.jpg" >/dev/null || fail "$name.jpg"; done
expect 1 "cmyk-bare.jpg|CMYK" classify --model "$model" --image "$data/cmyk-bare.jpg"
expect 1 "truncated.jpg|truncated" classify --model "$model" --image "$data/truncated.jpg"
expect 1 "huge.jpg|65000 x 65000" classify --model "$model" --image "$data/huge.jpg"
expect 1 "text.jpg|JPEG|PNG" classify --model "$model" --image "$data/text.jpg"
expect 1 "none.jpg|no such file" classify --model "$model" --image "$data/none.jpg"
expect 1 "images" classify --model "$model" --image "$data/images"

# --- Broken pictures in training and evaluation: reported, counted, skipped up to a limit.
cp -r "$data" "$folder/broken"
rm "$folder/broken/images/1000.jpg"
cp "$data/truncated.jpg" "$folder/broken/images/1001.jpg"
train "$folder/broken" "$folder/skipping" --epochs 2 --max-broken 2 >"$folder/stdout" 2>"$folder/stderr" || fail "two broken images: $(cat "$folder/stderr")"
[[ $(grep -c '^skipped: .*images/100[01].jpg' "$folder/stderr") == 2 && $(wc -l <"$folder/stderr") == 3 ]] || fail "skipped: $(cat "$folder/stderr")"
grep -q '^2 images could not be read' "$folder/stderr" || fail "not counted: $(cat "$folder/stderr")"
got=0
train "$folder/broken" "$folder/too-broken" --epochs 2 --max-broken 1 >"$folder/stdout" 2>"$folder/stderr" || got=$?
[[ $got == 1 && $(grep -c '^error: .*images/100[01].jpg.*1 allowed' "$folder/stderr") == 1 ]] || fail "--max-broken 1: $got, $(cat "$folder/stderr")"
[[ ! -e $folder/too-broken || -z $(ls -A "$folder/too-broken") ]] || fail "half-written: $(ls -A "$folder/too-broken")"
evaluate --model "$model" --data "$folder/broken" --split train --json "$folder/skipped.json" >"$folder/stdout" 2>"$folder/stderr"
[[ $(grep -c '^skipped: ' "$folder/stderr") == 2 && $(head -1 "$folder/stdout") == "70 items (2 left out"* ]] || fail "$(cat "$folder/stdout" "$folder/stderr")"
grep -q '"skipped": 2' "$folder/skipped.json" || fail "skipped items in JSON"
got=0
evaluate --model "$model" --data "$folder/broken" --split train --max-broken 0 --json "$folder/none.json" >"$folder/stdout" 2>"$folder/stderr" || got=$?
[[ $got == 1 && ! -s $folder/stdout && ! -e $folder/none.json ]] || fail "--max-broken 0: $got, $(cat "$folder/stderr")"

# --- Tables: each broken one in a folder of its own that shares the rest.
# table NAME SPLIT EDIT: python on `lines`, the records of that split's table; gives the folder
table() {
  rm -rf "$folder/$1"
  mkdir "$folder/$1"
  ln -s "$data/images" "$data/spiece.model" "$folder/$1"
  python3 - "$data" "$folder/$1" "$2" "$3" <<'PYTHON'
import csv, sys
for split in ("train", "test"):
    with open(f"{sys.argv[1]}/GLAMI-1M-{split}.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    lines = [",".join('"' + field.replace('"', '""') + '"' for field in row) for row in rows]
    if split == sys.argv[3]:
        exec(sys.argv[4])
    with open(f"{sys.argv[2]}/GLAMI-1M-{split}.csv", "w", encoding="utf-8", newline="") as file:
        file.write("\n".join(lines) + "\n")
PYTHON
  echo "$folder/$1"
}
# bad_table TEXT EDIT: both programs that read tables refuse it, and training leaves no folder
bad_table() {
  local broken
  broken=$(table bad train "$2")
  expect 1 "GLAMI-1M-train.csv|$1" train "$broken" "$folder/out"
  [[ ! -e $folder/out ]] || fail "$1: training leaves $(ls -A "$folder/out")"
  expect 1 "GLAMI-1M-train.csv|$1" evaluate --model "$model" --data "$broken" --split train
}
train "$(table fine train 'pass')" "$folder/fine" --epochs 1 || fail "the rewritten table"
bad_table 'column "geo" is missing' 'lines = [",".join(line.split(",")[:2] + line.split(",")[3:]) for line in lines]'
bad_table 'row 5|7 fields|8' 'lines[5] = lines[5].rsplit(",", 1)[0]'
bad_table 'row 72|quote' 'lines[72] = lines[72][:-1]'
bad_table "row 3|'xx'" 'lines[3] = lines[3].replace(",\"ro\",", ",\"xx\",")'
bad_table "row 2|image_id|'01001'" 'lines[2] = lines[2].replace("\"1001\"", "\"01001\"")'
bad_table "row 1|label_source|'guess'" 'lines[1] = lines[1].replace("\"admin\"", "\"guess\"")'
bad_table 'row 4|category_name' 'lines[4] = lines[4].replace("category-03", "")'
bad_table 'no items' 'lines = lines[:1]'
bad_table 'empty' 'lines = []'
unknown=$(table unknown test 'lines[7] = lines[7].replace("category-", "unheard-of-")')
expect 1 "GLAMI-1M-test.csv: row 7|'unheard-of-|12 categories" evaluate --model "$model" --data "$unknown"
[[ -z $(ls -A "$folder/out" 2>/dev/null) ]] || fail "left behind"
expect 1 "none: no such folder" train "$folder/none" "$folder/out"
expect 1 "none: no such folder" evaluate --model "$model" --data "$folder/none"
rm "$unknown/spiece.model"
expect 1 "spiece.model" train "$unknown" "$folder/out"
expect 1 "/proc/none" train "$data" /proc/none/model --epochs 1
expect 2 "--image-size" train "$data" "$folder/out" --image-size 32
expect 2 "--epochs" train "$data" "$folder/out" --epochs 0
expect 2 "--data" "$bin/weft-train" embracenet --out "$folder/out"
[[ ! -e $folder/out ]] || fail "bad usage leaves a folder"

# --- Model folders. edit_weights CODE: python on `header` (a dict) and `body` (bytes) of model.safetensors.
fresh() { rm -rf "$folder/edited"; cp -r "$model" "$folder/edited"; }
edit_weights() {
  fresh
  python3 - "$folder/edited/model.safetensors" "$1" <<'PYTHON'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
header, body = json.loads(data[8:8 + n]), data[8 + n:]
def drop(name):
    """The tensor is gone, and its bytes too."""
    global body
    begin, end = header.pop(name)["data_offsets"]
    body = body[:begin] + body[end:]
    for entry in header.values():
        if "data_offsets" in entry and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [at - (end - begin) for at in entry["data_offsets"]]
names = sorted(name for name in header if name != "__metadata__")
exec(sys.argv[2])
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + body)
PYTHON
}
edit_json() { fresh; python3 -c 'import json, sys
c = json.load(open(sys.argv[1]))
exec(sys.argv[2])
json.dump(c, open(sys.argv[1], "w"))' "$folder/edited/config.json" "$1"; }
bad_model() {
  expect 1 "$1" classify --model "$folder/edited" --text a
  expect 1 "$1" evaluate --model "$folder/edited" --data "$data"
}
edit_weights 'pass'
same <(classify --model "$model" --text "$text") <(classify --model "$folder/edited" --text "$text") "the rewritten weights"
edit_weights 'drop("post.weight")'
bad_model "model.safetensors|'post.weight' is missing"
edit_weights 'header["stranger"] = {"dtype": "F32", "shape": [1], "data_offsets": [len(body), len(body) + 4]}; body += bytes(4)'
bad_model "model.safetensors|'stranger'"
edit_weights 'header["post.weight"]["shape"].reverse()'
bad_model "model.safetensors|'post.weight'|must be [12, 64] but is [64, 12]"
edit_weights 'body = body[:-100]'
bad_model "model.safetensors|bytes"
edit_weights 'header["post.weight"]["dtype"] = "I32"'
bad_model "model.safetensors|'post.weight'"
edit_weights 'header["post.weight"]["shape"] = [1 << 40, 1 << 40]'
bad_model "model.safetensors|'post.weight'"
fresh; : >"$folder/edited/model.safetensors"; bad_model "model.safetensors"
fresh; printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | dd of="$folder/edited/model.safetensors" conv=notrunc status=none; bad_model "model.safetensors|header"
fresh; rm "$folder/edited/model.safetensors"; bad_model "model.safetensors"
fresh; head -c 1000 "$model/spiece.model" >"$folder/edited/spiece.model"; bad_model "spiece.model|byte"
fresh; head -c 1000 /dev/zero >"$folder/edited/spiece.model"; bad_model "spiece.model"
fresh; rm "$folder/edited/spiece.model"; bad_model "spiece.model"
edit_json 'c["embrace"] = c.pop("embracement")'; bad_model 'config.json|"embracement" is missing'
edit_json 'c["embracement"] = "64"'; bad_model 'config.json|embracement must be a whole number|"64"'
edit_json 'c["embracement"] = 65'; bad_model "model.safetensors|must be"
edit_json 'c["text_encoder"]["d_model"] = -1'; bad_model "config.json|text_encoder|d_model"
edit_json 'c["text_encoder"]["relative_attention_max_distance"] = 2'; bad_model "config.json|relative_attention_max_distance"
edit_json 'c["text_encoder"]["vocab_size"] = 1 << 24'; bad_model "model.safetensors|must be"
edit_json 'c["image_encoder"]["planes"] = [1, 2]'; bad_model "config.json|image_encoder|planes"
edit_json 'c["image_encoder"]["width_per_group"] = 7'; bad_model "config.json|width_per_group"
edit_json 'c["image_encoder"]["groups"] = 3'; bad_model "model.safetensors|must be"
edit_json 'c["categories"].pop()'; bad_model "model.safetensors|must be"
edit_json 'c["categories"].reverse()'; bad_model "config.json|sorted"
edit_json 'c["categories"][1] = c["categories"][0]'; bad_model "config.json|distinct"
edit_json 'c["model"] = "resnet"'; bad_model 'config.json|"embracenet"|"resnet"'
fresh; printf '{"model": ' >"$folder/edited/config.json"; bad_model "config.json|JSON"
fresh; rm "$folder/edited/config.json"; bad_model "config.json"
expect 1 "none: a model folder" classify --model "$folder/none" --text a

# --- Ctrl-C in mid-epoch, then --resume: the bytes of a run that was never stopped. So too after kill -9.
long=(--epochs 120 --threads 2)
train "$data" "$folder/whole" "${long[@]}" --token-drop 0.1 --text-dropout 0.1
# start_training OUT OPTION...: in the background, without --quiet's silence, past its first epochs
start_training() {
  : >"$folder/log"  # the last training's would say that this one has begun
  "$bin/weft-train" embracenet --data "$data" --out "$1" "${sizes[@]}" --batch 16 --items-per-image 1 --crop 0 --no-flip --lr 4e-3 --seed 3 \
    "${long[@]}" --token-drop 0.1 --text-dropout 0.1 "${@:2}" >"$folder/log" 2>"$folder/stderr" &
  trainer=$!
  for ((i = 0; i < 3000; ++i)); do
    [[ $(grep -c '^epoch' "$folder/log") -lt 4 ]] || return 0
    kill -0 $trainer 2>/dev/null || fail "training ended by itself: $(cat "$folder/stderr")"
    sleep 0.01
  done
  fail "training does not start"
}
start_training "$folder/stopped"
kill -INT $trainer
got=0; wait $trainer || got=$?
[[ $got == 1 && $(grep -c '^error: ' "$folder/stderr") == 1 ]] || fail "Ctrl-C: exit code $got: $(cat "$folder/stderr")"
grep -qE '^error: interrupted at step [0-9]+ of 480; --resume' "$folder/stderr" || fail "Ctrl-C: $(tail -1 "$folder/stderr")"
[[ $(ls -A "$folder/stopped") == checkpoint.safetensors ]] || fail "Ctrl-C leaves $(ls -A "$folder/stopped")"
expect 1 "stopped/config.json" classify --model "$folder/stopped" --text a
expect 1 "stopped/checkpoint.safetensors|other settings" train "$data" "$folder/stopped" "${long[@]}" --resume --token-drop 0.2 --text-dropout 0.1
start_training "$folder/stopped" --resume
kill -KILL $trainer
wait $trainer 2>/dev/null || true
[[ -s $folder/stopped/checkpoint.safetensors && ! -e $folder/stopped/model.safetensors ]] || fail "kill -9 leaves $(ls -A "$folder/stopped")"
train "$data" "$folder/stopped" "${long[@]}" --token-drop 0.1 --text-dropout 0.1 --resume
same "$folder/whole/model.safetensors" "$folder/stopped/model.safetensors" "stopped and resumed, the weights are others"
[[ $(ls -A "$folder/stopped") == $'config.json\nmodel.safetensors\nspiece.model' ]] || fail "files: $(ls -A "$folder/stopped")"
expect 1 "stopped/checkpoint.safetensors|finished model" train "$data" "$folder/stopped" "${long[@]}" --resume
# Stopped before its first checkpoint, a training starts again.
train "$data" "$folder/out" "${long[@]}" --token-drop 0.1 --text-dropout 0.1 --resume
same "$folder/whole/model.safetensors" "$folder/out/model.safetensors" "resumed before a checkpoint, the weights are others"
rm -rf "$folder/out"

# --- Disk full: at the checkpoint and at the end; what was there stays.
(ulimit -f 64; start_training "$folder/full"; kill -INT $trainer
 got=0; wait $trainer || got=$?
 [[ $got == 1 && $(grep -c '^error: ' "$folder/stderr") == 1 ]] || fail "full disk: exit code $got: $(cat "$folder/stderr")"
 grep -q '^error: .*full/checkpoint.safetensors: cannot be written: File too large' "$folder/stderr" || fail "full disk: $(cat "$folder/stderr")")
[[ -z $(ls -A "$folder/full") ]] || fail "a full disk leaves $(ls -A "$folder/full")"
for limit in 64 400; do
  cp -r "$model" "$folder/kept"
  (ulimit -f $limit; expect 1 "cannot be written: File too large" train "$data" "$folder/kept" --epochs 1)
  diff -r "$model" "$folder/kept" || fail "a full disk changes the model that was there"
  rm -rf "$folder/kept"
done

# --- Every example of --help works as it stands.
mkdir -p "$folder/user/data" "$folder/user/models"
cp -r "$data" "$folder/user/data/emoji13"
cp "$image" "$folder/user/shoe.jpg"
cp -r "$model" "$folder/user/models/emoji13"
for help in weft-evaluate weft-classify weft-tokenize "weft-train embracenet" weft-train; do
  example=$("$bin/"$help --help | sed -n 's/^Example: //p')
  [[ -n $example ]] || fail "$help --help has no example"
  (cd "$folder/user" && PATH=$bin:$PATH bash -euo pipefail -c "$example") >"$folder/stdout" 2>"$folder/stderr" || fail "$example: $(cat "$folder/stderr")"
  [[ -s $folder/stdout ]] || fail "$example prints nothing"
done
echo "classifier_test: all passed"
