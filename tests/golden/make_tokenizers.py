#!/usr/bin/env python3
"""Makes tests/golden/tokenizers: small tokenizers of every kind and what the original libraries make of a few hundred texts.

Needs from PyPI: sentencepiece, transformers (5 or later), open_clip_torch (with ftfy and regex); from Debian: unicode-cldr-core and
unicode-data. XLM-RoBERTa and mT5 have no slow tokenizer in transformers 5: theirs are written here on top of transformers' slow
base class (PreTrainedTokenizer), token for token as in transformers 4.

Usage: make_tokenizers.py                  rewrites the folder
       make_tokenizers.py parity WEFT_TOKENIZE [EMOJI13]   prints how many of emoji13's texts, of the normalisation test file's and of
           100,000 fuzzed strings have other ids than the originals, with models of thousands of pieces and CLIP's full merges
"""
import glob
import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import unicodedata
import warnings

import sentencepiece
from transformers import AddedToken, M2M100Tokenizer
from transformers.tokenization_python import PreTrainedTokenizer

warnings.filterwarnings("ignore")
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "tokenizers")


class SlowT5(PreTrainedTokenizer):
    """T5Tokenizer of transformers 4.8 with extra_ids=0, as mT5's."""

    def __init__(self, folder):
        self.sp_model = sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, "spiece.model"))
        super().__init__(eos_token="</s>", unk_token="<unk>", pad_token="<pad>")

    vocab_size = property(lambda self: self.sp_model.get_piece_size())
    get_vocab = lambda self: {self.sp_model.id_to_piece(i): i for i in range(self.vocab_size)}
    _tokenize = lambda self, text, **_: self.sp_model.encode(text, out_type=str)
    _convert_token_to_id = lambda self, token: self.sp_model.piece_to_id(token)
    _convert_id_to_token = lambda self, index: self.sp_model.id_to_piece(index)

    def build_inputs_with_special_tokens(self, ids, _=None):
        return ids if ids and ids[-1] == self.eos_token_id else ids + [self.eos_token_id]

    def plain_text(self, ids):
        return self.sp_model.decode(ids)


class SlowXlmRoberta(PreTrainedTokenizer):
    """XLMRobertaTokenizer of transformers 4."""

    def __init__(self, folder):
        self.sp_model = sentencepiece.SentencePieceProcessor(
            model_file=os.path.join(folder, "sentencepiece.bpe.model"))
        self.fixed = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": self.sp_model.get_piece_size() + 1}
        mask = AddedToken("<mask>", lstrip=True, special=True, normalized=False)
        super().__init__(bos_token="<s>", eos_token="</s>", sep_token="</s>", cls_token="<s>", unk_token="<unk>",
                         pad_token="<pad>", mask_token=mask, added_tokens_decoder={self.fixed["<mask>"]: mask})

    vocab_size = property(lambda self: self.sp_model.get_piece_size() + 2)
    get_vocab = lambda self: {self._convert_id_to_token(i): i for i in range(self.vocab_size)}
    _tokenize = lambda self, text, **_: self.sp_model.encode(text, out_type=str)

    def _convert_token_to_id(self, token):
        if token in self.fixed:
            return self.fixed[token]
        piece = self.sp_model.piece_to_id(token)
        return piece + 1 if piece else 3

    def _convert_id_to_token(self, index):
        return next((t for t, i in self.fixed.items() if i == index), None) or self.sp_model.id_to_piece(index - 1)

    def build_inputs_with_special_tokens(self, ids, _=None):
        return [0] + ids + [2]

    def plain_text(self, ids):
        return "".join(self.convert_ids_to_tokens(ids, skip_special_tokens=True)).replace("▁", " ").strip()


class M2m100(M2M100Tokenizer):
    def __init__(self, folder):
        codes = M2M100Tokenizer.__init__.__globals__["FAIRSEQ_LANGUAGE_CODES"]["m2m100"]
        # Named as the hub's special_tokens_map.json does.
        super().__init__(os.path.join(folder, "vocab.json"), os.path.join(folder, "sentencepiece.bpe.model"),
                         additional_special_tokens=[f"__{c}__" for c in codes])

    def plain_text(self, ids):
        return self.decode(ids, skip_special_tokens=True)


