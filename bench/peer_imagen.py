#!/usr/bin/env python3
"""weft beside imagen-pytorch 0.10.0 (the original, on PyTorch) on GLAMI-1M's text-to-image cascade at full size.

    VENV/bin/python bench/peer_imagen.py --data EMOJI13 [--steps 2] [--dtypes f32 bf16] [--json FILE]

Both have the same random weights. Per UNet and dtype: seconds of a guided sampling step of one picture (both branches), and
seconds of a training step of 4 pictures (forward, backward, Adam), with the peak memory of the process. PyTorch's bf16 is
autocast, its weights stay in f32, as weft's do. Seconds
are the median of weft's 1 + 2 STEPS sampling steps, the difference of runs of 1 and 1 + STEPS of its training steps, and the best of
PyTorch's STEPS after one to warm up. An image as the paper draws it is estimated from the steps: 500 guided ones of each UNet; 50 of DPM-Solver++ are a tenth.

Needs a finished build, and a Python with torch, transformers, safetensors and (pip install --no-deps) imagen-pytorch==0.10.0
einops einops-exts resize-right, ema-pytorch==0.0.8, pytorch-warmup. Runs each side in a process of its own, one after the other.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import types

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = ROOT / "build" / "bin"
TOKENS, WIDTH, BATCH = 32, 512, 4


def original():
    """The cascade as GLAMI-1M's authors configure it."""
    t5 = types.ModuleType("imagen_pytorch.t5")  # whose real one asks the hub for T5's size
    t5.t5_encode_text, t5.get_encoded_dim, t5.DEFAULT_T5_NAME = None, lambda name: WIDTH, "none"
    trainer = types.ModuleType("imagen_pytorch.trainer")
    trainer.ImagenTrainer = None
    sys.modules.update({"imagen_pytorch.t5": t5, "imagen_pytorch.trainer": trainer})
    import torch
    from imagen_pytorch.imagen_pytorch import Imagen, Unet
    torch.manual_seed(1)
    base = Unet(dim=128, cond_dim=512, dim_mults=(1, 2, 4), num_resnet_blocks=3, layer_attns=(False, True, True))
    upper = Unet(dim=128, cond_dim=512, dim_mults=(1, 2, 4), num_resnet_blocks=(2, 4, 8), layer_attns=(False, False, True),
                 layer_cross_attns=(False, False, True))
    return Imagen(unets=(base, upper), image_sizes=(64, 128), timesteps=500, cond_drop_prob=0.1, text_embed_dim=WIDTH)


def child(o):
    """One measurement of PyTorch, in a process of its own: prints seconds of a step."""
    import torch
    torch.set_num_threads(o.threads)
    imagen = original()
    unet, size = imagen.unets[o.unet], (64, 128)[o.unet]
    texts, mask = torch.randn(BATCH, TOKENS, WIDTH), torch.ones(BATCH, TOKENS, dtype=torch.bool)
    cast = torch.autocast("cpu", torch.bfloat16, enabled=o.dtype == "bf16")

    def sampling():
        lowres = dict(lowres_cond_img=torch.randn(1, 3, size, size), lowres_noise_times=torch.ones(1)) if o.unet else {}
        with torch.no_grad(), cast:
            unet.forward_with_cond_scale(torch.randn(1, 3, size, size), torch.zeros(1), text_embeds=texts[:1], text_mask=mask[:1],
                                         cond_scale=8.0, **lowres)

    images = torch.rand(BATCH, 3, 128, 128)
    adam = torch.optim.Adam(unet.parameters(), lr=1e-4, betas=(0.9, 0.99))

    def training():
        with cast:
            loss = imagen(images, text_embeds=texts, text_masks=mask, unet_number=o.unet + 1)
        loss.backward()
        adam.step()
        adam.zero_grad()

    other = 1 - o.unet
    if o.job == "training":
        imagen.unets[other] = torch.nn.Identity()  # its weights are not part of this measurement
    work = sampling if o.job == "sampling" else training
    work()
    best = float("inf")
    for _ in range(o.steps):
        start = time.time()
        work()
        best = min(best, time.time() - start)
    print(best)


def run(command, threads):
    """stdout, seconds and peak memory (MiB) of a process."""
    start = time.time()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return out, time.time() - start, usage.ru_maxrss / 1024


