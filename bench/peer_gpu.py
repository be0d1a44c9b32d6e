#!/usr/bin/env python3
"""Times PyTorch's kernels on a GPU at the sizes of weft's `op_check bench`, line for line, for scripts/gpu_check.sh.

Each line: op, size, dtype, best time of a call (by CUDA events; on --device cpu by the clock), and its rate.
"""
import argparse
import time

import torch
import torch.nn.functional as F

LINEAR = [(1024, 384, 512), (1024, 1024, 512), (1024, 512, 1024), (32, 1024, 512), (32, 191, 2048), (1, 512, 512)]
# batch, height, width, channels, outputs, kernel, stride, padding, groups
CONV = [
    (128, 64, 64, 3, 16, 7, 2, 3, 1),
    (128, 16, 16, 32, 32, 3, 1, 1, 8),
    (128, 8, 8, 64, 64, 3, 1, 1, 8),
    (128, 4, 4, 128, 128, 3, 1, 1, 8),
    (1, 298, 228, 3, 64, 7, 2, 3, 1),
    (1, 75, 57, 128, 128, 3, 1, 1, 32),
    (1, 38, 29, 256, 256, 3, 1, 1, 32),
    (1, 19, 15, 512, 512, 3, 1, 1, 32),
    (8, 38, 29, 256, 512, 1, 1, 0, 1),
    (8, 38, 29, 256, 256, 3, 1, 1, 32),
]
# batch, queries, keys, heads, head size
ATTENTION = [
    (64, 32, 32, 6, 64),
    (16, 128, 128, 6, 64),
    (4, 512, 512, 6, 64),
    (64, 50, 50, 12, 64),
    (64, 77, 77, 8, 64),
]
ROWS = (65536, 512)


def best_ms(call, device, calls):
    """Milliseconds of the fastest of `calls` calls, after a warm-up."""
    for _ in range(min(calls, 5)):
        call()
    best = float("inf")
    for _ in range(calls):
        if device.type == "cpu":
            start = time.perf_counter()
            call()
            best = min(best, 1e3 * (time.perf_counter() - start))
            continue
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize(device)
        best = min(best, begin.elapsed_time(end))
    return best


def both_ways(inputs, run):
    """The call forward, and the call forward and backward."""
    y = run()
    dy = torch.ones_like(y)

    def forward():
        with torch.no_grad():
            run()

    def backward():
        torch.autograd.grad(run(), inputs, dy)

    return (("", forward, 1), (", backward", backward, 3))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--op", help="linear, conv2d, attention, softmax, layer_norm or gelu: this op only")
    parser.add_argument("--calls", type=int, default=50, help="timed calls a line (default: 50)")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True

    def tensor(*shape, dtype):
        return torch.randn(*shape, device=device, dtype=dtype).requires_grad_()

    def show(op, size, dtype, inputs, run, flop=0, bytes_moved=(0, 0)):
        if options.op not in (None, op):
            return
        for i, (way, call, times) in enumerate(both_ways(inputs, run)):
            ms = best_ms(call, device, options.calls)
            rate = f"{flop * times / ms * 1e-6:11.1f} GFLOP/s" if flop else f"{bytes_moved[i] / ms * 1e-6:11.1f} GB/s"
            print(f"{op:<12} {size + way:<44} {str(dtype)[6:]:<9} {ms:9.4f} ms {rate}", flush=True)

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"PyTorch {torch.__version__}, {name}")
    for dtype in (torch.float32, torch.bfloat16):
        for m, n, k in LINEAR:
            x, w = tensor(m, k, dtype=dtype), tensor(n, k, dtype=dtype)
            show("linear", f"{m} rows, {k} -> {n}", dtype, (x, w), lambda: F.linear(x, w), 2 * m * n * k)
        for n, h, wide, c, o, kernel, stride, padding, groups in CONV:
            x = tensor(n, c, h, wide, dtype=dtype).detach().to(memory_format=torch.channels_last).requires_grad_()
            w = tensor(o, c // groups, kernel, kernel, dtype=dtype)
            run = lambda: F.conv2d(x, w, None, stride, padding, 1, groups)
            size = f"{n}x{h}x{wide}, {c} -> {o}, {kernel}x{kernel} s{stride} g{groups}"
            show("conv2d", size, dtype, (x, w), run, 2 * run().numel() * (c // groups) * kernel * kernel)
        for b, q, k, heads, d in ATTENTION:
            inputs = [tensor(b, heads, t, d, dtype=dtype) for t in (q, k, k)]
            run = lambda: F.scaled_dot_product_attention(*inputs)
            show("attention", f"{b}x{heads} heads, {q} x {k} x {d}", dtype, inputs, run, 4 * b * heads * q * k * d)
        x = tensor(*ROWS, dtype=dtype)
        w, bias = tensor(ROWS[1], dtype=dtype), tensor(ROWS[1], dtype=dtype)
        moved = x.numel() * x.element_size()
        show("softmax", f"{ROWS}", dtype, (x,), lambda: F.softmax(x, -1), 0, (2 * moved, 5 * moved))
        norm = lambda: F.layer_norm(x, ROWS[1:], w, bias)
        show("layer_norm", f"{ROWS}", dtype, (x, w, bias), norm, 0, (2 * moved, 5 * moved))
        show("gelu", f"{ROWS}", dtype, (x,), lambda: F.gelu(x), 0, (2 * moved, 5 * moved))


if __name__ == "__main__":
    main()
