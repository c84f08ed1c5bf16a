"""Compares footplate's samples with Pillow's (libjpeg-turbo, antialiased bilinear) on real images and on generated kinds.

    cargo build --release -p footplate-data --example pixels
    python3 -m venv venv && venv/bin/pip install pillow numpy
    venv/bin/python tests/parity/pixels.py FOLDER [COUNT]

For each photo: the validation sample (torchvision's Resize and CenterCrop, written out with Pillow), a training sample
(Pillow's `resize` with the crop as its box, mirrored or not), and the same from the file's index, which must be equal to
it. Then generated kinds of files, and each EXIF orientation as Pillow's exif_transpose turns it. Prints mean and
largest difference in levels of 255, and ends with 1 if a limit is exceeded.
"""

import io
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy as np
from PIL import Image, ImageOps, features

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PIXELS = TARGET / "release/examples/pixels"
SIZE = 224
MEAN_LIMIT, LARGEST_LIMIT = 0.6, 12


def eval_sample(image):
    """torchvision's Resize(256) and CenterCrop(224) on a Pillow image; one too small is not padded by footplate."""
    short = round(SIZE * 256 / 224)
    width, height = image.size
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    image = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - SIZE) / 2), round((size[1] - SIZE) / 2)
    return np.asarray(image.crop((left, top, left + SIZE, top + SIZE)))


def train_sample(image, crop):
    left, top, width, height, mirrored = crop
    box = (left, top, left + width, top + height)
    image = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
    return np.asarray(ImageOps.mirror(image) if mirrored else image)


def got(path, exif, which, folder):
    out = folder / "out.rgb"
    subprocess.run([PIXELS, path, str(SIZE), exif, which, out], check=True)
    return np.fromfile(out, dtype=np.uint8).reshape(SIZE, SIZE, 3)


def difference(a, b):
    delta = np.abs(a.astype(int) - b.astype(int))
    return delta.mean(), delta.max()


def compare(path, folder, number=0, exif="ignore"):
    """Mean and largest difference of the validation and the training sample."""
    image = Image.open(path)
    image = ImageOps.exif_transpose(image) if exif == "apply" else image
    results = [difference(eval_sample(image), got(path, exif, "eval", folder))]
    ours = got(path, exif, f"train:{number}", folder)
    crop = [float(word) for word in (folder / "out.rgb.crop").read_text().split()]
    results.append(difference(train_sample(image, crop), ours))
    assert np.array_equal(ours, got(path, exif, f"indexed:{number}", folder)), f"{path}: the index changes pixels"
    return np.array(results)


def kinds(photo):
    """Encoded variants of one photo, by name."""
    for name, sampling in {"444": 0, "422": 1, "420": 2}.items():
        yield f"{name}.jpg", "RGB", "JPEG", {"quality": 90, "subsampling": sampling}
    yield "gray.jpg", "L", "JPEG", {"quality": 95}
    yield "optimised.jpg", "RGB", "JPEG", {"quality": 85, "optimize": True}
    yield "quality 20.jpg", "RGB", "JPEG", {"quality": 20}
    yield "restart blocks.jpg", "RGB", "JPEG", {"quality": 90, "restart_marker_blocks": 7}
    yield "restart rows.jpg", "RGB", "JPEG", {"quality": 90, "restart_marker_rows": 1}
    yield "RGB components.jpg", "RGB", "JPEG", {"quality": 90, "keep_rgb": True}
    yield "cmyk.jpg", "CMYK", "JPEG", {"quality": 95}
    yield "progressive.jpg", "RGB", "JPEG", {"quality": 95, "progressive": True}
    yield "palette.png", "P", "PNG", {}
    yield "rgba.png", "RGBA", "PNG", {}
    yield "one_bit.png", "1", "PNG", {}


def encoded(photo, mode, kind, options):
    buffer = io.BytesIO()
    photo.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def by_cjpeg(photo, *options):
    """Encoded by libjpeg-turbo's own program: it writes samplings that Pillow does not."""
    ppm = io.BytesIO()
    photo.save(ppm, "PPM")
    return subprocess.run(["cjpeg", "-quality", "90", *options], input=ppm.getvalue(), capture_output=True, check=True).stdout


