#!/usr/bin/env bash
# weft-embed with mT5: arrays as NumPy writes them, a row an item, and folders of means; interrupted or killed at any
# moment and taken up again, both are byte for byte those of a run that was never stopped.
set -euo pipefail
shopt -s inherit_errexit
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
source "$here/as_a_user.bash"
export OMP_WAIT_POLICY=passive

golden=$here/golden/pretrained
data=$folder/data
python3 "$here/classifier_data.py" "$data" 1200
# Some items repeat the text of an earlier one, in the same batch and long before.
python3 - "$data/GLAMI-1M-train.csv" <<'PYTHON'
import csv, sys
with open(sys.argv[1], encoding="utf-8", newline="") as file:
    rows = list(csv.reader(file))
for i in range(40, len(rows)):
    if i % 5 == 0:
        rows[i][3:5] = rows[i - (1 if i % 2 else 37)][3:5]
with open(sys.argv[1], "w", encoding="utf-8", newline="") as file:
    csv.writer(file).writerows(rows)
PYTHON
mkdir "$folder/hub"
cp "$golden/mt5"/* "$golden/embracenet/spiece.model" "$folder/hub"
"$bin/weft-convert" "$folder/hub" "$folder/mt5" >/dev/null

embed=("$bin/weft-embed" --data "$data" --text-model "$folder/mt5" --max-tokens 8 --quiet --threads 1)
got=$("${embed[@]}" --out "$folder/whole.npy" --json)
[[ $got =~ ^'{"texts":{"computed":'([0-9]+)',"distinct":'([0-9]+)',"items":1200}}'$ ]] || fail "$got"
[[ ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" ]] || fail "$got"
[[ $(cd "$folder" && ls whole*) == $'whole.npy\nwhole_ids.npy\nwhole_mask.npy' ]] || fail "files: $(ls "$folder")"
"${embed[@]}" --out "$folder/flat.npy" --hidden flatten >/dev/null
"${embed[@]}" --out "$folder/mean.npy" --hidden mean >/dev/null
"${embed[@]}" --out "$folder/store" >/dev/null
"$bin/weft-train" embracenet --data "$data" --out "$folder/model" --text-encoder "$folder/mt5" --text-pooling flatten \
  --max-tokens 8 --image-size 16x16 --image-layers 1,1,1,1 --image-planes 8,8,8,8 --image-stem 8 --image-groups 1 \
  --epochs 1 --batch 512 --quiet
python3 - "$folder" <<'PYTHON'
import csv, json, math, struct, sys
folder = sys.argv[1]
def npy(name):
    data = open(f"{folder}/{name}.npy", "rb").read()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    length = struct.unpack("<H", data[8:10])[0]
    assert (10 + length) % 64 == 0 and data[9 + length:10 + length] == b"\n"
    header = eval(data[10:10 + length])
    assert header["fortran_order"] is False
    count = math.prod(header["shape"])
    code = {"<f4": "f", "<i8": "q", "|b1": "?"}[header["descr"]]
    values = struct.unpack(f"<{count}{code}", data[10 + length:])
    return header["shape"], values
items = []
for split in "train", "test":
    items += csv.DictReader(open(f"{folder}/data/GLAMI-1M-{split}.csv", encoding="utf-8", newline=""))
shape, whole = npy("whole")
assert shape == (1200, 8, 16), shape
assert npy("whole_ids") == ((1200,), tuple(int(item["item_id"]) for item in items))
mask_shape, mask = npy("whole_mask")
assert mask_shape == (1200, 8) and len(set(sum(mask[i * 8:i * 8 + 8]) for i in range(1200))) > 1
assert npy("flat") == ((1200, 128), whole)
mean_shape, mean = npy("mean")
assert mean_shape == (1200, 16)
texts, repeated = {}, 0
for i, item in enumerate(items):
    row, tokens = whole[i * 128:i * 128 + 128], mask[i * 8:i * 8 + 8]
    n = sum(tokens)
    assert n >= 1 and all(tokens[:n]) and not any(tokens[n:])
    assert any(row[:n * 16]) and not any(row[n * 16:]) and all(map(math.isfinite, row))
    for c in range(16):
        wanted = sum(row[t * 16 + c] for t in range(n)) / n
        assert abs(mean[i * 16 + c] - wanted) < 1e-5, (i, c)
    text = item["name"] + (" " + item["description"] if item["description"] else "")
    repeated += text in texts
    assert texts.setdefault(text, row) == row, "a repeated text"
assert repeated > 100
# What weft-train caches for the training items is the same.
data = open(f"{folder}/model/text_features.safetensors", "rb").read()
n = struct.unpack("<Q", data[:8])[0]
entry = json.loads(data[8:8 + n])["text_features"]
cached = struct.unpack(f"<{math.prod(entry['shape'])}f", data[8 + n:])
for k, text in enumerate(dict.fromkeys(list(texts)[:entry["shape"][0]])):
    assert all(abs(a - b) < 1e-5 for a, b in zip(cached[k * 128:k * 128 + 128], texts[text])), (k, text)
PYTHON

# --- Stopped after a while, again and again, by Ctrl-C and by kill -9.
mkdir "$folder/many"
python3 - "$data" "$folder/many" <<'PYTHON'
import csv, random, sys
draw = random.Random(5)
with open(f"{sys.argv[1]}/GLAMI-1M-train.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.reader(file))[:3]
word = lambda: "".join(draw.choice("abcdehlnostu") for _ in range(5))
for split, items in ("train", 60000), ("test", 1):
    with open(f"{sys.argv[2]}/GLAMI-1M-{split}.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(rows[0])
        for i in range(items):
            table.writerow([i + 1, *rows[1 + i % 2][1:3], word() + " " + word(), *rows[1 + i % 2][4:]])
PYTHON
embed=("$bin/weft-embed" --data "$folder/many" --text-model "$folder/mt5" --max-tokens 8 --quiet --threads 1)
stopped=0
stop() { # SIGNAL HUNDREDTHS OPTION...: after so much processor time, which does not depend on what else the machine does
  "${embed[@]}" --batch 1 "${@:3}" >"$folder/log" 2>"$folder/stderr" &
  local worker=$! got=0
  wait_until_catching $worker
  while [[ $(cut -d ' ' -f 14 "/proc/$worker/stat" 2>/dev/null || echo "$2") -lt $2 ]]; do sleep 0.01; done
  kill "-$1" $worker 2>/dev/null || true
  wait $worker 2>/dev/null || got=$?
  [[ $got == 0 ]] || stopped=$((stopped + 1))
  [[ $1 == KILL || $got == 0 ]] && return
  [[ $got == 1 && $(wc -l <"$folder/stderr") == 1 ]] &&
    grep -q '^error: interrupted.*what was done is kept' "$folder/stderr" ||
    fail "Ctrl-C: exit code $got: $(cat "$folder/stderr")"
}
"${embed[@]}" --batch 1 --out "$folder/one.npy" >/dev/null
for kept in "INT 40" "KILL 30" "INT 20"; do
  # shellcheck disable=SC2086
  stop $kept --out "$folder/again.npy"
  [[ ! -e $folder/again.npy ]] || break
done
((stopped > 1)) && [[ -e $folder/again.npy.part && -e $folder/again.npy.state ]] ||
  fail "the array was never interrupted: $(ls "$folder")"
expect 1 "was begun from" "${embed[@]}" --out "$folder/again.npy" --batch 2
"${embed[@]}" --batch 1 --out "$folder/again.npy" >/dev/null
for part in .npy _ids.npy _mask.npy; do cmp "$folder/one$part" "$folder/again$part" || fail "again$part differs"; done
[[ ! -e $folder/again.npy.part && ! -e $folder/again.npy.state ]] || fail "left behind: $(ls "$folder")"
expect 1 "again.npy: exists already" "${embed[@]}" --batch 1 --out "$folder/again.npy"

"${embed[@]}" --batch 1 --out "$folder/folder" >/dev/null
stopped=0
for kept in "INT 40" "KILL 30" "INT 20"; do
  # shellcheck disable=SC2086
  stop $kept --out "$folder/folder-again"
done
((stopped > 1)) && [[ -e $folder/folder-again/texts/unfinished.safetensors ]] || fail "the folder was never interrupted"
"${embed[@]}" --batch 1 --out "$folder/folder-again" >/dev/null
diff -r "$folder/folder" "$folder/folder-again" || fail "the folder differs after interruptions"

expect 2 "--image-model" "${embed[@]}" --out "$folder/none.npy" --image-model "$folder/mt5"
expect 2 "whole needs --out FILE.npy" "${embed[@]}" --out "$folder/none" --hidden whole
expect 1 "choose another folder" "${embed[@]}" --out "$folder/folder" --hidden flatten
expect 1 "none/a.npy.part: cannot be created" "${embed[@]}" --out "$folder/none/a.npy"
expect 1 "CLIP or multilingual CLIP was expected" "$bin/weft-evaluate" zeroshot --data "$data" \
  --embeddings "$folder/store" --prompt-model "$folder/mt5"
echo "embed_array_test: all passed"
