#!/usr/bin/env bash
# weft-prepare as a user runs it: emoji13 is complete, in GLAMI-1M's format, the same bytes in every run, and fails cleanly.
set -euo pipefail
bin=$1
source "$(dirname "$0")/as_a_user.bash"

json=$("$bin/weft-prepare" emoji --out "$folder/a" --json)
[[ $json == '{"folder":'* && $(wc -l <<<"$json") == 1 ]] || fail "--json prints $json"
data=$folder/a
[[ $(ls "$data") == $'GLAMI-1M-test.csv\nGLAMI-1M-train.csv\nemoji13.json\nimages\nspiece.model' ]] || fail "files: $(ls "$data")"

python3 - "$data" <<'PYTHON' || fail "the tables"
import csv, os, sys
folder = sys.argv[1]
columns = "item_id,image_id,geo,name,description,category,category_name,label_source".split(",")
sides, seen = {}, set()
for side in ("train", "test"):
    with open(f"{folder}/GLAMI-1M-{side}.csv", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == columns, reader.fieldnames
        sides[side] = list(reader)
train, test = sides["train"], sides["test"]
assert 30000 < len(train) < 45000 and 4000 < len(test) < 5500, (len(train), len(test))
assert len({row["item_id"] for row in train + test}) == len(train) + len(test)
languages = "cz sk ro gr si hu hr es lt lv tr ee bg".split()
for rows in (train, test):
    assert {row["geo"] for row in rows} == set(languages)
    assert {row["label_source"] for row in rows} == {"admin", ""}
    assert all(row["name"] for row in rows)
names = sorted({row["category_name"] for row in train})
assert len(names) >= 95 and "clothing" in names
assert {row["category_name"] for row in test} <= set(names)
assert all(names[int(row["category"])] == row["category_name"] for row in train + test)
flags = sum(row["category_name"] == "country-flag" for row in test) / len(test)
assert 0.13 < flags < 0.18, flags
# No emoji on both sides: neither its pictures nor, in any language, its name together with its keywords.
assert not {row["image_id"] for row in train} & {row["image_id"] for row in test}
text = lambda row: (row["geo"], row["name"], row["description"])
assert not {text(row) for row in train} & {text(row) for row in test}
images = {row["image_id"] + ".jpg" for row in train + test}
assert images == set(os.listdir(f"{folder}/images"))
assert all(open(f"{folder}/images/{name}", "rb").read(3) == b"\xff\xd8\xff" for name in images)
PYTHON

"$bin/weft-tokenize" --model "$data/spiece.model" <<<"kočka" | grep -qE '^[0-9]+( [0-9]+)*$' || fail "the tokenizer is not usable"

# With every emoji as its own category, nothing else changes.
"$bin/weft-prepare" emoji --out "$folder/each" --categories emoji --quiet
python3 - "$data" "$folder/each" <<'PYTHON' || fail "--categories emoji"
import csv, sys
rows, each = (list(csv.DictReader(open(f"{folder}/GLAMI-1M-train.csv", encoding="utf-8", newline=""))) for folder in sys.argv[1:])
category = lambda row: (row.pop("category"), row.pop("category_name"))
names = [category(row)[1] for row in each]
assert [category(row) for row in rows] and rows == each
images = {}
for row, name in zip(each, names):
    images.setdefault(name, set()).add(row["image_id"])
assert "running shoe" in images and all(name and len(ids) <= 2 for name, ids in images.items())
PYTHON
cmp "$data/spiece.model" "$folder/each/spiece.model" || fail "--categories emoji gives another tokenizer"

# An emoji13 folder is replaced, by the same bytes.
cp -r "$data" "$folder/b"
touch "$folder/b/left-over"
"$bin/weft-prepare" emoji --out "$folder/b/" --quiet >"$folder/stdout" 2>&1
[[ ! -s $folder/stdout ]] || fail "--quiet prints $(cat "$folder/stdout")"
diff -r "$data" "$folder/b" || fail "a second run gives other bytes"

# Nothing that is not emoji13 is touched, and nothing is left behind.
mkdir "$folder/other"
echo precious >"$folder/other/GLAMI-1M-train.csv"
expect 1 "is not empty and no emoji13 folder" "$bin/weft-prepare" emoji --out "$folder/other"
[[ $(cat "$folder/other/"*) == precious ]] || fail "a foreign folder was changed"
expect 1 "is not a folder" "$bin/weft-prepare" emoji --out "$folder/other/GLAMI-1M-train.csv"
expect 1 "cannot be created" "$bin/weft-prepare" emoji --quiet --out /proc/none/emoji13
expect 2 "--out is required" "$bin/weft-prepare" emoji
expect 2 "subcommand" "$bin/weft-prepare"
[[ ! -e $folder/b.partial && ! -e $folder/b.old ]] || fail "left behind: $(ls "$folder")"

"$bin/weft-prepare" stats "$data" --plot "$folder/tail.png" >"$folder/tables"
for text in "Items by language" "Items by label source" "Items by category" "Pairs of items that share an image" "country-flag" "Slovene"; do
  grep -q "$text" "$folder/tables" || fail "stats lacks \"$text\""
done
python3 - "$data" <<PYTHON || fail "stats --json"
import json, sys
s = json.loads('''$("$bin/weft-prepare" stats "$data" --json)''')
made = json.load(open(sys.argv[1] + "/emoji13.json"))
assert s["train"]["items"] == made["train_items"] and s["test"]["items"] == made["test_items"]
assert s["all"]["unique_images"] == made["images"] and len(s["categories"]) == made["categories"]
assert sum(c["train"] for c in s["categories"]) == sum(g["train"] for g in s["geos"].values()) == made["train_items"]
pairs = s["shared_image_pairs"]["counts"]
assert pairs[0][1] == made["images"] and pairs[3][3] == 0
PYTHON
[[ $(head -c 4 "$folder/tail.png" | tail -c 3) == PNG ]] || fail "the plot is no PNG"
[[ -s $data/long-tail.png ]] || fail "the default plot is missing"
expect 1 "none: no such folder" "$bin/weft-prepare" stats "$folder/none"
expect 2 "folder is required" "$bin/weft-prepare" stats
echo "prepare_test: all passed"
