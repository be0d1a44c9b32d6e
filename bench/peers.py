#!/usr/bin/env python3
"""weft beside PyTorch, onnxruntime and OpenVINO on the pretrained encoders, one after the other on the same cores.

    VENV/bin/python bench/peers.py --data EMOJI13 [--short] [--models NAME...] [--peers NAME...] [--json FILE]

EMOJI13 is a folder made by weft-prepare emoji: texts have the lengths of its test set, in pieces of its tokenizer. Needs a
finished build, and a Python with torch torchvision transformers open_clip_torch safetensors onnx onnxruntime openvino (PyPI).

Every model has random weights, made by its original library (scripts/parity.py), and every program gets the same inputs in
the same order and batches. Peers pad a batch to its longest text. Per model, dtype and program: items/s of the best pass over
the inputs (after one to warm up), the programs in turns for --rounds, so that what else the machine does for a while meets
all of them; peak memory of the process, and the time from its start until it has printed that the first embedding of one item
is there (files in the page cache; best of the rounds). onnxruntime computes nothing in bf16 on a CPU. --short: fewer items
and seconds, and no XLM-R large.
"""
import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
PROGRAMS = ("weft", "pytorch", "onnxruntime", "openvino")
# Name of the row, model of scripts/parity.py, items at a time.
CASES = (("ResNeXt-50, batch 1", "resnext50-32x4d", 1), ("ResNeXt-50, batch 8", "resnext50-32x4d", 8),
         ("ViT-B/32, batch 8", "clip-vit-b-32-image", 8), ("mT5-small, batch 32", "mt5-small", 32),
         ("XLM-R large, batch 32", "xlm-r-large-m-clip", 32))


