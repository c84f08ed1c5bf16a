"""Trains the same network on footplate's pixels and on torchvision's, and compares the accuracies.

    /tmp/loader-venv/bin/python tests/parity/accuracy.py TRAIN TEST [--size 32] [--epochs 20] [--seeds 3]

TRAIN and TEST are folders with a folder of images for each class. The transforms are the reference ones for training
(random resized crop, flip) and validation (resize, centre); each arm is trained and tested with its own. The network's
initial weights are the same in both arms of a seed; the order and the crops are each tool's own, drawn from the seed.
Footplate's pixels come from the example `augmented` of footplate-data. Needs PyTorch: benches/loader/setup.sh.
The exit code is 1 if the arms' means differ by more than twice the standard error of that difference.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision import transforms as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1) * 255
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) * 255
BATCH = 64
SCALE = (0.08, 1.0)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        return torch.relu(self.b(self.a(x)) + self.skip(x))


def network(classes):
    """A residual network of 8 layers."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        Block(16, 32, 2), Block(32, 64, 2), Block(64, 128, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes)).to(memory_format=torch.channels_last)


def normalised(pixels):
    """u8 NHWC to f32 NCHW."""
    return (pixels.permute(0, 3, 1, 2).float() - MEAN) / STD


class Torchvision:
    """One arm: its epochs as iterators of (u8 NHWC pixels, labels)."""

    name = "torchvision"

    def __init__(self, options, seed):
        self.options = options
        size = options.size
        to_pixels = t.Lambda(lambda image: torch.from_numpy(np.asarray(image).copy()))
        train = t.Compose([t.RandomResizedCrop(size, SCALE), t.RandomHorizontalFlip(), to_pixels])
        test = t.Compose([t.Resize(round(size * 256 / 224)), t.CenterCrop(size), to_pixels])
        self.train = torchvision.datasets.ImageFolder(options.train, train)
        self.tests = torchvision.datasets.ImageFolder(options.test, test)
        self.classes = len(self.train.classes)
        torch.manual_seed(seed)

    def epoch(self, _number):
        return torch.utils.data.DataLoader(self.train, batch_size=BATCH, shuffle=True)

    def test(self):
        return torch.utils.data.DataLoader(self.tests, batch_size=250)

    def close(self):
        pass


class Footplate:
    """The other arm: pixels that footplate's pipeline has written to a file."""

    name = "footplate"

    def __init__(self, options, seed):
        self.folder = tempfile.TemporaryDirectory()
        self.options = options
        self.written(options.train, options.epochs, seed, "train")
        self.written(options.test, 1, seed, "eval")
        self.samples = len(self.labels("train")) // options.epochs
        torch.manual_seed(seed)

    def path(self, mode):
        return str(pathlib.Path(self.folder.name) / mode)

    def written(self, data, epochs, seed, mode):
        command = [self.options.binary, data, self.options.size, epochs, seed, mode, self.path(mode)]
        subprocess.run([str(part) for part in command], check=True)

    def labels(self, mode):
        return np.fromfile(self.path(mode) + ".labels", np.uint8)

    def batches(self, mode, begin, end, size):
        shape = (-1, self.options.size, self.options.size, 3)
        pixels = np.memmap(self.path(mode) + ".u8", np.uint8, "r").reshape(shape)
        labels = self.labels(mode)
        for at in range(begin, end, size):
            part = slice(at, min(at + size, end))
            yield torch.from_numpy(pixels[part].copy()), torch.from_numpy(labels[part].astype(np.int64))

    def epoch(self, number):
        return self.batches("train", number * self.samples, (number + 1) * self.samples, BATCH)

    def test(self):
        return self.batches("eval", 0, len(self.labels("eval")), 250)

    def close(self):
        self.folder.cleanup()


def trained(arm, seed, options, classes):
    """The network after all epochs."""
    torch.manual_seed(seed)
    net = network(classes)
    # The arm draws its crops from here on.
    torch.manual_seed(seed + 1000)
    steps = options.epochs * math.ceil(options.samples / BATCH)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps, pct_start=0.2)
    for number in range(options.epochs):
        for pixels, labels in arm.epoch(number):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(normalised(pixels)), labels).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(net, batches):
    right, all_ = 0, 0
    for pixels, labels in batches:
        right += int((net(normalised(pixels)).argmax(1) == labels).sum())
        all_ += len(labels)
    return 100 * right / all_


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("train")
    add("test")
    add("--size", type=int, default=32)
    add("--epochs", type=int, default=20)
    add("--seeds", type=int, default=3)
    add("--threads", type=int, default=1)
    add("--binary", type=pathlib.Path, help="a built example `augmented`; built if not given")
    add("--json", type=pathlib.Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.binary:
        subprocess.run(["cargo", "build", "--release", "-q", "-p", "footplate-data", "--example", "augmented"],
                       cwd=ROOT, check=True)
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        options.binary = target / "release/examples/augmented"
    folder = torchvision.datasets.ImageFolder(options.train)
    options.samples = len(folder)

    found = {}
    for seed in range(options.seeds):
        for kind in [Torchvision, Footplate]:
            begun = time.monotonic()
            arm = kind(options, seed)
            net = trained(arm, seed, options, len(folder.classes))
            own = accuracy(net, arm.test())
            # Torchvision's validation pixels, for both: what moves then is the training alone.
            common = accuracy(net, Torchvision(options, seed).test())
            arm.close()
            found.setdefault(kind.name, []).append((own, common))
            print(f"seed {seed} {kind.name:12} own validation {own:.2f} %  torchvision's {common:.2f} %  "
                  f"({time.monotonic() - begun:.0f} s)", flush=True)

    print(f"\n{options.samples} images, {options.size} pixels, {options.epochs} epochs, {options.seeds} seeds")
    print("| pixels by | own validation, % | torchvision's validation, % |\n|---|---|---|")
    spread = statistics.stdev if options.seeds > 1 else lambda _: math.nan
    for name, pairs in found.items():
        cells = [f"{statistics.mean(column):.2f} ± {spread(column):.2f}" for column in zip(*pairs)]
        print(f"| {name} | " + " | ".join(cells) + " |")
    columns = {name: [own for own, _ in pairs] for name, pairs in found.items()}
    a, b = columns["torchvision"], columns["footplate"]
    difference = statistics.mean(b) - statistics.mean(a)
    error = math.sqrt((spread(a) ** 2 + spread(b) ** 2) / options.seeds)
    print(f"\nfootplate - torchvision: {difference:+.2f} points, standard error {error:.2f}")
    if options.json:
        options.json.write_text(json.dumps({"accuracies": found, "difference": difference, "error": error}, indent=1))
    sys.exit(int(abs(difference) > 2 * error))


if __name__ == "__main__":
    main()
