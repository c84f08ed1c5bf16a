"""Makes the files of this folder anew: small JPEGs by Pillow (libjpeg-turbo), and the samples that Pillow makes of them.

    python3 make.py        (needs pillow and numpy)

NAME.rgb holds 24 x 24 RGB pixels: the shorter side resized to 27 and the centre cut out, as torchvision does it.
"""

import numpy as np
from PIL import Image, __version__, features

SIZE = 24


def picture(width, height):
    """Smooth parts, fine detail, and colours at the edge of what 8 bits hold."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:height, 0:width]
    red = 128 + 120 * np.sin(x / 5) + rng.normal(0, 12, (height, width))
    green = 255 * (y / height) + 30 * np.cos(x * y / 40)
    blue = np.where((x // 7 + y // 6) % 2 == 0, 250, 5) + rng.normal(0, 6, (height, width))
    return Image.fromarray(np.stack([red, green, blue], -1).clip(0, 255).astype(np.uint8))


def sample(image):
    short = round(SIZE * 256 / 224)
    width, height = image.size
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    image = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - SIZE) / 2), round((size[1] - SIZE) / 2)
    return image.crop((left, top, left + SIZE, top + SIZE))


FILES = {
    "444": ("RGB", (41, 30), {"quality": 90, "subsampling": 0}),
    "422": ("RGB", (50, 37), {"quality": 90, "subsampling": 1}),
    "420": ("RGB", (53, 47), {"quality": 85, "subsampling": 2}),
    "420-narrow": ("RGB", (3, 29), {"quality": 90, "subsampling": 2}),
    "gray": ("L", (33, 40), {"quality": 85}),
    "restart": ("RGB", (60, 44), {"quality": 75, "subsampling": 2, "restart_marker_blocks": 3}),
    "optimised": ("RGB", (48, 48), {"quality": 60, "optimize": True}),
    "rgb": ("RGB", (30, 34), {"quality": 90, "keep_rgb": True}),
    "progressive": ("RGB", (40, 36), {"quality": 85, "progressive": True, "subsampling": 0}),
    "cmyk": ("CMYK", (31, 36), {"quality": 90}),
}

print("Pillow", __version__, "libjpeg-turbo", features.version("libjpeg_turbo"))
for name, (mode, size, options) in FILES.items():
    picture(*size).convert(mode).save(f"{name}.jpg", "JPEG", **options)
    (open(f"{name}.rgb", "wb")).write(np.asarray(sample(Image.open(f"{name}.jpg"))).tobytes())
