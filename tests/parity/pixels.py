"""Compares footplate's validation transform with torchvision's on real images: decode, Resize, CenterCrop.

    cargo build --release -p footplate-data --example pixels
    venv/bin/python tests/parity/pixels.py FOLDER [COUNT]

Prints the mean and the largest difference in levels of 255 over the images, and over generated kinds of files
(gray, CMYK, progressive, palette, EXIF orientations, as torchvision and as Pillow's exif_transpose see them).
"""

import io
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, Compose, Resize

ROOT = pathlib.Path(__file__).resolve().parents[2]
PIXELS = ROOT / "target/release/examples/pixels"
SIZE = 224


def expected(image):
    return np.asarray(Compose([Resize(round(SIZE * 256 / 224)), CenterCrop(SIZE)])(image.convert("RGB")))


def got(path, exif, folder):
    out = folder / "out.rgb"
    subprocess.run([PIXELS, path, str(SIZE), exif, out], check=True)
    return np.fromfile(out, dtype=np.uint8).reshape(SIZE, SIZE, 3)


def difference(path, folder, exif="ignore"):
    image = Image.open(path)
    image = ImageOps.exif_transpose(image) if exif == "apply" else image
    delta = np.abs(expected(image).astype(int) - got(path, exif, folder).astype(int))
    return delta.mean(), delta.max()


def kinds(photo):
    """Encoded variants of one photo, by name."""
    for name, mode, kind, options in [
        ("gray.jpg", "L", "JPEG", {"quality": 95}),
        ("cmyk.jpg", "CMYK", "JPEG", {"quality": 95}),
        ("progressive.jpg", "RGB", "JPEG", {"quality": 95, "progressive": True}),
        ("444.jpg", "RGB", "JPEG", {"quality": 95, "subsampling": 0}),
        ("palette.png", "P", "PNG", {}),
        ("rgba.png", "RGBA", "PNG", {}),
        ("one_bit.png", "1", "PNG", {}),
    ]:
        buffer = io.BytesIO()
        photo.convert(mode).save(buffer, kind, **options)
        yield name, "ignore", buffer.getvalue()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for policy in ["ignore", "apply"]:
            buffer = io.BytesIO()
            photo.save(buffer, "JPEG", quality=95, exif=exif)
            yield f"exif {orientation}, {policy}", policy, buffer.getvalue()


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).rglob("*.jpg"))
    count = int(sys.argv[2]) if len(sys.argv) > 2 else len(paths)
    paths = paths[:: max(1, len(paths) // count)][:count]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        results = np.array([difference(path, folder) for path in paths])
        print(f"{len(paths)} images: mean {results[:, 0].mean():.3f}, worst image {results[:, 0].max():.3f}, largest {results[:, 1].max():.0f}")
        for name, policy, data in kinds(Image.open(paths[0]).convert("RGB")):
            path = folder / "kind"
            path.write_bytes(data)
            mean, largest = difference(path, folder, policy)
            print(f"{name:18} mean {mean:.3f}, largest {largest:.0f}")


if __name__ == "__main__":
    main()
