"""Golden updates of torch's optimisers in f32: a weight and a bias, the same gradients for every case, after each of 6 steps.
Run: /usr/bin/python3 make_optimizers.py (torch 1.13); writes optimizers.safetensors beside this file."""
import os

import torch

from safetensors_io import save

STEPS = 6
torch.manual_seed(3)
start = {"weight": torch.randn(7, 5), "bias": torch.randn(7)}
gradients = [{name: torch.randn_like(value) * 10.0 ** (step % 3 - 1) for name, value in start.items()} for step in range(STEPS)]
rates = [0.1, 0.05, 0.2, 0.1, 0.01, 0.1]


def groups(parameters, decay):
    return [{"params": [parameters["weight"]], "weight_decay": decay}, {"params": [parameters["bias"]], "weight_decay": 0.0}]


cases = {
    "sgd": lambda p: torch.optim.SGD(groups(p, 0.0), lr=1.0),
    "sgd_decay": lambda p: torch.optim.SGD(groups(p, 0.1), lr=1.0),
    "sgd_momentum": lambda p: torch.optim.SGD(groups(p, 0.1), lr=1.0, momentum=0.9),
    "sgd_nesterov": lambda p: torch.optim.SGD(groups(p, 0.1), lr=1.0, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(groups(p, 0.0), lr=1.0),
    "adam_decay": lambda p: torch.optim.Adam(groups(p, 0.1), lr=1.0, betas=(0.8, 0.99), eps=1e-6),
    "adamw": lambda p: torch.optim.AdamW(groups(p, 0.1), lr=1.0),
}

tensors = {"start." + name: value for name, value in start.items()}
tensors["rates"] = torch.tensor(rates)
for step, gradient in enumerate(gradients):
    tensors.update({f"gradient.{step}.{name}": value for name, value in gradient.items()})
for case, make in cases.items():
    parameters = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = make(parameters)
    for step, gradient in enumerate(gradients):
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        for name, value in parameters.items():
            # In step 3 the bias has no gradient: its state and its count of steps must stand still.
            value.grad = None if step == 3 and name == "bias" else gradient[name].clone()
        optimizer.step()
        tensors.update({f"{case}.{step}.{name}": value.clone() for name, value in parameters.items()})

# Clipping to 1.5 the gradients of step 0.
parameters = {name: value.clone().requires_grad_() for name, value in start.items()}
for name, value in parameters.items():
    value.grad = gradients[0][name].clone()
tensors["clip.norm"] = torch.nn.utils.clip_grad_norm_(parameters.values(), 1.5)
tensors.update({"clip." + name: value.grad for name, value in parameters.items()})

save(os.path.join(os.path.dirname(os.path.abspath(__file__)), "optimizers.safetensors"), tensors, {"torch": torch.__version__})
