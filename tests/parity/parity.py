"""Compares footplate's networks with torchvision's: same weights, same input, forward in evaluation mode.

    python3 -m venv venv && venv/bin/pip install torch torchvision safetensors numpy
    cargo build --release -p footplate-train --example forward
    venv/bin/python tests/parity/parity.py

For each model: the largest |difference| over the largest |score| must be below 1e-4; and the weights that
footplate writes back must load into torchvision's model with strict=True and give the same scores.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
FORWARD = ROOT / "target/release/examples/forward"
LIMIT = 1e-4
CLASSES = 10


class CharacterLstm(torch.nn.Module):
    """The twin of footplate's `lstm`."""

    def __init__(self, vocabulary, embed=16, hidden=32, layers=2):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, embed)
        self.lstm = torch.nn.LSTM(embed, hidden, layers, batch_first=True)
        self.head = torch.nn.Linear(hidden, vocabulary)

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0]).flatten(0, 1)


def randomised(model):
    """Running statistics and normalisation parameters as after training: not zeros and ones."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def cases():
    for name in ["resnet18", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large"]:
        model = randomised(getattr(torchvision.models, name)(num_classes=CLASSES))
        for size in [224, 97]:
            yield name, model, torch.randn(2, 3, size, size)
    yield "lstm", CharacterLstm(CLASSES).eval(), torch.randint(0, CLASSES, (3, 20))


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


def compare(name, model, given, folder):
    weights, back = folder / "in.safetensors", folder / "out.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
    given.numpy().astype(np.float32).tofile(folder / "input.f32")
    shape = "x".join(str(n) for n in given.shape)
    command = [FORWARD, name, str(CLASSES), weights, folder / "input.f32", shape, folder / "logits.f32", back]
    subprocess.run(command, check=True)
    with torch.no_grad():
        expected = model(given)
    got = torch.from_numpy(np.fromfile(folder / "logits.f32", dtype=np.float32)).reshape(expected.shape)
    error = relative(got, expected)
    model.load_state_dict(load_file(back), strict=True)
    with torch.no_grad():
        error_back = relative(model(given), expected)
    good = error < LIMIT and error_back < LIMIT
    print(f"{name:20} {shape:12} forward {error:.1e}  after the round trip {error_back:.1e}  {'ok' if good else 'FAILED'}")
    return good


def main():
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}; limit {LIMIT}")
    with tempfile.TemporaryDirectory() as folder:
        results = [compare(*case, pathlib.Path(folder)) for case in cases()]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
