#!/usr/bin/env bash
# 20 training steps and one classification on the cuda device (the virtual GPU) agree with the cpu's from the same seed;
# steps that are launches of one graph give the bytes of eager ones.
set -euo pipefail
shopt -s inherit_errexit
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
export OMP_WAIT_POLICY=passive

data=$folder/data
python3 "$here/classifier_data.py" "$data"
(cd "$data" && spm_train --input=texts.txt --model_prefix=spiece --vocab_size=600 --hard_vocab_limit=false \
  --byte_fallback=true --pad_id=0 --eos_id=1 --unk_id=2 --bos_id=-1 --minloglevel=2 --num_threads=1)
sizes=(--image-size 16x16 --text-width 32 --text-layers 1 --text-heads 2 --text-head-size 32 --text-ff 64
  --image-layers 1,1,1,1 --image-planes 8,16,32,64 --image-stem 8 --image-groups 4 --image-width-per-group 16 --embracement 64)

# A device is the programs' prefix and their options: 72 items in batches of 16 are 4 steps an epoch.
vgpu=("$here/../scripts/vgpu" --check none)
train() { # DEVICE OUT OPTION...
  local prefix=()
  [[ $1 != cuda ]] || prefix=("${vgpu[@]}")
  ${prefix[@]+"${prefix[@]}"} "$bin/weft-train" embracenet --device "$1" --data "$data" --out "$2" "${sizes[@]}" \
    --batch 16 --items-per-image 1 --lr 2e-3 --seed 3 "${@:3}"
}
train cpu "$folder/cpu" --epochs 5 >"$folder/cpu.log" 2>"$folder/stderr"
train cuda "$folder/cuda" --epochs 5 >"$folder/cuda.log" 2>"$folder/stderr" ||
  fail "training on cuda: $(cat "$folder/stderr")"

classify() { # DEVICE PREFIX...
  "${@:2}" "$bin/weft-classify" --device "$1" --model "$folder/$1" --image "$data/images/1001.jpg" \
    --text "item of a category" --json
}
classify cpu >"$folder/cpu.json"
classify cuda "${vgpu[@]}" >"$folder/cuda.json" 2>"$folder/stderr" ||
  fail "classification on cuda: $(cat "$folder/stderr")"

for graph in "" --graph; do
  # shellcheck disable=SC2086
  train cuda "$folder/flat$graph" --text-pooling flatten --max-tokens 8 --epochs 2 --ema 0.9 $graph \
    >"$folder/flat.log" 2>"$folder/stderr" || fail "training on cuda $graph: $(cat "$folder/stderr")"
done
cmp "$folder/flat/model.safetensors" "$folder/flat--graph/model.safetensors" || fail "recorded steps have other bytes"
train cpu "$folder/refused" --graph >"$folder/flat.log" 2>"$folder/stderr" && fail "--graph on the cpu was accepted"
grep -q '^error: --graph: --device cuda and --items-per-image 1' "$folder/stderr" || fail "--graph on the cpu"

# The image alone: steps on cuda, and launches of one graph, have the cpu's losses.
for run in cpu cuda cuda--graph; do
  prefix=()
  [[ $run == cpu ]] || prefix=("${vgpu[@]}")
  # shellcheck disable=SC2086
  ${prefix[@]+"${prefix[@]}"} "$bin/weft-train" resnext --device ${run/--/ --} --data "$data" --out "$folder/image-$run" \
    --image-size 16x16 --image-layers 1,1,1,1 --image-planes 8,16,32,64 --image-stem 8 --image-groups 4 \
    --image-width-per-group 16 --batch 16 --items-per-image 1 --lr 2e-3 --seed 3 --epochs 2 --ema 0.9 \
    >"$folder/image-$run.log" 2>"$folder/stderr" || fail "resnext on $run: $(cat "$folder/stderr")"
done
cmp "$folder/image-cuda/model.safetensors" "$folder/image-cuda--graph/model.safetensors" ||
  fail "recorded steps of resnext have other bytes"

python3 - "$folder" <<'PYTHON'
import json, re, sys
folder = sys.argv[1]
def losses_of(name):
    return [float(x) for x in re.findall(r"^epoch \d+: loss ([0-9.]+)", open(f"{folder}/{name}.log").read(), re.M)]

image = [losses_of(f"image-{device}") for device in ("cpu", "cuda")]
assert len(image[0]) == len(image[1]) == 2 and all(abs(a - b) <= 2e-3 * a for a, b in zip(*image)), image
losses = {}
for device in "cpu", "cuda":
    losses[device] = losses_of(device)
    assert len(losses[device]) == 5, losses
    assert losses[device][-1] < losses[device][0], f"{device} learns nothing: {losses}"
for a, b in zip(losses["cuda"], losses["cpu"]):
    assert abs(a - b) <= 2e-3 * b, losses
predictions = {d: json.load(open(f"{folder}/{d}.json"))["predictions"] for d in losses}
answers = {d: {a["category"]: a["probability"] for a in predictions[d]} for d in losses}
assert answers["cuda"].keys() == answers["cpu"].keys(), answers
for category, probability in answers["cpu"].items():
    assert abs(answers["cuda"][category] - probability) <= 5e-3, answers
PYTHON
