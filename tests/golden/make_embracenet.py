"""Golden file of the trimodal EmbraceNet classifier of GLAMI-1M, written here in plain torch from its published
description (Choi and Lee 2019, arXiv:1904.09078; the benchmark feeds it text, image and label source), in float64,
rounded to f32.

Debian: apt install python3-torch python3-torchvision. Run: /usr/bin/python3 tests/golden/make_embracenet.py
Writes embracenet_tiny.safetensors beside this script (written with torch 1.13, torchvision 0.14.1).

Modalities: 0 text, hidden state times mask, flattened [5 * 6]; 1 image, features [48] of the ResNeXt of make_resnext.py
with layers [1, 1, 1, 1]; 2 label source, one-hot [4]. Embracement c = 16, 9 classes, 7 rows.
docking_k = ReLU(Linear); p = selection probabilities * availabilities, normalised a row; each of the c positions takes
the docking output of one modality drawn from p (sampled) or the sum weighted by p (expected); post = Linear;
log-softmax; mean cross-entropy on the log-probabilities with one-hot targets.
Tensors:
  pre_2.*, embracenet.docking_{0,1,2}.*, post.*   weights and BN statistics (num_batches_tracked is i64)
  input.text [7, 5, 6], input.mask [7, 5] bool, input.image_nhwc [7, 26, 21, 3], input.source [7, 4],
  input.label [7] i64
  input.availabilities [7, 3] (every non-empty subset of the three), input.selection_probabilities [7, 3]
  for case in sampled (BN in train mode, no selection probabilities), expected (BN in eval mode, none),
  weighted (expected, BN in eval mode, with selection probabilities):
    {case}.probabilities [7, 3], {case}.embraced [7, 16], {case}.log_probs [7, 9], {case}.loss
    {case}.grad.<parameter>, {case}.grad.input.{text,image_nhwc,source}
  sampled.indices [7, 16] i64                     the modality drawn for each position: an input of the check
  dropped.{halves,availabilities}                 modality dropout: row r keeps modality round(2 * halves[r]) (halves
                                                  to even) and no other, where the uniform draw of the batch asks for it
"""
import pathlib

import torch

from make_resnext import randomise, TinyResNeXt
from safetensors_io import save

CLASSES, C = 9, 16


class EmbraceNet(torch.nn.Module):
    def __init__(self, sizes, size):
        super().__init__()
        for k, n in enumerate(sizes):
            setattr(self, f"docking_{k}", torch.nn.Linear(n, size))

    def forward(self, inputs, p, indices):
        docked = [torch.relu(getattr(self, f"docking_{k}")(x)) for k, x in enumerate(inputs)]
        stack = torch.stack(docked, dim=-1)  # [B, C, 3]
        if indices is None:
            return (stack * p[:, None, :]).sum(-1)
        return stack.gather(-1, indices[..., None]).squeeze(-1)


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.pre_2 = TinyResNeXt([1, 1, 1, 1])
        self.pre_2.fc = torch.nn.Identity()
        self.embracenet = EmbraceNet((30, 48, 4), C)
        self.post = torch.nn.Linear(C, CLASSES)

    def forward(self, text, mask, image, source, p, indices):
        inputs = ((text * mask[..., None]).flatten(1), self.pre_2(image), source)
        embraced = self.embracenet(inputs, p, indices)
        return embraced, torch.log_softmax(self.post(embraced), dim=-1)


def main():
    torch.manual_seed(3)
    net = Classifier().double()
    randomise(net)
    start = {name: value.clone() for name, value in net.state_dict().items()}
    rows = 7
    exact = lambda x: x.float().double()
    text = exact(torch.randn(rows, 5, 6))
    mask = torch.arange(5)[None] < torch.tensor([5, 3, 1, 4, 2, 5, 3])[:, None]
    image = exact(torch.rand(rows, 26, 21, 3))
    source = torch.eye(4).double()[[0, 1, 2, 3, 0, 1, 2]]
    label = torch.tensor([8, 0, 3, 5, 5, 1, 7])
    available = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).double()
    weights = exact(torch.rand(rows, 3) + 0.1)
    halves = exact(torch.rand(rows))
    out = dict(start)
    out.update({"input.text": text, "input.mask": mask, "input.image_nhwc": image, "input.source": source,
                "input.label": label, "input.availabilities": available, "input.selection_probabilities": weights,
                "dropped.halves": halves,
                "dropped.availabilities": torch.nn.functional.one_hot(torch.round(2 * halves).long(), 3).float()})
    for case in ("sampled", "expected", "weighted"):
        net.load_state_dict(start)
        net.train(case == "sampled")
        net.zero_grad()
        p = available * weights if case == "weighted" else available
        p = p / p.sum(-1, keepdim=True)
        indices = None
        if case == "sampled":
            indices = torch.multinomial(p, C, replacement=True)
            out["sampled.indices"] = indices
        x = [t.clone().requires_grad_() for t in (text, image, source)]
        embraced, log_probs = net(x[0], mask, x[1].permute(0, 3, 1, 2), x[2], p, indices)
        targets = torch.nn.functional.one_hot(label, CLASSES).double()
        loss = torch.nn.functional.cross_entropy(log_probs, targets)
        loss.backward()
        out.update({f"{case}.probabilities": p, f"{case}.embraced": embraced, f"{case}.log_probs": log_probs,
                    f"{case}.loss": loss})
        for name, parameter in net.named_parameters():
            out[f"{case}.grad.{name}"] = parameter.grad.clone()
        for name, value in zip(("text", "image_nhwc", "source"), x):
            out[f"{case}.grad.input.{name}"] = value.grad
    path = pathlib.Path(__file__).with_name("embracenet_tiny.safetensors")
    save(path, out, {"text": "5x6", "planes": "4,6,8,12", "layers": "1,1,1,1", "stem": 8, "groups": 2,
                     "embracement": C})
    losses = [float(out[f"{case}.loss"]) for case in ("sampled", "expected", "weighted")]
    print(path, path.stat().st_size, "bytes, losses", *losses)


if __name__ == "__main__":
    main()
