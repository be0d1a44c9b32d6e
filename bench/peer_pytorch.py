#!/usr/bin/python3
"""The architecture and recipe of `weft-train embracenet` from scratch, in PyTorch: the yardstick of accuracy and speed.

Debian 12: apt install python3-torch python3-sentencepiece python3-pil libopenblas0-pthread
    weft-prepare emoji --out DIR
    /usr/bin/python3 bench/peer_pytorch.py --data DIR --dtype bf16 --seed 1 --out MODEL --json peer.json
    /usr/bin/python3 bench/peer_pytorch.py --classify MODEL --text "crown" --image FILE

Text: SentencePiece, 32 tokens, an mT5-style encoder; image: ResNeXt at 64x64; EmbraceNet over text, image and label
source (switched off in training and evaluation, for it leaks the category of emoji13). Figures are those of expected
inference.
"""
import argparse
import csv
import json
import math
import os
import resource
import shutil
import sys
import time

START = time.time()
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import sentencepiece
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

TOKENS, SIDE, EOS = 32, 64, 1


class RMSNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Block(nn.Module):
    """x += SA(RMS(x)); x += FF(RMS(x)); no biases, no 1/sqrt(d), gated gelu (tanh)."""

    def __init__(self, o):
        super().__init__()
        inner = o.heads * o.head_size
        self.heads, self.dropout = o.heads, o.dropout
        self.norm0, self.norm1 = RMSNorm(o.width), RMSNorm(o.width)
        self.q, self.k, self.v = (nn.Linear(o.width, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, o.width, bias=False)
        self.wi_0, self.wi_1 = (nn.Linear(o.width, o.ff, bias=False) for _ in range(2))
        self.wo = nn.Linear(o.ff, o.width, bias=False)
        nn.init.normal_(self.q.weight, std=(o.width * o.head_size) ** -0.5)
        for layer in (self.k, self.v, self.o, self.wi_0, self.wi_1, self.wo):
            small = 0.01 if layer in (self.o, self.wo) else 1.0
            nn.init.normal_(layer.weight, std=small * layer.in_features ** -0.5)

    def forward(self, x, bias):
        y = self.norm0(x)
        q, k, v = (f(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        a = torch.softmax((q @ k.transpose(2, 3)).float() + bias, -1)
        x = x + F.dropout(self.o((a.to(v.dtype) @ v).transpose(1, 2).flatten(2)), self.dropout, self.training)
        y = self.norm1(x)
        y = self.wo(F.gelu(self.wi_0(y), approximate="tanh") * self.wi_1(y))
        return x + F.dropout(y, self.dropout, self.training)


class TextEncoder(nn.Module):
    def __init__(self, o, vocabulary):
        super().__init__()
        self.dropout = o.dropout
        self.shared = nn.Embedding(vocabulary, o.width)
        nn.init.normal_(self.shared.weight, std=o.embedding_std)
        self.relative_attention_bias = nn.Embedding(32, o.heads)
        nn.init.normal_(self.relative_attention_bias.weight, std=o.width ** -0.5)
        self.block = nn.ModuleList(Block(o) for _ in range(o.layers))
        self.final_layer_norm = RMSNorm(o.width)
        distance = torch.arange(TOKENS)[None] - torch.arange(TOKENS)[:, None]
        d = distance.abs()
        far = (8 + torch.log(d.clamp(min=1) / 8) / math.log(16) * 8).long().clamp(max=15)
        self.register_buffer("bucket", (distance > 0) * 16 + torch.where(d < 8, d, far), persistent=False)

    def forward(self, ids, mask):
        t = ids.shape[1]
        bias = self.relative_attention_bias(self.bucket[:t, :t]).permute(2, 0, 1) + ~mask[:, None, None] * -1e4
        x = F.dropout(self.shared(ids), self.dropout, self.training)
        for block in self.block:
            x = block(x, bias)
        return F.dropout(self.final_layer_norm(x), self.dropout, self.training) * mask[..., None]


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, outputs, stride, groups):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class ResNeXt(nn.Module):
    """torchvision's ResNeXt with planes 16, 32, 64, 128 (outputs 4 times that), 8 groups of 4, 8, 16, 32; about 1 M
    parameters."""

    def __init__(self, layers=(2, 2, 2, 2), groups=8, planes=16):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, planes, 7, 2, 3, bias=False), nn.BatchNorm2d(planes)
        inputs = planes
        for i, blocks in enumerate(layers):
            stage = []
            for j in range(blocks):
                stage.append(Bottleneck(inputs, planes * 2, planes * 4, 2 if i and not j else 1, groups))
                inputs = planes * 4
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
            planes *= 2
        self.features = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


class Classifier(nn.Module):
    def __init__(self, o, vocabulary, classes):
        super().__init__()
        self.pooling = o.text_pooling
        self.pre_0, self.pre_2 = TextEncoder(o, vocabulary), ResNeXt()
        text = o.width * (TOKENS if o.text_pooling == "flatten" else 1)
        self.docking = nn.ModuleList(nn.Linear(n, o.embracement) for n in (text, self.pre_2.features, 5))
        self.post = nn.Linear(o.embracement, classes)
        self.head_dropout = o.head_dropout

    def dock_text(self, ids):
        mask = ids != 0
        x = self.pre_0(ids, mask)
        if self.pooling == "flatten":
            x = F.pad(x, (0, 0, 0, TOKENS - x.shape[1])).flatten(1)
        else:
            x = x.sum(1) / mask.sum(1, keepdim=True)
        return torch.relu(self.docking[0](x)).float()

    def dock_image(self, image):
        return torch.relu(self.docking[1](self.pre_2(image))).float()

    def classify(self, embraced):
        return self.post(F.dropout(embraced, self.head_dropout, self.training)).float()


def embrace(text, image, availability):
    """Training: each position takes one available modality at random. availability [B, 2]."""
    take_image = torch.rand_like(text) < (availability[:, 1] / availability.sum(1))[:, None]
    return torch.where(take_image, image, text)


class Data:
    """Both tables of a GLAMI-1M folder: ids [n, 32], image index, category; distinct images [m, 64, 64, 3] u8."""

    def __init__(self, folder):
        self.tokenizer = sentencepiece.SentencePieceProcessor(os.path.join(folder, "spiece.model"))
        rows, tests = [], []
        for part in ("train", "test"):
            with open(os.path.join(folder, f"GLAMI-1M-{part}.csv"), encoding="utf-8", newline="") as f:
                new = list(csv.DictReader(f))
            rows += new
            tests += [part == "test"] * len(new)
        self.categories = sorted({r["category_name"] for r in rows})
        index = {name: i for i, name in enumerate(self.categories)}
        self.label = torch.tensor([index[r["category_name"]] for r in rows])
        self.test = np.array(tests)
        texts = [r["name"] + " " + r["description"] for r in rows]
        self.ids = torch.zeros(len(rows), TOKENS, dtype=torch.long)
        for i, text in enumerate(texts):
            tokens = encode(self.tokenizer, text)
            self.ids[i, :len(tokens)] = torch.tensor(tokens)
        names = sorted({r["image_id"] for r in rows})
        place = {name: i for i, name in enumerate(names)}
        self.image_of = np.array([place[r["image_id"]] for r in rows])
        self.images = torch.stack([read_image(os.path.join(folder, "images", name + ".jpg")) for name in names])
        # One thing in all languages and drawings: images with the same texts belong together.
        said = [[] for _ in names]
        for row, text in zip(rows, texts):
            said[place[row["image_id"]]].append(row["geo"] + text)
        things = ["\n".join(sorted(s)) for s in said]
        first = {}
        self.thing = np.array([first.setdefault(things[i], len(first)) for i in self.image_of])
        self.flag = np.array([r["category_name"] == "country-flag" for r in rows])

    def hold_out(self):
        """A tenth of the training things of each category, at least one of two; for choosing settings."""
        held = np.zeros(len(self.test), bool)
        rng = np.random.default_rng(7)
        label = self.label.numpy()
        for c in range(len(self.categories)):
            things = rng.permutation(np.unique(self.thing[(label == c) & ~self.test]))
            count = int(len(things) * 0.1 + 0.5) or int(len(things) > 1)
            held |= np.isin(self.thing, things[:count]) & ~self.test
        return held


def encode(tokenizer, text):
    return tokenizer.encode(text)[:TOKENS - 1] + [EOS]


def read_image(path):
    return torch.from_numpy(np.array(Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.BILINEAR)))


