"""Write prepared.png: synthetic photographs as the service prepares them, side by side.

    python -m tests.data.renew_prepared

The network was trained on photographs that the service prepared. If this file changes, prepare
them again and retrain the network (training/assets/README.md).
"""

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.images.photo import prepare_photo

FOLDER = Path(__file__).parent
FILE = FOLDER / "prepared.png"
SHAPE = (28, 28)
GARMENTS = {0: (0.5, 0.3, 0.2), 1: (0.2, 0.3, 0.6), 2: (0.1, 0.1, 0.1), 13: (0.9, 0.8, 0.7)}
"""Colours, red, green and blue in [0, 1], of images of the data set."""


def synthetic_photographs() -> Iterator[Image.Image]:
    """Yield garments of the data set in colour: on a plain wall, a checked cloth and a rug."""
    content = gzip.decompress((FOLDER / "test-1000-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(content, np.uint8, offset=16).reshape(-1, *SHAPE)
    y, x = np.mgrid[0:400, 0:300]
    plain = 0.75 + 0.1 * x / 300 - 0.15 * y / 400
    checks = np.where((x // 24 + y // 24) % 2, 0.8, 0.55)
    rug = 0.5 + 0.2 * np.sin(x / 3) * np.sin(y / 4) + 0.1 * np.sin((x + 2 * y) / 29)
    for index, colour in GARMENTS.items():
        enlarged = Image.fromarray(images[index]).resize((260, 260), Image.Resampling.BICUBIC)
        shade = np.zeros((400, 300))
        shade[80:340, 15:275] = np.asarray(enlarged) / 255
        cover = np.clip(shade * 6, 0, 1)[..., None]
        garment = np.array(colour) * (1.3 - 0.5 * shade[..., None])
        for ground, tint in (
            (plain, (1, 0.97, 0.9)),
            (checks, (0.8, 1, 0.9)),
            (rug, (1, 0.8, 0.7)),
        ):
            photo = cover * garment + (1 - cover) * ground[..., None] * np.array(tint)
            yield Image.fromarray((photo * 255).clip(0, 255).astype(np.uint8))


def prepared() -> NDArray[np.uint8]:
    """Return the photographs as the service prepares them: (28, 28 n)."""
    return np.hstack([prepare_photo(photo, shape=SHAPE) for photo in synthetic_photographs()])


if __name__ == "__main__":
    Image.fromarray(prepared()).save(FILE, optimize=True)