def prepare(model, folder, o):
    """The original weights, inputs of all items and of one, and the same network for the other programs."""
    import torch
    from safetensors.torch import save_file
    import parity
    torch.manual_seed(1)
    net, weights, config, inputs = parity.MODELS[model]()
    parity.save_for_weft(weights, config, folder)
    if "images" in inputs:
        inputs["images"] = inputs["images"][torch.arange(o.images) % len(inputs["images"])].contiguous()
    elif "mask" in inputs:
        rows = json.loads((folder.parent / "texts.json").read_text())
        pad, begin = (1, [0]) if model.startswith("xlm") else (0, [])
        rows = [(begin + row)[:32] for row in rows]
        inputs["ids"] = torch.tensor([row + [pad] * (32 - len(row)) for row in rows])
        inputs["mask"] = torch.tensor([[True] * len(row) + [False] * (32 - len(row)) for row in rows])
    save_file(inputs, folder / "all.safetensors")
    save_file({k: v[:1].contiguous() for k, v in inputs.items()}, folder / "one.safetensors")
    torch.save(net.eval(), folder / "net.pt")
    one = tuple(v[:2] for v in inputs.values())
    torch.backends.mha.set_fastpath_enabled(False)  # an operator that no exporter knows
    for program, export in (("onnxruntime", export_onnx), ("openvino", export_openvino)):
        if program in o.peers:
            try:
                with torch.no_grad():
                    export(net, inputs, one, folder)
            except Exception as error:
                print(f"{model}: not exported for {program}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)


def export_onnx(net, inputs, one, folder):
    import torch
    axes = {k: {0: "n", 1: "t"} if v.ndim == 2 else {0: "n"} for k, v in inputs.items()}
    torch.onnx.export(net, one, str(folder / "net.onnx"), input_names=list(inputs), output_names=["output"],
                      dynamic_axes={**axes, "output": {0: "n"}}, dynamo=False, opset_version=17)


def export_openvino(net, inputs, one, folder):
    import openvino
    openvino.save_model(openvino.convert_model(net, example_input=one), folder / "net.xml", compress_to_fp16=False)


def encoder(program, folder, dtype, threads):
    """A function from a list of arrays to the embeddings, in that program."""
    if program == "pytorch":
        import torch
        torch.set_num_threads(threads)
        net = torch.load(folder / "net.pt", weights_only=False, mmap=True)
        number = torch.bfloat16 if dtype == "bf16" else torch.float32
        net = net.to(number)

        def run(inputs):
            with torch.inference_mode():
                tensors = [torch.from_numpy(x) for x in inputs]
                return net(*(t.to(number) if t.is_floating_point() else t for t in tensors)).float().numpy()
        return run
    if program == "onnxruntime":
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(folder / "net.onnx"), options, providers=["CPUExecutionProvider"])
        names = [i.name for i in session.get_inputs()]
        return lambda inputs: session.run(None, dict(zip(names, inputs)))[0]
    import openvino
    core = openvino.Core()
    net = core.compile_model(str(folder / "net.xml"), "CPU",
                             {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": dtype, "PERFORMANCE_HINT": "LATENCY"})
    return lambda inputs: net(list(inputs))[0]


def run_peer(o):
    """One program on one input file, in a process of its own; prints a line of JSON as weft-bench does."""
    from safetensors.numpy import load_file
    inputs = load_file(o.input)
    inputs = [inputs[name] for name in ("images", "ids", "mask") if name in inputs]
    run = encoder(o.run, o.folder, o.dtype, o.threads)
    items = len(inputs[0])

    def one_pass():
        for i in range(0, items, o.batch):
            part = [x[i:i + o.batch] for x in inputs]
            if len(part) == 2:
                longest = part[1].sum(1).max()
                part = [x[:, :longest].copy() for x in part]
            run(part)

    one_pass()
    best, spent = 0, 0
    while spent < o.seconds:
        start = time.perf_counter()
        one_pass()
        took = time.perf_counter() - start
        spent += took
        best = max(best, items / took)
    print(json.dumps({"items_per_second": best, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}),
          flush=True)
    os._exit(0)  # taking a framework down is no part of a cold start


def command(program, folder, file, dtype, batch, seconds, o):
    if program == "weft":
        return [str(ROOT / "build/bin/weft-bench"), "--model", str(folder), "--input", str(folder / file), "--dtype", dtype,
                "--batch", str(batch), "--seconds", str(seconds), "--threads", str(o.threads), "--json"]
    return [sys.executable, "-W", "ignore", __file__, "--run", program, "--folder", str(folder), "--input", str(folder / file),
            "--dtype", dtype, "--batch", str(batch), "--seconds", str(seconds), "--threads", str(o.threads)]


def measure(program, folder, dtype, batch, o):
    """One round of one program."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(o.threads), PYTHONWARNINGS="ignore")

    def call(*arguments):
        start = time.perf_counter()
        process = subprocess.Popen(command(program, folder, *arguments, o), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=environment, text=True)
        line = process.stdout.readline()
        took = time.perf_counter() - start
        error = process.stderr.read()
        if process.wait() or not line:
            raise RuntimeError(f"{program}: {error.strip().splitlines()[-1] if error.strip() else 'no output'}")
        return json.loads(line), took

    result, _ = call("all.safetensors", dtype, batch, o.seconds)
    result["cold_start_seconds"] = call("one.safetensors", dtype, 1, 0)[1]
    return result


def measure_all(case, folder, dtype, batch, o):
    """Every program in turns; its best round, as rows of the table."""
    best = {}
    for _ in range(o.rounds):
        for program in o.peers:
            if (program == "onnxruntime" and dtype == "bf16") or best.get(program, {}).get("failed"):
                continue
            try:
                result = measure(program, folder, dtype, batch, o)
            except RuntimeError as error:
                best[program] = {"failed": str(error)}
                continue
            before = best.setdefault(program, result)
            best[program] = {key: (max if key == "items_per_second" else min)(before[key], result[key])
                             for key in ("items_per_second", "peak_mib", "cold_start_seconds")}
    for program, result in best.items():
        cells = f"failed: {result['failed']} | | |" if "failed" in result else \
            "{items_per_second:.2f} | {peak_mib:.0f} | {cold_start_seconds:.2f} |".format(**result)
        print(f"| {case} | {dtype} | {program} | {cells}", flush=True)
    return [{"case": case, "dtype": dtype, "program": program, **result}
            for program, result in best.items() if "failed" not in result]


def token_ids(data):
    """Every 72nd text of emoji13's test set as ids of its tokenizer, the end of sentence included."""
    import csv
    with open(data / "GLAMI-1M-test.csv", encoding="utf-8", newline="") as file:
        texts = [row["name"] + (" " + row["description"] if row["description"] else "") for row in csv.DictReader(file)]
    lines = "".join(text.replace("\n", " ") + "\n" for text in texts[::72][:64])
    ids = subprocess.run([ROOT / "build/bin/weft-tokenize", "--model", data, "--eos"], input=lines, text=True,
                         stdout=subprocess.PIPE, check=True).stdout
    return [[int(i) for i in line.split()][:32] for line in ids.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=pathlib.Path, help="emoji13")
    add("--short", action="store_true")
    add("--models", nargs="+", choices=sorted({case[1] for case in CASES}))
    add("--peers", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    add("--dtypes", nargs="+", choices=("f32", "bf16"), default=["f32", "bf16"])
    add("--seconds", type=float, help="measured for each rate (default: 20, --short: 3)")
    add("--rounds", type=int, default=3, help="of all programs in turns (default: 3)")
    add("--threads", type=int, default=os.cpu_count())
    add("--json", type=pathlib.Path)
    for name in ("run", "input", "dtype"):
        add("--" + name, help=argparse.SUPPRESS)
    add("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    add("--batch", type=int, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.run:
        return run_peer(o)
    o.seconds = o.seconds or (3 if o.short else 20)
    o.images = 8 if o.short else 32
    models = o.models or [m for m in dict.fromkeys(case[1] for case in CASES) if not (o.short and m.startswith("xlm"))]
    if not o.data and any(m.startswith(("mt5", "xlm")) for m in models):
        parser.error("--data is needed for the texts' lengths: make it with weft-prepare emoji")
    results = []
    print("| model | dtype | program | items/s | peak MiB | cold start s |\n| --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as work:
        if o.data:
            pathlib.Path(work, "texts.json").write_text(json.dumps(token_ids(o.data)))
        for model in models:
            folder = pathlib.Path(work, model)
            folder.mkdir()
            if os.fork() == 0:  # its memory goes when it is done
                code = 1
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # exporters talk
                try:
                    prepare(model, folder, o)
                    code = 0
                except Exception as error:
                    print(f"error: {model}: {type(error).__name__}: {error}", file=sys.stderr)
                os._exit(code)
            if os.wait()[1] != 0:
                return 1
            for case, _, batch in (c for c in CASES if c[1] == model):
                for dtype in o.dtypes:
                    results += measure_all(case, folder, dtype, batch, o)
            for file in sorted(folder.iterdir()):
                file.unlink()
    if o.json:
        o.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
