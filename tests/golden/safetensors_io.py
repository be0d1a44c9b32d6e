"""Write a safetensors file from numpy arrays: 8-byte header length, JSON header, raw little-endian data."""
import json
import struct

import numpy as np

_NAMES = {"float32": "F32", "float64": "F64", "int64": "I64", "int32": "I32", "uint8": "U8", "bool": "BOOL"}


def save(path, tensors, metadata=None):
    """tensors: name -> array-like (torch tensors too); float64 is rounded to float32. metadata: str -> str."""
    header, blobs, offset = {}, [], 0
    if metadata:
        header["__metadata__"] = {k: str(v) for k, v in metadata.items()}
    for name in sorted(tensors):
        value = tensors[name]
        array = np.asarray(value.detach().numpy() if hasattr(value, "detach") else value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        blob = array.tobytes()  # row-major even for a permuted view
        header[name] = {"dtype": _NAMES[str(array.dtype)], "shape": list(array.shape),
                        "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
