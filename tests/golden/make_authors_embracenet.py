#!/usr/bin/env python3
"""What the GLAMI-1M authors' EmbraceNet answers, from their tower and checkpoint files, in PyTorch.

PyPI: torch, torchvision, transformers, sentencepiece. Run after make_pretrained.py:
python3 tests/golden/make_authors_embracenet.py
Writes pretrained/embracenet/ beside this script (written with torch 2.15, transformers 5.23, sentencepiece 0.2.3).

  spiece.model    a SentencePiece unigram model of at most 40 pieces, for pretrained/mt5
  answers.json    for texts, an image and both: the probabilities of categories 7, 12, 105 (the expectation, no draw)

The image is 298 high and 228 wide; colour c of pixel (y, x) is (3 y + 5 x + 70 c) % 256.
"""
import json
import pathlib

import sentencepiece
import torch
import transformers

from make_pretrained import FOLDER, TinyResNeXt

TEXTS = ["black shoe", "a bee", "cabbage head on a lace band", ""]


def tokenizer(path):
    words = "black shoe bee cabbage head lace band a on an the boa hen sand canoe".split()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f"{a} {b}" for a in words for b in words]), model_prefix=str(path.with_suffix("")),
        vocab_size=40, hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        normalization_rule_name="identity", num_threads=1, minloglevel=2)
    path.with_suffix(".vocab").unlink()
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def main():
    torch.set_num_threads(1)
    folder = FOLDER / "embracenet"
    folder.mkdir(exist_ok=True)
    pieces = tokenizer(folder / "spiece.model")
    state = torch.load(FOLDER / "embracenet.pt", weights_only=True)["model_state_dict"]
    mt5 = transformers.MT5EncoderModel.from_pretrained(FOLDER / "mt5").eval()
    resnext = TinyResNeXt(6).eval()
    resnext.fc = torch.nn.Identity()
    resnext.load_state_dict({k.removeprefix("pre_2."): v for k, v in state.items() if k.startswith("pre_2.")})
    tokens = state["embracenet.docking_0.weight"].shape[1] // mt5.config.d_model

    linear = lambda name, x: torch.nn.functional.linear(x, state[name + ".weight"], state[name + ".bias"])

    def dock_text(text):
        ids = pieces.encode(text)[:tokens - 1] + [1]
        mask = torch.tensor([[1] * len(ids) + [0] * (tokens - len(ids))])
        ids = torch.tensor([ids + [0] * (tokens - len(ids))])
        hidden = mt5(input_ids=ids, attention_mask=mask).last_hidden_state
        return torch.relu(linear("embracenet.docking_0", (hidden * mask[..., None]).flatten(1)))

    y, x, c = torch.meshgrid(torch.arange(298), torch.arange(228), torch.arange(3), indexing="ij")
    image = ((3 * y + 5 * x + 70 * c) % 256).float() / 255
    answers = []
    with torch.no_grad():
        docked_image = torch.relu(linear("embracenet.docking_1", resnext(image.permute(2, 0, 1)[None])))
        for text in TEXTS + [None]:
            for with_image in (False, True):
                docked = ([] if text is None else [dock_text(text)]) + ([docked_image] if with_image else [])
                if docked:
                    joint = torch.stack(docked).mean(0)
                    probabilities = torch.softmax(linear("post", joint), 1)[0].tolist()
                    answers.append({"text": text, "image": with_image, "probabilities": probabilities})
    (folder / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")
    print(len(answers), "answers;", pieces.get_piece_size(), "pieces")


if __name__ == "__main__":
    main()