class Clip:
    """open_clip's SimpleTokenizer on the merges file of a folder, or of the library itself."""

    def __init__(self, folder):
        from open_clip.tokenizer import SimpleTokenizer, default_bpe
        path = os.path.join(folder, "bpe_simple_vocab_16e6.txt.gz")
        self.tokenizer = SimpleTokenizer(bpe_path=path if os.path.exists(path) else default_bpe())

    def __call__(self, text, max_length=None, truncation=False, add_special_tokens=True):
        bare = self.tokenizer.encode(text)
        if not add_special_tokens:
            return {"input_ids": bare}
        tokens = self.tokenizer([text], context_length=max_length or len(bare) + 2)[0].tolist()
        return {"input_ids": tokens[:len(bare) + 2]}

    def plain_text(self, ids):
        return self.tokenizer.decode([i for i in ids if i not in self.tokenizer.all_special_ids])

    def glami(self, text):
        tokens = self.tokenizer([text], context_length=32)[0].tolist()
        return tokens[:31] + [0] * 45 + tokens[31:]


class Pieces:
    """A SentencePiece model by itself."""

    def __init__(self, file):
        self.sp_model = sentencepiece.SentencePieceProcessor(model_file=file)
        self.eos = [self.sp_model.eos_id()] if self.sp_model.eos_id() >= 0 else []

    def __call__(self, text, max_length=None, truncation=False, add_special_tokens=True):
        ids = self.sp_model.encode(text)
        eos = self.eos if add_special_tokens else []
        return {"input_ids": (ids[:max_length - len(eos)] if max_length else ids) + eos}

    def plain_text(self, ids):
        return self.sp_model.decode(ids)


KINDS = {"mt5": SlowT5, "xlm_roberta": SlowXlmRoberta, "m2m100": M2m100, "clip": Clip}


def cldr_texts():
    texts = []
    for language in "cs el hu bg es tr en".split():
        with open(f"/usr/share/unicode/cldr/common/annotations/{language}.xml", encoding="utf-8") as file:
            texts += re.findall(r"<annotation cp=[^>]*>([^<]*)</annotation>", file.read())
    return [text.replace(" | ", ", ") for text in texts]


def normalization_texts():
    import bz2
    texts = []
    with bz2.open("/usr/share/unicode/NormalizationTest.txt.bz2", "rt", encoding="utf-8") as file:
        for line in file:
            if line[0] not in "#@":
                texts += ["".join(chr(int(c, 16)) for c in column.split()) for column in line.split(";")[:5]]
    return [text for text in texts if not set(text) & set("\n\r")]


WORDS = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "__en__", "__de__", "__fr", "<0x41>", "▁", " ", "  ", "červené tričko", "κόκκινο",
         "червен", "don't", "we'll", "it's", "I'VE", "x2", "2024", "½", "&amp;", "&lt;", "&amp;amp;", "&#233;", "&#x1F600;", "&notit;",
         "&EACUTE;", "&hellip;", "<b>", "“", "”", "’", "…", "ﬁ", "Ａｂｃ", "ｶﾞ", "İ", "ΣΑΣ", "ß", "é", "é", "Ã©", "â€™", "â€œ", "Ã¼", "Â°",
         "\u2028", "\u0085", "\u00a0", "\u3000", "\t", "\x1b[31m", "\ufeff", "\u200b", "\u200d", "😀", "👩‍👩‍👧", "🇨🇿", "漢字", "<start_of_text>",
         "<end_of_text>", "'ſ", "a", "b", "ab", "the", "tričko", "T-shirt", "100%", "$5", "#1", "@", "\\", "''", "!!!", "...", "---"]