def weft_sampling(folder, unet, dtype, o):
    """Seconds of a step and MiB; for the upper UNet, those of a process that draws with both."""
    size = (64, 128)[unet]
    out, _, memory = run([BIN / "weft-generate", "--model", folder / "cascade", "--embeddings", folder / "texts.safetensors",
                          "--size", size, "--steps", 1 + 2 * o.steps, "--dtype", dtype, "--out", folder / "x.png"], o.threads)
    return float(re.search(rf"^{size} pixels: ([0-9.]+) s a step", out, re.MULTILINE)[1]), memory


def weft_training(folder, unet, dtype, o):
    def seconds(steps):  # of the steps, without what comes before and after them
        out, _, memory = run([BIN / "weft-train", "cascade", "--preset", "glami", "--data", o.data, "--out", folder / "trained",
                               "--text-encoder", folder / "t5", "--unet", unet, "--steps", steps, "--batch", BATCH, "--dtype", dtype,
                               "--sample-every", 0], o.threads)
        return steps * float(re.search(r"([0-9.]+) s a step", out)[1]), memory
    few, _ = seconds(1)
    many, memory = seconds(1 + o.steps)
    return (many - few) / o.steps, memory


def prepare(folder):
    import torch
    from safetensors.torch import save_file
    imagen = original()
    torch.save({"model_state_dict": {k: v for k, v in imagen.state_dict().items() if k.startswith("unets.")}}, folder / "imagen.pt")
    run([BIN / "weft-convert", folder / "imagen.pt", folder / "cascade"], 1)
    save_file({"text_embeds": torch.randn(1, TOKENS, WIDTH), "text_mask": torch.ones(1, TOKENS, dtype=torch.bool)},
              folder / "texts.safetensors")
    # A text encoder of the right width and one layer, beside which the UNets' time is all there is.
    from transformers import MT5Config, MT5EncoderModel
    MT5EncoderModel(MT5Config(d_model=WIDTH, d_kv=64, d_ff=1024, num_layers=1, num_heads=6, vocab_size=32000)).save_pretrained(folder / "source")
    run([BIN / "weft-convert", folder / "source", folder / "t5"], 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, help="a folder made by weft-prepare emoji")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--dtypes", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--jobs", nargs="+", default=["sampling", "training"], choices=["sampling", "training"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--unet", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--dtype", help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.job:
        return child(o)
    if not o.data:
        parser.error("--data is required")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if os.fork() == 0:  # a process's peak counts what it was before it became another program
            prepare(folder)
            os._exit(0)
        if os.wait()[1]:
            sys.exit("the original's weights could not be made")
        print(f"{'job':<10} {'UNet':>4} {'dtype':<5} {'weft s':>8} {'PyTorch s':>10} {'ratio':>6} {'weft MiB':>9} {'PyTorch MiB':>12} {'ratio':>6}")
        for job in o.jobs:
            for unet in (0, 1):
                for dtype in o.dtypes:
                    ours, memory = (weft_sampling if job == "sampling" else weft_training)(folder, unet, dtype, o)
                    out, _, their_memory = run([sys.executable, __file__, "--job", job, "--unet", unet, "--dtype", dtype, "--steps",
                                                o.steps, "--threads", o.threads], o.threads)
                    theirs = float(out)
                    rows.append(dict(job=job, unet=unet, dtype=dtype, weft_seconds=ours, pytorch_seconds=theirs, weft_mib=memory,
                                     pytorch_mib=their_memory))
                    print(f"{job:<10} {unet:>4} {dtype:<5} {ours:>8.2f} {theirs:>10.2f} {theirs / ours:>6.2f} {memory:>9.0f} "
                          f"{their_memory:>12.0f} {memory / their_memory:>6.2f}", flush=True)
    for dtype in o.dtypes:
        steps = [r for r in rows if r["job"] == "sampling" and r["dtype"] == dtype]
        if steps:
            ours, theirs = (sum(r[k] for r in steps) * 500 / 60 for k in ("weft_seconds", "pytorch_seconds"))
            print(f"A picture in the paper's 500 steps, {dtype}: weft {ours:.0f} minutes, PyTorch {theirs:.0f}; in 50 steps a tenth.")
    if o.json:
        o.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