def png_of_16_bits(photo):
    """Truecolour of 16 bits; Pillow reads its upper bytes."""
    pixels = np.asarray(photo.convert("RGB")).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    head = struct.pack(">IIBBBBB", photo.width, photo.height, 16, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def ycck(photo):
    """CMYK whose first three components are stored as Y, Cb and Cr. Pillow writes no such file; it writes four components as
    they are (inverted), and says so in Adobe's marker, whose last byte becomes that of YCCK here."""
    cyan, magenta, yellow, black = photo.convert("CMYK").point(lambda level: 255 - level).split()
    parts = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
    stored = Image.merge("CMYK", (*parts, black)).point(lambda level: 255 - level)
    data = bytearray(encoded(stored, "CMYK", "JPEG", {"quality": 95}))
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 0, "four components as they are"
    data[marker + 11] = 2
    return bytes(data)


def cases(photo):
    yield "16_bits.png", "ignore", png_of_16_bits(photo)
    yield "ycck.jpg", "ignore", ycck(photo)
    if shutil.which("cjpeg"):
        for name, sampling in {"440": "1x2", "411": "4x1", "410": "4x2", "1x4": "1x4"}.items():
            yield f"{name}.jpg", "ignore", by_cjpeg(photo, "-sample", f"{sampling},1x1,1x1")
    for name, mode, kind, options in kinds(photo):
        try:
            yield name, "ignore", encoded(photo, mode, kind, options)
        except (ValueError, TypeError) as error:
            print(f"{name:24} not made by this Pillow: {error}")
    for size in [(1, 1), (1, 40), (40, 1), (2, 2), (3, 5), (4, 4), (17, 33), (255, 257), (300, 16)]:
        for sampling in [0, 1, 2]:
            small = photo.resize(size)
            options = {"quality": 90, "subsampling": sampling}
            yield f"{size[0]} x {size[1]}, {sampling}", "ignore", encoded(small, "RGB", "JPEG", options)
        yield f"{size[0]} x {size[1]}, gray", "ignore", encoded(small, "L", "JPEG", {"quality": 90})
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for policy in ["ignore", "apply"]:
            yield f"exif {orientation}, {policy}", policy, encoded(photo, "RGB", "JPEG", {"quality": 95, "exif": exif})


def main():
    print("Pillow", Image.__version__, "libjpeg-turbo", features.version("libjpeg_turbo"))
    paths = sorted(pathlib.Path(sys.argv[1]).rglob("*.jpg"))
    count = int(sys.argv[2]) if len(sys.argv) > 2 else len(paths)
    paths = paths[:: max(1, len(paths) // count)][:count]
    failed = []

    def judge(name, mean, largest):
        if mean > MEAN_LIMIT or largest > LARGEST_LIMIT:
            failed.append(f"{name}: mean {mean:.3f}, largest {largest:.0f}")

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        results = np.array([compare(path, folder, number) for number, path in enumerate(paths)])
        for which, result in zip(["validation", "training"], results.swapaxes(0, 1)):
            mean, worst, largest = result[:, 0].mean(), result[:, 0].max(), result[:, 1].max()
            beyond = (result[:, 1] > LARGEST_LIMIT).sum()
            print(f"{len(paths)} photos, {which}: mean {mean:.3f}, worst photo {worst:.3f}, largest {largest:.0f}, photos with a pixel beyond {LARGEST_LIMIT}: {beyond}")
            for path, (mean, largest) in zip(paths, result):
                judge(f"{path.name}, {which}", mean, largest)
        for name, policy, data in cases(Image.open(paths[0]).convert("RGB")):
            path = folder / "kind"
            path.write_bytes(data)
            result = compare(path, folder, 3, policy)
            print(f"{name:24} mean {result[:, 0].max():.3f}, largest {result[:, 1].max():.0f}")
            judge(name, result[:, 0].max(), result[:, 1].max())
    for line in failed:
        print("beyond a limit:", line)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