def fuzzed(count, seed):
    """Strings of every kind of character, mixed: words, ranges of Unicode, mojibake."""
    rng = random.Random(seed)
    ranges = [(0x20, 0x7e), (0x61, 0x7a), (0x41, 0x5a), (0x00, 0x1f), (0x80, 0xff), (0xa0, 0x24f), (0x300, 0x36f), (0x370, 0x52f),
              (0x530, 0x1fff), (0x2000, 0x206f), (0x2070, 0x33ff), (0x3400, 0xd7ff), (0xe000, 0xffff), (0xff00, 0xffef),
              (0x10000, 0x10ffff), (0x1f000, 0x1faff), (0x1d400, 0x1d7ff)]
    codecs = ["latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "iso-8859-2", "mac-roman", "cp437"]

    def part():
        kind = rng.randrange(4)
        if kind == 0:
            return rng.choice(WORDS)
        low, high = rng.choice(ranges[:9]) if kind == 1 else rng.choice(ranges)
        return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6)))

    texts = []
    while len(texts) < count:
        text = (" " if rng.random() < 0.5 else "").join(part() for _ in range(rng.randint(1, 300 if rng.random() < 0.003 else 9)))
        if rng.random() < 0.15:  # mojibake: UTF-8 read as something else
            text = text.encode("utf-8", "replace").decode(rng.choice(codecs), "replace")
        texts.append(re.sub("[\n\r]", " ", text))
    return texts


def train(work, name, corpus, *options):
    before = os.getcwd()
    os.chdir(work)  # the model records the names of its files
    prefix = name
    sentencepiece.SentencePieceTrainer.train(" ".join(
        [f"--input={corpus}", f"--model_prefix={prefix}", "--hard_vocab_limit=false", "--num_threads=1", "--minloglevel=2", *options]))
    os.chdir(before)
    return os.path.join(work, prefix + ".model")


def make_models(out=OUT, size=800, normalization=None):
    """mT5's, XLM-RoBERTa's and M2M100's kinds of model with the originals' options."""
    with tempfile.TemporaryDirectory() as work:
        corpus = "corpus.txt"
        with open(os.path.join(work, corpus), "w", encoding="utf-8") as file:
            file.write("\n".join(cldr_texts()[::4 if size == 800 else 1]))
        # The originals' options, with rules small enough to commit instead of nmt_nfkc.
        rules = "rules.tsv"
        with open(os.path.join(work, rules), "w", encoding="utf-8") as file:
            file.write("A0\t20\n3000\t20\n9\t20\n85\t20\n200B\t\nFB01\t66 69\n61 301\tE1\n")
        rule = f"--normalization_rule_name={normalization}" if normalization else f"--normalization_rule_tsv={rules}"
        rule += f" --vocab_size={size}"
        models = {
            "mt5/spiece.model": train(work, "mt5", corpus, rule, "--model_type=unigram", "--byte_fallback",
                                      "--pad_id=0", "--eos_id=1", "--unk_id=2", "--bos_id=-1"),
            "xlm_roberta/sentencepiece.bpe.model": train(work, "xlmr", corpus, rule, "--model_type=unigram"),
            "m2m100/sentencepiece.bpe.model": train(work, "m2m", corpus, rule, "--model_type=bpe"),
        }
        for path, model in models.items():
            os.makedirs(os.path.dirname(os.path.join(out, path)), exist_ok=True)
            with open(model, "rb") as source, open(os.path.join(out, path), "wb") as target:
                target.write(source.read())
    with open(os.path.join(out, "mt5/config.json"), "w") as file:
        json.dump({"model_type": "mt5"}, file)
    # fairseq's dictionary: special tokens first, then most of the pieces in another order, and one that is no piece.
    sp = sentencepiece.SentencePieceProcessor(model_file=os.path.join(out, "m2m100/sentencepiece.bpe.model"))
    pieces = [sp.id_to_piece(i) for i in range(3, sp.get_piece_size())]
    random.Random(5).shuffle(pieces)
    entries = ["<s>", "<pad>", "</s>", "<unk>"] + pieces[20:] + ["漢字"]
    with open(os.path.join(out, "m2m100/vocab.json"), "w", encoding="utf-8") as file:
        json.dump({piece: i for i, piece in enumerate(entries)}, file, ensure_ascii=False, indent=0)


def make_merges(count=3000):
    """The first merges of CLIP's (OpenAI, MIT)."""
    from open_clip.tokenizer import default_bpe
    os.makedirs(os.path.join(OUT, "clip"), exist_ok=True)
    with gzip.open(default_bpe()) as file:
        lines = file.read().split(b"\n")[:count + 1]
    with open(os.path.join(OUT, "clip/bpe_simple_vocab_16e6.txt.gz"), "wb") as file:
        file.write(gzip.compress(b"\n".join(lines), mtime=0))


