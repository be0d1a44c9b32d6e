"""Golden file of a tiny ResNeXt: torchvision's own ResNet class with Bottleneck blocks, in float64, rounded to f32.

Debian: apt install python3-torch python3-torchvision. Run: /usr/bin/python3 tests/golden/make_resnext.py
Writes resnext_tiny.safetensors beside this script (written with torch 1.13, torchvision 0.14.1).

Network: stem 7x7 stride 2 to 8 channels, BN, ReLU, max-pool 3x3 stride 2 pad 1; planes 4, 6, 8, 12 (output 4 times
that), layers [2, 1, 1, 1], strides 1, 2, 2, 2, groups 2; width of the grouped 3x3 = planes, so conv2 has planes/2
input channels a group (width_per_group 32 in torchvision's count, whose base is 64). 5 classes.
Tensors:
  <state-dict name>            weights, biases and running statistics before the step (num_batches_tracked is i64)
  input.image                  [N, C, H, W]; input.image_nhwc holds the same numbers as [N, H, W, C]
  input.label                  [N] i64
  train.features, train.logits global-average-pooled features [N, 48] and logits [N, 5] with batch statistics
  train.loss                   mean cross-entropy of train.logits
  train.grad.<parameter>       its gradient; train.grad.input.image_nhwc is that of the image, [N, H, W, C]
  train.after.<buffer>         running statistics after that one training forward
  eval.features, eval.logits, eval.loss, eval.grad.*   the same in eval mode, with the statistics before the step
"""
import pathlib

import torch
from torchvision.models.resnet import Bottleneck, ResNet

from safetensors_io import save

WIDTHS = (4, 6, 8, 12)


class TinyResNeXt(ResNet):
    """torchvision's class with its 64..512 planes cut down to WIDTHS; forward and names are the parent's."""

    def __init__(self, layers, classes=5):
        # width = planes * (width_per_group / 64) * groups, and 32 / 64 * 2 = 1.
        super().__init__(Bottleneck, layers, num_classes=classes, groups=2, width_per_group=32)
        self.fc = torch.nn.Linear(WIDTHS[-1] * 4, classes)

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        index = (64, 128, 256, 512).index(planes)
        if index == 0:
            self.inplanes = 8
            self.conv1 = torch.nn.Conv2d(3, 8, kernel_size=7, stride=2, padding=3, bias=False)
            self.bn1 = self._norm_layer(8)
        return super()._make_layer(block, WIDTHS[index], blocks, stride, dilate)


def randomise(net):
    """Norms and biases away from 0 and 1; every number exactly an f32, so that both sides start from the same one."""
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("num_batches_tracked"):
                value.fill_(3)
            elif name.endswith("running_mean"):
                value.normal_(0, 0.2)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.ndim == 1:
                value.normal_(0, 0.2)
                if name.endswith("weight"):
                    value.add_(1)
            value.copy_(value.float().to(value.dtype))


def main():
    torch.manual_seed(1)
    net = TinyResNeXt([2, 1, 1, 1]).double()
    randomise(net)
    out = {name: value.clone() for name, value in net.state_dict().items()}
    image = torch.rand(4, 3, 45, 38).float().double()  # odd sizes: padding and stride rounding are seen
    label = torch.tensor([3, 0, 4, 1])
    out["input.image"], out["input.image_nhwc"], out["input.label"] = image, image.permute(0, 2, 3, 1), label
    start = {name: value.clone() for name, value in net.state_dict().items()}
    for mode in ("eval", "train"):
        net.load_state_dict(start)
        net.train(mode == "train")
        net.zero_grad()
        x = image.clone().requires_grad_()
        kept = []
        hook = net.avgpool.register_forward_hook(lambda m, i, o: kept.append(o.flatten(1)))
        logits = net(x)
        hook.remove()
        loss = torch.nn.functional.cross_entropy(logits, label)
        loss.backward()
        out[f"{mode}.features"], out[f"{mode}.logits"], out[f"{mode}.loss"] = kept[0], logits, loss
        for name, p in net.named_parameters():
            out[f"{mode}.grad.{name}"] = p.grad.clone()
        out[f"{mode}.grad.input.image_nhwc"] = x.grad.permute(0, 2, 3, 1)
        if mode == "train":
            for name, value in net.named_buffers():
                out[f"train.after.{name}"] = value.clone()
    path = pathlib.Path(__file__).with_name("resnext_tiny.safetensors")
    save(path, out, {"groups": 2, "planes": "4,6,8,12", "layers": "2,1,1,1", "stem": 8, "width_per_group": 32})
    print(path, path.stat().st_size, "bytes, losses", float(out["train.loss"]), float(out["eval.loss"]))


if __name__ == "__main__":
    main()
