#!/usr/bin/env python3
"""Tiny files of every kind that the readers know, written by PyTorch and NumPy themselves, and what is in them.

PyPI: torch, numpy. Run: python3 tests/golden/make_torch_files.py
Writes torch_files/ beside this script (written with torch 2.15, numpy 2.4). expected.safetensors holds, for every FILE,
its tensors as `FILE/NAME`: bf16 and f16 as f32, since every bf16 and f16 is an f32; names are joined with dots.

  checkpoint.pt   nested dicts; tensors that share a storage, transposed, strided, offset, expanded over an axis of 1, of
                  every dtype, without elements or axes; a Parameter; NumPy scalars; an OrderedDict with _metadata
  protocol.bin    a state dict alone, as Hugging Face's pytorch_model.bin
  old_layout.pt   the same archive as PyTorch 1.6 to 2.0 laid it out: no byteorder, .format_version or .data folder
  tensor.pt       a tensor alone
  scripted.pt     torch.jit.script of nested modules (not the deprecated tracing)
  legacy.pt       the values of checkpoint.pt in the format of before 1.6
  python2.pt      that format as PyTorch 0.3 on Python 2 wrote it: byte strings, an OrderedDict given a list of pairs, tensors
                  without hooks, parameters with a state, and a storage that is a view of another
  array_*.npy     C and Fortran order, of format versions 1, 2 and 3
  arrays.npz      numpy.savez; compressed.npz: numpy.savez_compressed, to be refused
"""
import collections
import pathlib
import pickle
import struct
import warnings
import zipfile

import numpy as np
import torch

from safetensors_io import save

FOLDER = pathlib.Path(__file__).with_name("torch_files")
expected = {}


def note(file, tensors):
    for name, value in tensors.items():
        value = value.detach()
        if value.dtype in (torch.bfloat16, torch.float16):
            value = value.float()
        # f64 would be rounded by safetensors_io, so doubles are chosen to be f32s.
        expected[f"{file}/{name}"] = value.clone().contiguous()


def checkpoint():
    base = torch.arange(24.0).reshape(4, 6) / 7
    shared = torch.randn(3, 5, 2)
    model = collections.OrderedDict(
        whole=base, transposed=base.t(), row=base[2], column=base[:, 1], every_second=base[::2, 1::2],
        permuted=shared.permute(2, 0, 1), same=shared, unsqueezed=base[1:2].expand(1, 6), window=base[1:3, 2:5],
        half=torch.randn(3, 3).half(), brain=torch.randn(7).bfloat16(), double=torch.randn(2, 2).float().double(),
        ints=torch.tensor([-2**31, 2**31 - 1], dtype=torch.int32), longs=torch.tensor([-2**62, 5, 2**62]),
        bytes=torch.arange(256, dtype=torch.uint8), flags=torch.tensor([True, False, True]),
        flags_t=torch.tensor([[True, False, True], [False, False, True]]).t(),
        scalar=torch.tensor(2.5), counter=torch.tensor(3), nothing=torch.zeros(0, 4), special=torch.tensor([float("inf"), -0.0]))
    model._metadata = collections.OrderedDict([("", {"version": 1})])
    state = {0: {"step": torch.tensor(7.0), "exp_avg": torch.randn(2, 3)}, 1: {"step": torch.tensor(8.0), "exp_avg": torch.randn(4)}}
    value = {"epoch": 1, "model_state_dict": model,
             "optimizer_state_dict": {"state": state, "param_groups": [{"lr": 0.001, "betas": (0.9, 0.999), "amsgrad": False,
                                                                       "params": [0, 1], "foreach": None}]},
             "loss": np.float32(0.25), "items": np.int64(2**40), "big": 2**40, "negative": -3, "best": np.float64(1.5),
             "parameter": torch.nn.Parameter(base), "list": [torch.ones(2), (torch.zeros(1), "x")],
             "label_binarizer": {11: [1, 0, 0], 2: [0, 1, 0], 30: [0, 0, 1]}, "source_binarizer": {"admin": [1, 0], "x": [0, 1]}}
    torch.save(value, FOLDER / "checkpoint.pt")
    torch.save(value, FOLDER / "legacy.pt", _use_new_zipfile_serialization=False)
    for file in "checkpoint.pt", "legacy.pt":
        note(file, {f"model_state_dict.{k}": v for k, v in model.items()})
        for i, s in state.items():
            note(file, {f"optimizer_state_dict.state.{i}.{k}": v for k, v in s.items()})
        note(file, {"parameter": value["parameter"], "list.0": value["list"][0], "list.1.0": value["list"][1][0]})