def ids_of(tokenizer, text, special=True, length=None):
    limit = {"max_length": length, "truncation": True} if length else {}
    return list(tokenizer(text, add_special_tokens=special, **limit)["input_ids"])


def write_lines(name, lines):
    with open(os.path.join(OUT, name), "w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


def golden_texts():
    texts = cldr_texts()[::311] + normalization_texts()[::1201] + WORDS + fuzzed(220, 1)
    return [text for text in dict.fromkeys(texts) if text]


def make_goldens():
    make_models()
    make_merges()
    texts = golden_texts()
    write_lines("texts.txt", texts)
    for name, kind in KINDS.items():
        tokenizer = kind(os.path.join(OUT, name))
        ids = [ids_of(tokenizer, text) for text in texts]
        write_lines(f"{name}.ids", [" ".join(map(str, i)) for i in ids])
        write_lines(f"{name}.cut8", [" ".join(map(str, ids_of(tokenizer, text, True, 8))) for text in texts])
        if name == "clip":
            write_lines("clip.glami", [" ".join(map(str, tokenizer.glami(text))) for text in texts])
        write_lines(f"{name}.txt", [json.dumps(tokenizer.plain_text(i)) for i in ids])


def emoji13_texts(folder):
    import csv
    texts = []
    for table in ("train", "test"):
        with open(os.path.join(folder, f"GLAMI-1M-{table}.csv"), encoding="utf-8", newline="") as file:
            texts += [row["name"] + " " + row["description"] for row in csv.DictReader(file)]
    return [re.sub("[\n\r]", " ", text) for text in texts]


def compare(program, model, kind, name, texts):
    special = [] if kind is Pieces else ["--special"]
    original = kind(model)
    run = subprocess.run([program, "--model", model] + special, input=("\n".join(texts) + "\n").encode(), capture_output=True, check=True)
    got = run.stdout.decode().split("\n")
    wrong = [i for i, text in enumerate(texts) if got[i] != " ".join(map(str, ids_of(original, text, kind is not Pieces)))]
    # Characters that Unicode got after this Python: it does not order nor lower-case them.
    newer = [i for i in wrong if any(unicodedata.category(c) == "Cn" for c in texts[i])]
    wrong = [i for i in wrong if i not in newer]
    unknown = f" and {len(newer)} with characters newer than Python's Unicode {unicodedata.unidata_version}" if newer else ""
    print(f"{os.path.basename(model)}, {name}: {len(texts)} texts, {len(wrong)} with other ids{unknown}", flush=True)
    for i in wrong[:5]:
        print(f"  {ascii(texts[i])}\n    expected {ids_of(original, texts[i], kind is not Pieces)}\n    found    {got[i]}")
    return len(wrong)


def parity(program, emoji13=None, count=100000):
    from open_clip.tokenizer import default_bpe
    sets = {"normalisation test file": normalization_texts(), "fuzzed strings": fuzzed(count, 20261123)}
    if emoji13:
        sets["emoji13"] = emoji13_texts(emoji13)
    failures = 0
    with tempfile.TemporaryDirectory() as work:
        make_models(work, 8000, "nmt_nfkc")
        os.makedirs(os.path.join(work, "clip"))
        os.symlink(default_bpe(), os.path.join(work, "clip/bpe_simple_vocab_16e6.txt.gz"))
        models = [(os.path.join(work, name), kind) for name, kind in KINDS.items()]
        models += [(os.path.join(work, "m2m100/sentencepiece.bpe.model"), Pieces)]
        if emoji13:
            models += [(os.path.join(emoji13, "spiece.model"), Pieces)]
        for model, kind in models:
            for name, texts in sets.items():
                failures += compare(program, model, kind, name, texts)
    return failures


if __name__ == "__main__":
    if sys.argv[1:2] == ["parity"]:
        sys.exit(1 if parity(*sys.argv[2:]) else 0)
    make_goldens()
