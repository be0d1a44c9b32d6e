#!/usr/bin/env bash
# weft-embed, weft-evaluate zeroshot and weft-search as a user runs them, on tiny models: nothing is computed twice, and accuracies and
# hits are those that Python computes from the embeddings on disk.
set -euo pipefail
shopt -s inherit_errexit
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
source "$(dirname "$0")/as_a_user.bash"
export OMP_WAIT_POLICY=passive

data=$folder/data
python3 "$here/classifier_data.py" "$data"
python3 "$here/tiny_towers.py" "$folder" 602
(cd "$data" && spm_train --input=texts.txt --model_prefix="$folder/m-clip/sentencepiece.bpe" --vocab_size=600 \
  --hard_vocab_limit=false --minloglevel=2 --num_threads=1)
# Items that share a picture or a text; and a table whose texts are the categories' prompts.
python3 - "$data" "$folder/prompts" <<'PYTHON'
import csv, os, shutil, sys
data, prompts = sys.argv[1:]
with open(f"{data}/GLAMI-1M-test.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.reader(file))
rows += [["901"] + rows[1][1:], ["902", rows[2][1]] + rows[3][2:]]
with open(f"{data}/GLAMI-1M-test.csv", "w", encoding="utf-8", newline="") as file:
    csv.writer(file).writerows(rows)
os.makedirs(prompts)
lines = [[i + 1, 1000, "cz", f"A photo of a category {i:02}, a type of fashion product", "", i, f"category-{i:02}", "admin"] for i in range(12)]
for split in "train", "test":
    with open(f"{prompts}/GLAMI-1M-{split}.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([rows[0]] + lines)
PYTHON

embed=("$bin/weft-embed" --quiet --json --batch 7)
models=(--image-model "$folder/clip" --text-model "$folder/m-clip")
got=$("${embed[@]}" --data "$data" --out "$folder/e" "${models[@]}" --split test)
[[ $got == '{"images":{"broken":0,"computed":24,"distinct":24},"texts":{"broken":0,"computed":24,"distinct":24}}' ]] || fail "test rows: $got"
got=$("${embed[@]}" --data "$data" --out "$folder/e" "${models[@]}")
[[ $got == '{"images":{"broken":0,"computed":72,"distinct":96},"texts":{"broken":0,"computed":72,"distinct":96}}' ]] || fail "all rows after it: $got"
[[ $(ls "$folder/e/texts") == $'000000.safetensors\n000001.safetensors' ]] || fail "files: $(ls "$folder/e/texts")"
got=$("${embed[@]}" --data "$data" --out "$folder/e" "${models[@]}")
[[ $got == *'"computed":0'*'"computed":0'* ]] || fail "all rows again: $got"
# The categories are read by CLIP's own text tower, the items' texts by multilingual CLIP.
"${embed[@]}" --data "$folder/prompts" --out "$folder/p" --text-model "$folder/clip" --max-tokens 77 >/dev/null
expect 1 "choose another folder" "${embed[@]}" --data "$data" --out "$folder/e" --text-model "$folder/m-clip" --dtype bf16
expect 1 "a model of images was expected but it is of multilingual CLIP" "${embed[@]}" --data "$data" --out "$folder/f" --image-model "$folder/m-clip"
expect 2 "--image-model or --text-model is needed" "${embed[@]}" --data "$data" --out "$folder/f"
cp "$data/text.jpg" "$data/images/1000.jpg"
expect 1 "1000.jpg" "${embed[@]}" --data "$data" --out "$folder/g" --image-model "$folder/clip" --max-broken 0

"$bin/weft-evaluate" zeroshot --data "$data" --embeddings "$folder/e" --prompt-model "$folder/clip" --json "$folder/zero.json" >"$folder/zero.txt"
grep -q '^text+image  *zero-shot  *all  *26 ' "$folder/zero.txt" || fail "the table: $(cat "$folder/zero.txt")"
expect 1 "no item's image has an embedding" "$bin/weft-evaluate" zeroshot --data "$data" --embeddings "$folder/p" --prompt-model "$folder/m-clip"
search=("$bin/weft-search" --data "$data" --embeddings "$folder/e" --json)
"${search[@]}" --text "A photo of a category 03, a type of fashion product" --text-model "$folder/clip" --top 5 >"$folder/images.json"
"${search[@]}" --image "$data/images/1005.jpg" --image-model "$folder/clip" --top 1 >"$folder/same.json"
"${search[@]}" --image "$data/images/1005.jpg" --image-model "$folder/clip" --in texts --top 5 >"$folder/texts.json"
turned() { "${search[@]}" --image "$(dirname "$0")/golden/images/turned$1.jpg" --image-model "$folder/clip" --top 1; }
[[ $(turned 1) != "$(turned 6)" ]] || fail "EXIF's orientation made no difference"
expect 2 "one of --text and --image is needed" "${search[@]}"
# An index that looks everywhere finds the same; it is kept, and a broken one is a line and no more.
[[ ! -e $folder/e/texts/index.safetensors ]] || fail "auto made an index of 96 texts"
approximate=("${search[@]}" --image "$data/images/1005.jpg" --image-model "$folder/clip" --in texts --top 5 --index approximate --probes 1000)
"${approximate[@]}" --quiet >"$folder/approximate.json" 2>"$folder/err"
[[ ! -s $folder/err && -s $folder/e/texts/index.safetensors ]] || fail "the first index: $(cat "$folder/err")"
truncate -s 100 "$folder/e/texts/index.safetensors"
"${approximate[@]}" --quiet >"$folder/again.json" 2>"$folder/err"
[[ $(wc -l <"$folder/err") == 1 ]] && grep -q "^note: the index is built anew: $folder/e/texts/index.safetensors: " "$folder/err" ||
  fail "a broken index: $(cat "$folder/err")"
cmp "$folder/approximate.json" "$folder/again.json" || fail "the index built anew finds other texts"

python3 - "$folder" <<'PYTHON'
import csv, glob, json, math, struct, sys
folder = sys.argv[1]

def store(path):
    rows = []
    for name in sorted(glob.glob(f"{path}/[0-9]*.safetensors")):
        with open(name, "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
            data = file.read()
        at = lambda tensor: data[slice(*header[tensor]["data_offsets"])]
        n, width = header["embeddings"]["shape"]
        keys = struct.unpack(f"<{n}Q", at("keys"))
        values = struct.unpack(f"<{n * width}f", at("embeddings"))
        rows += [(key, values[i * width:(i + 1) * width]) for i, key in enumerate(keys)]
    found = dict(rows)
    assert len(found) == len(rows), "a key twice"
    return found

def mix(x):
    m = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & m
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & m
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & m
    return x ^ (x >> 31)

def key_of(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & ((1 << 64) - 1)
    return mix(h)

def unit(x):
    length = math.sqrt(sum(v * v for v in x))
    assert length > 0 and all(math.isfinite(v) for v in x)
    return [v / length for v in x]

dot = lambda a, b: sum(x * y for x, y in zip(a, b))
images, texts, prompts = store(f"{folder}/e/images"), store(f"{folder}/e/texts"), store(f"{folder}/p/texts")
assert (len(images), len(texts), len(prompts)) == (96, 96, 12)
targets = [unit(prompts[key_of(f"A photo of a category {i:02}, a type of fashion product")]) for i in range(12)]
tables = {}
for split in "train", "test":
    with open(f"{folder}/data/GLAMI-1M-{split}.csv", encoding="utf-8", newline="") as file:
        tables[split] = list(csv.DictReader(file))
text_of = lambda row: row["name"] + (" " + row["description"] if row["description"] else "")
wanted = {}
for row in tables["test"]:
    image, text = images[int(row["image_id"])], texts[key_of(text_of(row))]
    for name, x in ("image", image), ("text", text), ("text+image", [a + b for a, b in zip(image, text)]):
        order = sorted(range(12), key=lambda c: -dot(targets[c], unit(x)))
        for geo in "all", row["geo"]:
            cell = wanted.setdefault((name, geo), [0, 0, 0])
            cell[0] += 1
            cell[1] += order[0] == int(row["category"])
            cell[2] += int(row["category"]) in order[:5]
got = {(r["modalities"], r["geo"]): [r["items"], r["top1"] * r["items"], r["top5"] * r["items"]] for r in json.load(open(f"{folder}/zero.json"))["rows"]}
assert got.keys() == wanted.keys(), (got.keys(), wanted.keys())
for cell, counts in wanted.items():
    assert all(abs(a - b) < 1e-9 for a, b in zip(got[cell], counts)), (cell, got[cell], counts)
assert len({tuple(c) for (name, geo), c in wanted.items() if geo == "all"}) > 1, "the modalities must differ"

def check(name, query, store, field):
    hits = json.load(open(f"{folder}/{name}.json"))["results"]
    best = sorted(store, key=lambda k: -dot(unit(query), unit(store[k])))[:len(hits)]
    assert [field(hit) for hit in hits] == best, (name, hits, best)
    for hit in hits:
        assert abs(hit["score"] - dot(unit(query), unit(store[field(hit)]))) < 1e-5, hit

check("images", targets[3], images, lambda hit: hit["image_id"])
for name in "texts", "approximate":
    check(name, images[1005], texts, lambda hit: key_of(hit["text"]))
same = json.load(open(f"{folder}/same.json"))["results"]
assert same[0]["image_id"] == 1005 and same[0]["score"] > 0.9999, same
PYTHON
echo passed
