#!/usr/bin/env bash
# weft's main jobs on built-in data, in minutes on two cores: makes a multilingual image-text data set from Debian packages, trains the
# EmbraceNet classifier on it, measures it on held-out items, classifies one of them in three languages, and draws pictures of words
# with the cascade in weights/.
# Usage: scripts/demo.sh [FOLDER]   (default: build/demo)
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh
bin=build/bin
out=${1:-build/demo}
mkdir -p "$out"
# bf16 is the faster one only where the processor multiplies it.
dtype=f32
grep -q avx512_bf16 /proc/cpuinfo 2>/dev/null && dtype=bf16

echo
echo "== 1. Data: emoji13, real texts in 13 languages, two drawings of every emoji"
[[ -e $out/emoji13/emoji13.json ]] || $bin/weft-prepare emoji --out "$out/emoji13"

echo
echo "== 2. Training: text encoder, image encoder and EmbraceNet head, all from scratch"
$bin/weft-train embracenet --data "$out/emoji13" --out "$out/model" --dtype "$dtype"

echo
echo "== 3. Accuracy on emoji that training never saw, in any language or drawing"
$bin/weft-evaluate --model "$out/model" --data "$out/emoji13" --dtype "$dtype" --json "$out/evaluation.json"

echo
echo "== 4. One held-out item, in three languages"
# Every row of the first held-out clothing item: item_id, image_id, geo, name, ...
while IFS=$'\t' read -r geo image name; do
  echo
  echo "\$ weft-classify --model $out/model --image $out/emoji13/images/$image.jpg --text \"$name\" --geo $geo"
  $bin/weft-classify --model "$out/model" --image "$out/emoji13/images/$image.jpg" --text "$name" --geo "$geo" --top 3
done < <(python3 - "$out/emoji13/GLAMI-1M-test.csv" <<'PY'
import csv, sys
with open(sys.argv[1], encoding="utf-8", newline="") as file:
    rows = [row for row in csv.DictReader(file) if row["category_name"] == "clothing"]
for geo in ("cz", "gr", "es"):
    row = next(r for r in rows if r["geo"] == geo and r["image_id"] == rows[0]["image_id"])
    print(geo, row["image_id"], row["name"], sep="\t")
PY
)

echo
echo "== 5. Text to image: the running shoe in 13 languages, and other words (the cascade in weights/, trained on the same data)"
draw() { # FILE WORD...
  local file=$1 texts=()
  shift
  for word in "$@"; do texts+=(--text "$word"); done
  $bin/weft-generate --model weights/cascade --dtype "$dtype" --steps 25 --guidance 2 --seed 7 "${texts[@]}" --out "$file"
}
draw "$out/sneakers.png" "běžecká bota" "bežecká topánka" "tekaški čevelj" "tenisica" "futócipő" "pantof sport" "Спортна обувка" \
  "αθλητικό παπούτσι" "zapatilla deportiva" "bėgimo batelis" "skriešanas apavi" "jooksuking" "koşu ayakkabısı"
draw "$out/words.png" "růže" "cara de perro" "sárga szív" "пица" "traktör" "kitarr" "κόκκινο μήλο" "pinguin" "saulėgrąža" "sēne" "kruna" \
  "dežnik" "čerešne"
echo "drawn: $out/sneakers.png and $out/words.png"
