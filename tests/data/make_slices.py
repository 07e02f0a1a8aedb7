"""Cut the small slices of Fashion-MNIST that the tests read: `python -m tests.data.make_slices`.

The result is the same byte for byte on every run.
"""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.data import CLASS_NAMES, FashionMnist, load_fashion_mnist

FOLDER = Path(__file__).parent
TINY_TRAIN_IMAGES = 256
TINY_TEST_IMAGES = 64
ACCURACY_IMAGES = 1000
PNGS_PER_CLASS = 2


def write_idx(path: Path, items: npt.NDArray[np.integer[Any]]) -> None:
    """Write an IDX file of unsigned bytes, compressed, without the time in its header."""
    header = bytes([0, 0, 8, items.ndim]) + np.array(items.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + items.tobytes(), compresslevel=9, mtime=0))


def write_tiny_set(data: FashionMnist, folder: Path) -> None:
    """Write the first images of each part under the names of the original files."""
    folder.mkdir(parents=True, exist_ok=True)
    train, test = slice(TINY_TRAIN_IMAGES), slice(TINY_TEST_IMAGES)
    write_idx(folder / "train-images-idx3-ubyte.gz", data.train_images[train])
    write_idx(folder / "train-labels-idx1-ubyte.gz", data.train_labels[train])
    write_idx(folder / "t10k-images-idx3-ubyte.gz", data.test_images[test])
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", data.test_labels[test])


def write_pngs(data: FashionMnist, folder: Path) -> None:
    """Write the first test images of each class as 8-bit greyscale PNGs."""
    folder.mkdir(parents=True, exist_ok=True)
    for label, name in enumerate(CLASS_NAMES):
        slug = name.lower().replace("/", "-").replace(" ", "-")
        for index in np.flatnonzero(data.test_labels == label)[:PNGS_PER_CLASS]:
            image = Image.fromarray(data.test_images[index])
            image.save(folder / f"{index:04}-{slug}.png", optimize=True)


if __name__ == "__main__":
    fashion_mnist = load_fashion_mnist()
    write_tiny_set(fashion_mnist, FOLDER / "idx")
    first = slice(ACCURACY_IMAGES)
    write_idx(FOLDER / "test-1000-images-idx3-ubyte.gz", fashion_mnist.test_images[first])
    write_idx(FOLDER / "test-1000-labels-idx1-ubyte.gz", fashion_mnist.test_labels[first])
    write_pngs(fashion_mnist, FOLDER / "png")