def pixels(images):
    return images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last).float() / 255


def augment(images, pad, rng):
    """u8 [B, H, W, 3]: a random crop of the image with `pad` white pixels around it, flipped half the time."""
    out = torch.full_like(images, 255)
    h, w = images.shape[1:3]
    for i in range(len(images)):
        dy, dx = rng.integers(-pad, pad + 1, 2)
        source = images[i, max(0, dy):h + min(0, dy), max(0, dx):w + min(0, dx)]
        target = out[i, max(0, -dy):h - max(0, dy), max(0, -dx):w - max(0, dx)]
        target.copy_(source)
        if rng.random() < 0.5:
            out[i] = out[i].flip(1)
    return out


def drop_tokens(ids, rate):
    """Removes each token but the end mark with probability rate and closes the gaps."""
    keep = (ids == EOS) | ((ids != 0) & (torch.rand(ids.shape) >= rate))
    place = keep.long().cumsum(1) - 1
    out = torch.zeros_like(ids)
    row = torch.arange(len(ids))[:, None].expand_as(ids)
    out[row[keep], place[keep]] = ids[keep]
    return out


def batches(rows, image_of, group, batch, rng):
    """Every row once an epoch, rows of one image in runs of `group`, so that a batch holds batch / group images."""
    rows = rng.permutation(rows)
    if group > 1:
        of = {}
        for r in rows:
            of.setdefault(image_of[r], []).append(r)
        runs = [v[i:i + group] for v in of.values() for i in range(0, len(v), group)]
        rows = np.concatenate([runs[i] for i in rng.permutation(len(runs))])
    return [rows[i:i + batch] for i in range(0, len(rows) - batch + 1, batch)]


