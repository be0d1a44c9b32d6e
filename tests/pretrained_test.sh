#!/usr/bin/env bash
# EmbraceNet on pretrained towers, from the originals' files to answers: weft-convert of mT5 and ResNeXt, weft-train
# with the frozen text encoder's outputs cached, interrupted and taken up again, weft-evaluate, weft-classify; and the
# GLAMI-1M authors' own checkpoint, which answers as in PyTorch.
set -euo pipefail
shopt -s inherit_errexit
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
source "$here/as_a_user.bash"
export OMP_WAIT_POLICY=passive

golden=$here/golden/pretrained
data=$folder/data
python3 "$here/classifier_data.py" "$data"
mkdir "$folder/hub"
cp "$golden/mt5"/* "$golden/embracenet/spiece.model" "$folder/hub"
"$bin/weft-convert" "$folder/hub" "$folder/mt5" >/dev/null
"$bin/weft-convert" "$golden/resnext.pth" "$folder/resnext" >/dev/null

towers=(--text-encoder "$folder/mt5" --image-encoder "$folder/resnext" --text-pooling flatten --image-size 32x32
  --embracement 64)
steps=(--batch 16 --items-per-image 1 --crop 0 --no-flip --lr 4e-3 --seed 3 --threads 2)
train() { "$bin/weft-train" embracenet --data "$data" --out "$1" "${towers[@]}" "${steps[@]}" --quiet "${@:2}"; }
evaluate() { "$bin/weft-evaluate" --quiet --data "$data" "$@"; }
same() { cmp "$1" "$2" || fail "$3"; }

# --- The text encoder stays as it is, in a folder of its own; its outputs are computed once.
model=$folder/model
train "$model" --epochs 30
files=$'config.json\nmodel.safetensors\nspiece.model\ntext_encoder\ntext_features.safetensors'
[[ $(ls -A "$model") == "$files" ]] || fail "files: $(ls -A "$model")"
same "$model/text_encoder/model.safetensors" "$folder/mt5/model.safetensors" "the frozen text encoder changed"
same "$model/spiece.model" "$golden/embracenet/spiece.model" "another tokenizer"
"$bin/weft-convert" --list "$model/model.safetensors" >"$folder/list"
grep -q ' pre_2.layer1.0.conv1.weight$' "$folder/list" || fail "no image tower: $(cat "$folder/list")"
grep -q 'text_encoder' "$folder/list" && fail "the frozen text encoder is there twice"
"$bin/weft-convert" --list "$model/text_features.safetensors" | grep -q '\[72, 512\] ' || fail "the cached texts"
accuracy='import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
rows = {r["modalities"]: r["top1"] for r in rows if r["geo"] == "all" and r["inference"] == "expected"}
assert rows["text+image"] > 0.95 and rows["image"] > 0.95 and rows["text"] > 0.3, rows'
evaluate --model "$model" --split train --json "$folder/train.json" >/dev/null
python3 -c "$accuracy" "$folder/train.json" || fail "the items are not learnt"
evaluate --model "$model" | grep -q '^naive-bayes' || fail "no table of the test set"
image=$data/images/1000.jpg
for dtype in f32 bf16; do
  classify=("$bin/weft-classify" --model "$model" --dtype $dtype)
  [[ $("${classify[@]}" --image "$image" --top 1) == *"  category-00" ]] || fail "the image in $dtype"
  [[ $("${classify[@]}" --image "$image" --text "black shoe" | wc -l) == 5 ]] || fail "both in $dtype"
  "${classify[@]}" --text "black shoe" >/dev/null || fail "the text in $dtype"
done
train "$folder/bf16" --epochs 2 --dtype bf16
"$bin/weft-convert" --list "$folder/bf16/text_features.safetensors" | grep -q '^bf16 ' ||
  fail "bf16 texts are cached in f32"

# --- Ctrl-C, kill -9, taken up again: the bytes of a run that was never stopped, and the cache is not made again.
long=(--epochs 80 --ema 0.99)
train "$folder/whole" "${long[@]}"
start_training() { # OPTION...: in the background, past its first epochs
  : >"$folder/log"
  "$bin/weft-train" embracenet --data "$data" --out "$folder/stopped" "${towers[@]}" "${steps[@]}" "${long[@]}" "$@" \
    >"$folder/log" 2>"$folder/stderr" &
  trainer=$!
  for ((i = 0; i < 3000; ++i)); do
    [[ $(grep -c '^epoch' "$folder/log") -lt 4 ]] || return 0
    kill -0 $trainer 2>/dev/null || fail "training ended by itself: $(cat "$folder/stderr")"
    sleep 0.01
  done
  fail "training does not start"
}
start_training
kill -INT $trainer
got=0; wait $trainer || got=$?
[[ $got == 1 ]] && grep -q '^error: interrupted at step' "$folder/stderr" ||
  fail "Ctrl-C: exit code $got: $(cat "$folder/stderr")"
made=$(stat -c %i "$folder/stopped/text_features.safetensors")
start_training --resume
kill -KILL $trainer
wait $trainer 2>/dev/null || true
train "$folder/stopped" "${long[@]}" --resume
for file in model.safetensors text_features.safetensors; do
  same "$folder/whole/$file" "$folder/stopped/$file" "stopped and resumed, $file is another"
done
[[ $(stat -c %i "$folder/stopped/text_features.safetensors") == "$made" ]] || fail "the texts were encoded again"

# --- Ctrl-C while the texts are encoded: what was made is not made again, and the cache is the same.
mkdir "$folder/many"
cp -r "$data"/. "$folder/many"
python3 - "$folder/many/GLAMI-1M-train.csv" <<'PY'
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1], encoding="utf-8")))
writer = csv.DictWriter(open(sys.argv[1], "w", encoding="utf-8"), rows[0].keys())
writer.writeheader()
for i in range(12500):
    row = dict(rows[i % len(rows)], item_id=i)
    writer.writerow(dict(row, name=row["name"] + " " + str(i)))
PY
encode() {
  "$bin/weft-train" embracenet --data "$folder/many" --out "$1" "${towers[@]}" --batch 500 --epochs 1 --crop 0 --no-flip \
    --seed 3 --threads 2 --quiet
}
features=text_features.safetensors
encode "$folder/encoded"
[[ ! -e $folder/encoded/$features.parts ]] || fail "the parts of the cache are left"
encode "$folder/part" 2>"$folder/stderr" &
trainer=$!
for ((i = 0; i < 3000; ++i)); do
  [[ ! -e $folder/part/$features.parts/000000.safetensors ]] || break
  kill -0 $trainer 2>/dev/null || fail "the texts are not encoded: $(cat "$folder/stderr")"
  sleep 0.01
done
pkill -INT -P $trainer
got=0; wait $trainer || got=$?
[[ $got == 1 ]] && grep -qE 'being cached; (4096|8192) of 12500 texts are kept' "$folder/stderr" ||
  fail "Ctrl-C while encoding: exit code $got: $(cat "$folder/stderr")"
# A part of other texts does not count.
cp "$folder/part/$features.parts/000000.safetensors" "$folder/part/$features.parts/000001.safetensors"
encode "$folder/part"
same "$folder/encoded/$features" "$folder/part/$features" "encoded in two runs, the cache is another"
same "$folder/encoded/model.safetensors" "$folder/part/model.safetensors" "encoded in two runs, the model is another"

# --- Towers that do not fit.
mkdir "$folder/no-tokenizer"
cp "$folder/mt5/config.json" "$folder/mt5/model.safetensors" "$folder/no-tokenizer"
for folders in "--text-encoder $folder/no-tokenizer|no-tokenizer/spiece.model" \
  "--text-encoder $folder/resnext|resnext" \
  "--text-encoder $folder/mt5 --image-encoder $folder/mt5|mt5/config.json"; do
  # shellcheck disable=SC2086
  expect 1 "${folders#*|}" "$bin/weft-train" embracenet --data "$data" --out "$folder/none" --quiet ${folders%|*}
  [[ ! -e $folder/none ]] || fail "${folders%|*} leaves a folder"
done

# --- The authors' checkpoint, with GLAMI-1M's names of categories 7, 12 and 105.
mkdir "$folder/names"
printf 'category_name,category\nzebra,7\napple,12\nmiddle,105\n' >"$folder/names/GLAMI-1M-test.csv"
"$bin/weft-convert" "$golden/embracenet.pt" "$folder/authors" --text-encoder "$folder/mt5" --data "$folder/names" \
  >/dev/null
python3 - "$golden/embracenet/answers.json" "$bin/weft-classify" "$folder" <<'PYTHON' || fail "the authors' checkpoint"
import json, struct, subprocess, sys, zlib
answers, classify, folder = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3]
chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
rows = b"".join(b"\0" + bytes((3 * y + 5 * x + 70 * c) % 256 for x in range(228) for c in range(3)) for y in range(298))
with open(f"{folder}/pattern.png", "wb") as file:
    file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 228, 298, 8, 2, 0, 0, 0)) +
               chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
for answer in answers:
    inputs = [] if answer["text"] is None else ["--text", answer["text"]]
    inputs += ["--image", f"{folder}/pattern.png"] if answer["image"] else []
    command = [classify, "--model", f"{folder}/authors", "--json", *inputs]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    got = {p["category"]: p["probability"] for p in json.loads(output)["predictions"]}
    for name, wanted in zip(("zebra", "apple", "middle"), answer["probabilities"]):
        assert abs(got[name] - wanted) <= 1e-5 * wanted, (inputs, name, got[name], wanted)
assert len(answers) == 9 and len({str(a["probabilities"]) for a in answers}) == 9
PYTHON
echo "pretrained_test: all passed"
