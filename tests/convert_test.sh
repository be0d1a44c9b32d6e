#!/usr/bin/env bash
# weft-convert as a user runs it.
# Usage: tests/convert_test.sh FOLDER_OF_PROGRAMS
set -uo pipefail
export LC_ALL=C.UTF-8
convert=$(cd "$1" && pwd)/weft-convert
golden=$(cd "$(dirname "$0")/golden" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

fails() { echo "FAILED: $*"; failures=$((failures + 1)); }
run() { code=$1; shift; "$convert" "$@" >out 2>err; got=$?; [[ $got == "$code" ]] || fails "$* returned $got: $(cat err)"; }
says() { grep -qF -- "$2" "$1" || fails "'$2' is missing in: $(head -c 2000 "$1")"; }

run 0 --list "$golden/pretrained/clip_jit.pt"
says out 'f16   [64, 64]                 visual.transformer.resblocks.0.attn.out_proj.weight'
says out 'TorchScript, '
run 0 --list "$golden/pretrained/mt5/model.safetensors.index.json" --json
python3 -c 'import json,sys; d=json.load(open("out")); assert d["format"]=="safetensors in 2 files" and {"name":"shared.weight","dtype":"f32","shape":[40,16]} in d["tensors"], d' || fails json

run 0 "$golden/pretrained/mt5" models/mt5
says out 'mT5 encoder, 2 layers of width 16, 40 pieces'
says out 'decoder.*: the decoder: only the encoder is used'
says out 'encoder.block.*.layer.*.SelfAttention.q.weight'
[[ -s models/mt5/model.safetensors && -s models/mt5/config.json ]] || fails "no folder"
run 0 "$golden/pretrained/mt5" --check models/mt5/model.safetensors
says out '21 equal, 0 within 0, 0 different'
run 0 "$golden/pretrained/mclip" mclip
cmp -s mclip/sentencepiece.bpe.model "$golden/pretrained/mclip/sentencepiece.bpe.model" || fails "the tokenizer"
run 0 "$golden/pretrained/open_clip.bin" --check "$golden/pretrained/clip_jit.pt"
run 0 "$golden/pretrained/embracenet.pt" embracenet --text-encoder models/mt5
[[ -s embracenet/text_encoder/model.safetensors ]] || fails "no text encoder"

# bf16 halves matrices, leaves vectors, and is then within its rounding.
run 0 "$golden/pretrained/resnext.pth" small --dtype bf16
run 0 --list small
says out 'bf16  [4, 8, 1, 1]             layer1.0.conv1.weight'
says out 'f32   [4]                      layer1.0.bn1.weight'
run 1 "$golden/pretrained/resnext.pth" --check small
says err 'tensors differ from'
run 0 "$golden/pretrained/resnext.pth" --check small --tolerance 0.004
run 1 "$golden/pretrained/resnext.pth" --check "$golden/torch_files/tensor.pt"
says out "tensor: only in $golden/torch_files/tensor.pt"

# Nothing is left of what fails, and nothing is written over.
run 1 "$golden/pretrained/mt5" models/mt5
says err "error: models/mt5: exists already: name a new folder"
run 1 "$golden/torch_files/tensor.pt" none
says err 'but the first is '
# What shows only when the model is built names the source, not the folder that it was built in.
mkdir odd
sed 's/"layer2\.0\.bn1\.weight"/"layer2.0.bn9.weight"/' small/model.safetensors >odd/resnext.safetensors
run 1 odd/resnext.safetensors none
says err "error: odd/resnext.safetensors, converted: tensor 'layer2.0.bn1.weight' is missing"
run 0 --list "$golden/torch_files/legacy.pt"
says out 'f32   [4, 6]                   model_state_dict.whole'
run 2
says err 'error: '
run 2 --list a b
[[ ! -e none && -z $(find . -name '.*.??????' -o -name '*.tmp') ]] || fails "something was left: $(ls -a)"

((failures == 0)) && echo "weft-convert: all as expected"
exit $((failures > 0))