def plain():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Embedding(5, 3))
    torch.save(model.state_dict(), FOLDER / "protocol.bin")
    note("protocol.bin", model.state_dict())
    dropped = ("byteorder", ".format_version", ".storage_alignment", ".data/serialization_id")
    with zipfile.ZipFile(FOLDER / "protocol.bin") as new, zipfile.ZipFile(FOLDER / "old_layout.pt", "w") as old:
        for member in new.namelist():
            name = member.partition("/")[2]
            if name not in dropped:
                old.writestr(zipfile.ZipInfo("archive/" + name), new.read(member))
    note("old_layout.pt", model.state_dict())
    alone = torch.randn(2, 3)
    torch.save(alone, FOLDER / "tensor.pt")
    note("tensor.pt", {"tensor": alone})


class Reduced:
    """Pickled as a call, with a state perhaps."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


class StorageId:
    """Pickled as a storage."""

    def __init__(self, *identity):
        self.identity = identity


class Python2Pickler(pickle._Pickler):
    def persistent_id(self, value):
        return value.identity if isinstance(value, StorageId) else None

    def save_bytes_string(self, text):
        data = text.encode()
        assert len(data) < 256
        self.write(b"U" + bytes([len(data)]) + data)
        self.memoize(text)

    dispatch = {**pickle._Pickler.dispatch, str: save_bytes_string}


def python2():
    """Written by hand, since no PyTorch of today does; PyTorch must read it as meant."""
    base = torch.arange(12.0) / 5
    longs = torch.tensor([3, -4])
    whole = StorageId("storage", torch.FloatStorage, "94", "cpu", 12, None)
    view = StorageId("storage", torch.FloatStorage, "94", "cpu", 12, ("95", 6, 4))
    integers = StorageId("storage", torch.LongStorage, "7", "cuda:0", 2, None)
    rebuild = torch._utils._rebuild_tensor
    hooks = Reduced(collections.OrderedDict, ([],))
    parameter = Reduced(torch.nn.Parameter, (Reduced(rebuild, (whole, 0, (3, 4), (4, 1))),), (True, False, hooks))
    pairs = [["weight", parameter], ["part", Reduced(rebuild, (view, 1, (3,), (1,)))],
             ["turned", Reduced(rebuild, (whole, 0, (4, 3), (1, 4)))], ["steps", Reduced(rebuild, (integers, 0, (2,), (1,)))]]
    with open(FOLDER / "python2.pt", "wb") as file:
        for value in (0x1950a86a20f9469cfc6c, 1001, {"protocol_version": 1001, "little_endian": True,
                                                     "type_sizes": {"short": 2, "int": 4, "long": 8}}):
            Python2Pickler(file, 2).dump(value)
        Python2Pickler(file, 2).dump(Reduced(collections.OrderedDict, (pairs,)))
        Python2Pickler(file, 2).dump(["7", "94"])
        for storage in longs, base:
            file.write(struct.pack("<q", storage.numel()) + storage.numpy().tobytes())
    wanted = {"weight": base.reshape(3, 4), "part": base[7:10], "turned": base.reshape(3, 4).t(), "steps": longs}
    read = torch.load(FOLDER / "python2.pt", weights_only=False, map_location="cpu", encoding="ascii")
    assert list(read) == list(wanted) and all(torch.equal(read[name], wanted[name]) for name in wanted)
    note("python2.pt", wanted)


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 3)
        self.register_buffer("count", torch.tensor(4))

    def forward(self, x):
        return self.linear(x) * self.count


class Scripted(torch.nn.Module):
    sizes: list[int]
    names: dict[str, int]

    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.Sequential(Inner(), torch.nn.ReLU(), torch.nn.Linear(3, 2, bias=False).half())
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.register_buffer("mask", torch.tensor([[True, False], [False, True]]).t())
        self.sizes, self.names, self.factor, self.title, self.nothing = [1, 2], {"a": 1}, 1.5, "weft", None

    def forward(self, x):
        return self.blocks[0](x) * self.scale * self.sizes[0] * self.factor + self.names["a"]


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.script(Scripted())
        module.save(str(FOLDER / "scripted.pt"))
    note("scripted.pt", module.state_dict())


def arrays():
    made = {"c": np.arange(6, dtype=np.float32).reshape(2, 3), "fortran": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
            "half": np.arange(3, dtype=np.float16), "flags": np.array([[True, False]]), "scalar": np.array(7, dtype=np.int64)}
    for version, name in ((1, "c"), (2, "fortran"), (3, "half")):
        with open(FOLDER / f"array_{name}.npy", "wb") as file:
            np.lib.format.write_array(file, made[name], version=(version, 0))
        note(f"array_{name}.npy", {f"array_{name}": torch.from_numpy(np.ascontiguousarray(made[name]))})
    np.savez(FOLDER / "arrays.npz", **made)
    np.savez_compressed(FOLDER / "compressed.npz", **made)
    note("arrays.npz", {name: torch.from_numpy(np.array(value)) for name, value in made.items()})


def main():
    torch.manual_seed(4)
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    checkpoint()
    plain()
    python2()
    scripted()
    arrays()
    save(FOLDER / "expected.safetensors", {name: value.numpy() for name, value in expected.items()})
    print(sum(file.stat().st_size for file in FOLDER.iterdir()), "bytes in", FOLDER)


if __name__ == "__main__":
    main()
