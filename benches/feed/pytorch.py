#!/usr/bin/env python3
"""PyTorch's way of a minibatch to an NVIDIA GPU, beside `cargo run --release -p footplate-train --features vulkan
--example feed`: pinned memory, `.to("cuda", non_blocking=True)`, as float32 and as bytes that are normalised there.

Not run so far: no NVIDIA GPU was at hand."""
import statistics
import sys
import time

import torch

SIDE = int(sys.argv[1]) if len(sys.argv) > 1 else 224
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 15
MEAN = torch.tensor([0.485, 0.456, 0.406], device="cuda").view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225], device="cuda").view(1, 3, 1, 1)


def as_float(batch):
    return batch.to("cuda", non_blocking=True)


def as_bytes(batch):
    pixels = batch.to("cuda", non_blocking=True).permute(0, 3, 1, 2)
    return (pixels.float().div_(255) - MEAN) / STD


def measure(make, way):
    batch = make().pin_memory()
    walls, cpu = [], 0.0
    for i in range(ROUNDS + 2):
        torch.cuda.synchronize()
        begun, cpu_began = time.perf_counter(), time.process_time()
        way(batch)
        torch.cuda.synchronize()
        if i >= 2:
            walls.append(time.perf_counter() - begun)
            cpu += time.process_time() - cpu_began
    return statistics.median(walls) * 1e3, cpu / ROUNDS * 1e3


print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}; {SIDE} px; median of {ROUNDS} rounds")
print("| batch | way | wall, ms | CPU time, ms |\n|---|---|---|---|")
for items in (16, 32, 64, 128, 256):
    floats = lambda: torch.rand(items, 3, SIDE, SIDE)
    pixels = lambda: torch.randint(0, 256, (items, SIDE, SIDE, 3), dtype=torch.uint8)
    for name, make, way in (("float32", floats, as_float), ("uint8", pixels, as_bytes)):
        wall, cpu = measure(make, way)
        print(f"| {items} | PyTorch {name}, pinned, non_blocking | {wall:.2f} | {cpu:.2f} |")
