#!/usr/bin/env python3
"""Training steps on one GPU: footplate against PyTorch eager, in turn, in one run.

    run.py --footplate target/release/footplate --device vulkan [--rounds 3] [--torch cuda] [MODEL:BATCH:SIDE ...]

A step is forward, loss, backward and SGD with momentum on a minibatch that stays on the device: `footplate stalls`
measures ours (`compute_images_per_s`), the loop below PyTorch's. PyTorch runs in float32 with TF32 off, with TF32, and
under bfloat16 autocast. Needs torch and torchvision.

On an NVIDIA GPU this has not been run: none was at hand. With `--torch cpu` it was (2026-11-27, torch 2.15, beside a build, so
its figures are not kept): lenet5, lstm and mobilenet_v3_small with `--device cpu`, lenet5 with `--device vulkan` on lavapipe."""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torchvision

DEFAULT = ["lenet5:64:32", "resnet18:32:224", "mobilenet_v3_small:32:224", "lstm:32:64"]
CLASSES = 12
LEARNING_RATE, MOMENTUM = 0.01, 0.9


class LeNet5(torch.nn.Module):
    """As crates/footplate-train/src/model/lenet5.rs."""

    def __init__(self):
        super().__init__()
        layers, before = [], 3
        for channels, kernel in ((16, 5), (32, 5), (64, 3)):
            conv = torch.nn.Conv2d(before, channels, kernel, padding=kernel // 2, bias=False)
            layers += [conv, torch.nn.BatchNorm2d(channels), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
            before = channels
        self.features = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())
        self.head = torch.nn.Sequential(torch.nn.Linear(1024, 84), torch.nn.ReLU(), torch.nn.Linear(84, CLASSES))

    def forward(self, x):
        return self.head(self.features(x))


class CharacterLstm(torch.nn.Module):
    """As crates/footplate-train/src/model/lstm.rs at its default size."""

    def __init__(self, vocabulary=64):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, 64)
        self.lstm = torch.nn.LSTM(64, 256, batch_first=True)
        self.head = torch.nn.Linear(256, vocabulary)

    def forward(self, x):
        return self.head(self.lstm(self.embedding(x))[0]).flatten(0, 1)


def job(model, batch, side, device):
    if model == "lstm":
        x = torch.randint(0, 64, (batch, side), device=device)
        return CharacterLstm().to(device), x, torch.randint(0, 64, (batch * side,), device=device)
    net = LeNet5() if model == "lenet5" else getattr(torchvision.models, model)(num_classes=CLASSES)
    x = torch.randn(batch, 3, side, side, device=device)
    return net.to(device), x, torch.randint(0, CLASSES, (batch,), device=device)


def torch_rate(model, batch, side, device, mode, seconds=5.0):
    """Samples a second; with the time that the profiler saw in each kernel it would be a profile."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = mode == "tf32"
    net, x, y = job(model, batch, side, device)
    optimizer = torch.optim.SGD(net.parameters(), LEARNING_RATE, MOMENTUM)
    loss_of = torch.nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=mode == "bf16"):
            loss = loss_of(net(x), y)
        loss.backward()
        optimizer.step()

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        step()
    wait()
    steps, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        step()
        steps += 1
        if steps % 8 == 0:
            wait()
    wait()
    return steps * batch / (time.perf_counter() - begun)


def own_rate(program, model, batch, side, device, text):
    size = ["--data", str(text), "--sequence-length", str(side)] if model == "lstm" else ["--image-size", str(side)]
    command = [program, "stalls", model, "--batch-size", str(batch), "--device", device, "--json", "--time", "30s", *size]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return find(json.loads(done.stdout), "compute_images_per_s")


def find(document, name):
    """A figure at any depth of a JSON document."""
    if isinstance(document, dict):
        if document.get(name) is not None:
            return document[name]
        document = list(document.values())
    if isinstance(document, list):
        return next((found for each in document if (found := find(each, name)) is not None), None)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--footplate", required=True)
    parser.add_argument("--device", default="vulkan")
    parser.add_argument("--torch", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("jobs", nargs="*", default=DEFAULT)
    a = parser.parse_args()
    where = torch.cuda.get_device_name() if a.torch == "cuda" else "cpu"
    print(f"{where}; torch {torch.__version__}; footplate on {a.device}; median of {a.rounds} rounds, items/s")
    modes = ["f32", "tf32", "bf16"] if a.torch == "cuda" else ["f32"]
    print("| model | batch | size | footplate |", *(f"PyTorch {m} (ratio) |" for m in modes))
    print("|---" * (4 + len(modes)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder) / "text.txt"
        text.write_text("".join(chr(33 + i * i % 64) for i in range(200_000)))
        for name in a.jobs:
            model, batch, side = name.split(":")
            batch, side = int(batch), int(side)
            rates = {name: [] for name in ["own", *modes]}
            for _ in range(a.rounds):
                rates["own"].append(own_rate(a.footplate, model, batch, side, a.device, text))
                for mode in modes:
                    rates[mode].append(torch_rate(model, batch, side, a.torch, mode))
            own, *others = (statistics.median(each) for each in rates.values())
            cells = [f"{rate:.0f} ({own / rate:.2f})" for rate in others]
            print(f"| {model} | {batch} | {side} | {own:.0f} |", *(f"{cell} |" for cell in cells))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
