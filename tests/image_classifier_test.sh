#!/usr/bin/env bash
# weft-train resnext as a user runs it: it learns a tiny data set by heart from scratch, starts from a converted
# ResNeXt, goes on after an interrupt to the same bytes, and weft-evaluate and weft-classify read its folder, refusing
# texts in one line.
set -euo pipefail
shopt -s inherit_errexit
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
source "$here/as_a_user.bash"
export OMP_WAIT_POLICY=passive

data=$folder/data
python3 "$here/classifier_data.py" "$data"
weft_train=("$bin/weft-train" resnext --data "$data")
sizes=(--image-layers 1,1,1,1 --image-planes 8,16,32,64 --image-stem 8 --image-groups 4 --image-width-per-group 16)
steps=(--batch 16 --items-per-image 1 --seed 3 --threads 2)
plain=(--lr 4e-3 --crop 0 --no-flip)
# train OUT OPTION..., on pictures of $size
size=32x32
train() { "${weft_train[@]}" --out "$1" --image-size $size "${sizes[@]}" "${steps[@]}" --quiet "${@:2}"; }
evaluate() { "$bin/weft-evaluate" --quiet --data "$data" "$@"; }
classify() { "$bin/weft-classify" "$@"; }
same() { cmp "$1" "$2" || fail "$3"; }

# --- 72 items by heart, in both number formats, the same bytes in every run, without a tokenizer.
model=$folder/model
train "$model" "${plain[@]}" --epochs 20
[[ $(ls -A "$model") == $'config.json\nmodel.safetensors' ]] || fail "files: $(ls -A "$model")"
train "$folder/again" "${plain[@]}" --epochs 20
same "$model/model.safetensors" "$folder/again/model.safetensors" "a second run gives other weights"
train "$folder/bf16" "${plain[@]}" --epochs 20 --dtype bf16
for dtype in f32 bf16; do
  trained=$model
  [[ $dtype == f32 ]] || trained=$folder/bf16
  evaluate --model "$trained" --dtype $dtype --split train --json "$folder/train.json" >/dev/null
  python3 -c 'import json, sys
rows = [r for r in json.load(open(sys.argv[1]))["rows"] if r["geo"] == "all"]
assert len(rows) == 1 and rows[0]["top1"] > 0.95, rows' "$folder/train.json" || fail "not learnt in $dtype"
done

# --- weft-evaluate: one row for the image, naive Bayes and the majority beside it.
evaluate --model "$model" --json "$folder/test.json" >"$folder/table"
python3 - "$folder/test.json" "$folder/table" <<'PYTHON' || fail "table and JSON"
import json, sys
result = json.load(open(sys.argv[1]))
lines = [line.split() for line in open(sys.argv[2])]
assert result["items"] == 24
assert {(r["modalities"], r["inference"]) for r in result["rows"]} == {("image", "expected")}
assert {r["geo"] for r in result["rows"]} == {"all", *"cz sk ro gr si hu hr es lt lv tr ee bg".split()}
row = next(r for r in result["rows"] if r["geo"] == "all")
assert row["top1"] > 0.5, "pictures of the test set are like those of training"
assert ["image", "expected", "all", "24", f'{row["top1"]:.3f}', f'{row["top5"]:.3f}'] in lines
assert any(l[:1] == ["naive-bayes"] for l in lines) and any(l[:1] == ["majority"] for l in lines)
PYTHON
for modalities in text text+image image+source; do
  expect 1 "model: this model (ResNeXt) reads an image alone but" evaluate --model "$model" --modalities $modalities
done

# --- weft-classify.
image=$data/images/1000.jpg
answer=$(classify --model "$model" --image "$image" --top 3)
[[ $(wc -l <<<"$answer") == 3 && $(head -1 <<<"$answer") == *"  category-00" ]] || fail "the image: $answer"
# The same pixels, lying on their side by what the camera says: the model sees them upright.
turned() { classify --model "$model" --image "$(dirname "$0")/golden/images/turned$1.jpg" --json; }
[[ $(turned 1) != "$(turned 6)" ]] || fail "EXIF's orientation made no difference"
expect 1 "reads an image alone but text was given" classify --model "$model" --text "a shoe"
expect 1 "reads an image alone but text+image was given" classify --model "$model" --text "a shoe" --image "$image"