def forward_text(net, ids, chunks):
    """Rows sorted by length in `chunks` parts, each trimmed to its longest: less padding to compute."""
    length = (ids != 0).sum(1)
    order = length.argsort()
    parts = [net.dock_text(ids[part][:, :int(length[part].max())]) for part in order.chunk(chunks)]
    return torch.cat(parts)[order.argsort()]


def losses(net, o, ids, images, image_row, label):
    text = forward_text(net, ids, o.length_chunks)
    image = net.dock_image(images)[image_row]
    loss = lambda x: F.cross_entropy(net.classify(x), label, label_smoothing=o.label_smoothing)
    both = torch.ones(len(label), 2)
    if o.heads_loss:
        return loss(embrace(text, image, both)) + o.text_weight * loss(text) + o.image_weight * loss(image)
    if torch.rand(()) < 0.5:
        both = torch.eye(2)[torch.randint(2, (len(label),))]
    return loss(embrace(text, image, both))


def train(net, data, rows, o, report):
    rng = np.random.default_rng(o.seed)
    decayed = lambda n, p: p.ndim > 1 and "shared" not in n and "relative_attention_bias" not in n
    decay = [p for n, p in net.named_parameters() if decayed(n, p)]
    plain = [p for n, p in net.named_parameters() if not decayed(n, p)]
    optimiser = torch.optim.AdamW([dict(params=decay, weight_decay=o.weight_decay),
                                   dict(params=plain, weight_decay=0)], lr=o.lr)
    total, step, seconds = int(o.epochs * (len(rows) // o.batch)), 0, 0.0
    average = {k: v.clone() for k, v in net.state_dict().items()} if o.ema else None
    while step < total:
        net.train()
        start, summed, items, first = time.time(), 0.0, 0, step
        for batch in batches(rows, data.image_of, o.group, o.batch, rng):
            if step == total:
                break
            done = (step + 1) / total
            cosine = 0.5 + 0.5 * math.cos(math.pi * (done - o.warm_up) / (1 - o.warm_up))
            rate = done / o.warm_up if done < o.warm_up else cosine
            for g in optimiser.param_groups:
                g["lr"] = o.lr * rate
            ids = drop_tokens(data.ids[batch], o.token_dropout) if o.token_dropout else data.ids[batch]
            distinct, image_row = np.unique(data.image_of[batch], return_inverse=True)
            images = pixels(augment(data.images[distinct], o.crop, rng))
            with torch.autocast("cpu", torch.bfloat16, enabled=o.dtype == "bf16"):
                loss = losses(net, o, ids, images, torch.from_numpy(image_row), data.label[batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            if average:
                keep = min(o.ema, (1 + step) / (10 + step))
                for k, v in net.state_dict().items():
                    average[k] = average[k].lerp(v, 1 - keep) if v.is_floating_point() else v
            summed, items, step = summed + loss.item(), items + len(batch), step + 1
        spent = time.time() - start
        seconds += spent
        report(epoch=step * o.batch / len(rows), loss=summed / (step - first), items_per_second=items / spent,
               seconds=seconds)
    if average:
        net.load_state_dict(average)
    return seconds


@torch.no_grad()
def evaluate(net, data, rows, o):
    net.eval()
    texts, images = [], []
    with torch.autocast("cpu", torch.bfloat16, enabled=o.dtype == "bf16"):
        for i in range(0, len(rows), 256):
            texts.append(forward_text(net, data.ids[rows[i:i + 256]], o.length_chunks))
        distinct, image_row = np.unique(data.image_of[rows], return_inverse=True)
        for i in range(0, len(distinct), 256):
            images.append(net.dock_image(pixels(data.images[distinct[i:i + 256]])))
        text, image = torch.cat(texts), torch.cat(images)[image_row]
        label, flag = data.label[rows], torch.from_numpy(data.flag[rows])
        table = []
        both = (text + o.image_selection * image) / (1 + o.image_selection)
        for name, embraced in (("text+image", both), ("image", image), ("text", text)):
            top = net.classify(embraced).topk(5)[1] == label[:, None]
            for flags, keep in ((True, torch.ones_like(flag)), (False, ~flag)):
                table.append(dict(modalities=name, with_flags=flags, items=int(keep.sum()),
                                  top1=float(top[keep, 0].float().mean()),
                                  top5=float(top[keep].any(1).float().mean())))
    return table


def classify(o):
    saved = torch.load(os.path.join(o.classify, "peer.pt"))
    options = argparse.Namespace(**saved["options"])
    tokenizer = sentencepiece.SentencePieceProcessor(os.path.join(o.classify, "spiece.model"))
    net = Classifier(options, tokenizer.get_piece_size(), len(saved["categories"])).eval()
    net.load_state_dict(saved["weights"])
    with torch.no_grad():
        docked = []
        if o.text:
            docked.append(net.dock_text(torch.tensor([encode(tokenizer, o.text)])))
        if o.image:
            docked.append(net.dock_image(pixels(read_image(o.image)[None])))
        top = torch.softmax(net.classify(sum(docked) / len(docked)), -1)[0].topk(5)
    for p, i in zip(*top):
        print(f"{p:.3f} {saved['categories'][i]}")
    print(f"{time.time() - START:.3f} s since the interpreter reached the script")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--data", help="folder made by weft-prepare emoji")
    add("--out", help="folder for the trained model")
    add("--json", help="file for the figures")
    add("--classify", help="a folder written by --out; classifies --text and/or --image")
    add("--text")
    add("--image")
    add("--validate", action="store_true", help="evaluate on a tenth of the training emoji, held out")
    add("--dtype", choices=("f32", "bf16"), default="f32")
    add("--seed", type=int, default=1)
    add("--threads", type=int, default=2)
    add("--epochs", type=float, default=9)
    add("--batch", type=int, default=128)
    add("--group", type=int, default=4, help="rows of one image that share a batch and one run of the image tower")
    add("--lr", type=float, default=2e-3)
    add("--warm-up", type=float, default=0.1, help="part of all steps")
    add("--weight-decay", type=float, default=0.1)
    add("--label-smoothing", type=float, default=0.1)
    add("--ema", type=float, default=0.0)
    add("--token-dropout", type=float, default=0.2, help="part of the tokens left out of each text in training")
    add("--dropout", type=float, default=0.1, help="in the text tower")
    add("--head-dropout", type=float, default=0.0)
    add("--heads-loss", action=argparse.BooleanOptionalAction, default=True, help="loss of both + text + image, not modality dropout")
    add("--text-weight", type=float, default=1.0)
    add("--image-weight", type=float, default=1.0)
    add("--text-pooling", choices=("flatten", "mean"), default="mean")
    add("--image-selection", type=float, default=0.65,
        help="selection probability of the image at inference, the text's being 1")
    add("--crop", type=int, default=4)
    add("--width", type=int, default=128)
    add("--layers", type=int, default=1)
    add("--heads", type=int, default=4)
    add("--head-size", type=int, default=32)
    add("--ff", type=int, default=256)
    add("--embedding-std", type=float, default=0.01)
    add("--embracement", type=int, default=256)
    add("--length-chunks", type=int, default=4)
    o = p.parse_args()
    torch.set_num_threads(o.threads)
    if o.classify:
        return classify(o)
    torch.manual_seed(o.seed)
    data = Data(o.data)
    held = data.hold_out() if o.validate else data.test
    net = Classifier(o, data.tokenizer.get_piece_size(), len(data.categories)).to(memory_format=torch.channels_last)
    count = lambda m: sum(q.numel() for q in m.parameters())
    print(f"{count(net)} parameters (text {count(net.pre_0)}, image {count(net.pre_2)})", flush=True)
    log = []

    def report(**line):
        log.append(line)
        print("epoch {epoch:.2f}: loss {loss:.4f}, {items_per_second:.0f} items/s, {seconds:.0f} s".format(**line),
              flush=True)

    seconds = train(net, data, np.flatnonzero(~held & ~data.test), o, report)
    table = evaluate(net, data, np.flatnonzero(held), o)
    for row in table:
        print("{modalities:10s} {flags:13s} {items:5d} items  top-1 {top1:.4f}  top-5 {top5:.4f}".format(
            flags="" if row["with_flags"] else "without flags", **row))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = sum(e["items_per_second"] for e in log[1:]) / len(log[1:]) if len(log) > 1 else log[0]["items_per_second"]
    print(f"peak memory {peak:.0f} MiB, {rate:.0f} items/s, {seconds:.0f} s of training, {time.process_time():.0f} s of"
          " processor time")
    if o.out:
        os.makedirs(o.out, exist_ok=True)
        saved = dict(options=vars(o), categories=data.categories, weights=net.state_dict())
        torch.save(saved, os.path.join(o.out, "peer.pt"))
        shutil.copy(os.path.join(o.data, "spiece.model"), o.out)
    if o.json:
        with open(o.json, "w") as f:
            json.dump(dict(options=vars(o), torch=torch.__version__, epochs=log, rows=table, peak_mib=peak,
                           items_per_second=rate, training_seconds=seconds), f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