# --- Ctrl-C in mid-epoch, kill -9, and each time taken up again: the bytes of a run that was never stopped.
long=(--epochs 100 --ema 0.99 --weight-decay 0.05 --clip 1 --label-smoothing 0.1 --schedule cosine --crop 2 --flip)
train "$folder/whole" "${long[@]}"
start_training() { # OPTION...: in the background, past its first epochs
  : >"$folder/log"
  "${weft_train[@]}" --out "$folder/stopped" --image-size $size "${sizes[@]}" "${steps[@]}" "${long[@]}" "$@" \
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
[[ $got == 1 ]] && grep -qE '^error: interrupted at step [0-9]+ of 400; --resume' "$folder/stderr" ||
  fail "Ctrl-C: exit code $got: $(cat "$folder/stderr")"
[[ $(ls -A "$folder/stopped") == checkpoint.safetensors ]] || fail "Ctrl-C leaves $(ls -A "$folder/stopped")"
size=32x40 expect 1 "other settings" train "$folder/stopped" "${long[@]}" --resume
start_training --resume
kill -KILL $trainer
wait $trainer 2>/dev/null || true
train "$folder/stopped" "${long[@]}" --resume
same "$folder/whole/model.safetensors" "$folder/stopped/model.safetensors" "stopped and resumed, the weights are others"
[[ $(ls -A "$folder/stopped") == $'config.json\nmodel.safetensors' ]] || fail "files: $(ls -A "$folder/stopped")"

# --- From torchvision's file: everything but the classification layer starts there. A step of nothing shows it.
"$bin/weft-convert" "$here/golden/pretrained/resnext.pth" "$folder/pretrained" >/dev/null
train "$folder/tuned" --image-encoder "$folder/pretrained" --epochs 1 --lr 1e-12
python3 - "$folder/pretrained" "$folder/tuned" <<'PYTHON' || fail "the start from a folder"
import json, struct, sys
def tensors(folder):
    data = open(folder + "/model.safetensors", "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {k: (v["shape"], data[8 + n:][slice(*v["data_offsets"])]) for k, v in header.items()}
floats = lambda t: struct.unpack(f"<{len(t) // 4}f", t)
start, tuned = map(tensors, sys.argv[1:])
assert set(start) == set(tuned), set(start) ^ set(tuned)
assert start["fc.weight"][0] == [6, 32] and tuned["fc.weight"][0] == [12, 32]
for name, (shape, data) in start.items():
    if name.startswith("fc.") or "running" in name or "num_batches" in name:
        continue
    assert shape == tuned[name][0], name
    apart = max(abs(a - b) for a, b in zip(floats(data), floats(tuned[name][1])))
    assert apart < 1e-7, (name, apart)
assert tuned["bn1.running_mean"][1] != start["bn1.running_mean"][1], "batch norm must see the batches"
PYTHON
python3 "$here/tiny_towers.py" "$folder/towers" 602
expect 1 "towers/m-clip/config.json" train "$folder/out" --image-encoder "$folder/towers/m-clip" --epochs 1
expect 1 "none/config.json" train "$folder/out" --image-encoder "$folder/none" --epochs 1
[[ ! -e $folder/out ]] || fail "a wrong --image-encoder leaves a folder"
# What was trained is a ResNeXt for the other programs, too.
train "$folder/out" --image-encoder "$model" --epochs 1
"$bin/weft-embed" --quiet --json --data "$data" --image-model "$model" --out "$folder/embeddings" --split test \
  >"$folder/stdout"
grep -q '"computed":24' "$folder/stdout" || fail "weft-embed: $(cat "$folder/stdout")"

# --- Folders that are not what they should be.
edit() { rm -rf "$folder/edited"; cp -r "$model" "$folder/edited"; python3 -c 'import json, sys
c = json.load(open(sys.argv[1]))
exec(sys.argv[2])
json.dump(c, open(sys.argv[1], "w"))' "$folder/edited/config.json" "$1"; }
bad_model() {
  expect 1 "$1" classify --model "$folder/edited" --image "$image"
  expect 1 "$1" evaluate --model "$folder/edited"
}
edit 'c["categories"].pop()'; bad_model "config.json: 12 classes must have a category each but there are 11"
edit 'c["categories"].reverse()'; bad_model "config.json: categories must be distinct and sorted"
edit 'c["categories"].pop(); c["classes"] = 11'; bad_model "model.safetensors"
edit 'c["image_height"] = 4'; bad_model "config.json: image_height"
edit 'c.pop("model")'; bad_model 'config.json: model must be "embracenet" or "resnext"'
expect 1 "spiece.model" "$bin/weft-train" embracenet --data "$data" --out "$folder/none" --quiet

# --- The example of --help works as it stands.
mkdir -p "$folder/user/data"
cp -r "$data" "$folder/user/data/emoji13"
example=$("$bin/weft-train" resnext --help | sed -n 's/^Example: //p')
(cd "$folder/user" && PATH=$bin:$PATH bash -euo pipefail -c "$example") >"$folder/stdout" 2>"$folder/stderr" ||
  fail "$example: $(cat "$folder/stderr")"
echo "image_classifier_test: all passed"
