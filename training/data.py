"""Fashion-MNIST: found, checked, read and split."""

import gzip
import hashlib
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from . import TrainingError
from .recipe import IMAGE_SIDE, Fit

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
GREY_LEVELS = 255
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

# Of the decompressed files, which are the same in every packaging.
DIGESTS = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.integer[Any]]
Inputs = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Size = tuple[int, int]


class Labelled(NamedTuple):
    """Images as the network takes them, (n, 28, 28, 1) float32 in [0, 1], and labels (n,)."""

    images: Inputs
    labels: Labels


@dataclass(frozen=True)
class FashionMnist:
    """The data set as its files hold it: images (n, 28, 28) uint8, labels (n,) uint8 in 0…9."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    digests: dict[str, str]
    """sha256 of each decompressed file, by its name."""
    folder: Path
    class_names: tuple[str, ...]

    @property
    def is_fashion_mnist(self) -> bool:
        """Whether every file is that of the original."""
        return self.digests == DIGESTS

    @property
    def about(self) -> dict[str, Any]:
        """What a run and the manifest say of the data set."""
        other = "other data in Fashion-MNIST's form"
        return {
            "name": "Fashion-MNIST" if self.is_fashion_mnist else other,
            "class_names": list(self.class_names),
            "sha256": self.digests,
        }

    def test(self) -> Labelled:
        """Return the test images as the network takes them."""
        return Labelled(to_inputs(self.test_images), self.test_labels)

    def split(self, fit: Fit) -> list[Indices]:
        """Split the images: return the indices of those to train and of those to validate on.

        Raise a TrainingError if there would be none of either.
        """
        try:
            indices: list[Indices] = train_test_split(
                np.arange(len(self.train_labels)),
                test_size=fit.validation_fraction,
                random_state=fit.split_seed,
                stratify=self.train_labels if fit.stratify else None,
            )
        except ValueError as error:
            raise TrainingError(f"{self.folder}: the images cannot be split: {error}") from error
        return indices

    def select(self, indices: Indices) -> Labelled:
        """Return training or validation images as the network takes them."""
        return Labelled(to_inputs(self.train_images[indices]), self.train_labels[indices])


def to_inputs(images: Images, scale: float = GREY_LEVELS) -> Inputs:
    """Turn (n, height, width) uint8 into (n, height, width, 1) float32, divided by the scale."""
    return np.asarray(images[..., None].astype(np.float32) / np.float32(scale))


def load_fashion_mnist(
    data_dir: Path | None = None,
    allow_other_data: bool = False,
    class_names: Sequence[str] = (),
) -> FashionMnist:
    """Find, check and read the four files; raise a TrainingError that names a missing or wrong one.

    Without `data_dir` the Debian package's folder, Keras' cache and a download into that cache are
    tried in this order. `class_names` are those of other data, which are numbers without them.
    """
    folder = data_dir or _find()
    digests, arrays = {}, []
    for name, expected in DIGESTS.items():
        path = _path_in(folder, name)
        if path is None:
            raise TrainingError(f"{folder} has no {name}.gz and no {name}")
        try:
            content = path.read_bytes()
            if path.suffix == ".gz":
                content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise TrainingError(f"{path} cannot be read: {error}") from error
        digests[name] = hashlib.sha256(content).hexdigest()
        arrays.append(parse_idx(content, path, dimensions=3 if "images" in name else 1))
        if not allow_other_data and digests[name] != expected:
            raise TrainingError(
                f"{path} is not Fashion-MNIST's {name}: the sha256 of its content is "
                f"{digests[name]} (--allow-other-data reads other data of this form)"
            )
    train_images, train_labels, test_images, test_labels = arrays
    numbers = tuple(map(str, range(int(train_labels.max(initial=0)) + 1)))
    names = tuple(class_names) or (CLASS_NAMES if digests == DIGESTS else numbers)
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        _check_pair(images, labels, len(names), (IMAGE_SIDE, IMAGE_SIDE), folder)
    return FashionMnist(
        train_images, train_labels, test_images, test_labels, digests, folder, names
    )


def load_test_images(path: Path, size: Size, classes: int) -> tuple[Images, Labels]:
    """Read x_test, (n, height, width), and y_test, (n,), of an .npz file, or raise an error."""
    try:
        with np.load(path) as arrays:
            images, labels = arrays["x_test"], arrays["y_test"]
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"{path} is not an .npz file with x_test and y_test: {error}"
        ) from error
    if images.dtype != np.uint8 or labels.dtype.kind not in "ui" or labels.ndim != 1:
        raise TrainingError(f"{path}: x_test must be grey values in uint8, y_test a label for each")
    _check_pair(images, labels, classes, size, path)
    return images, labels


def parse_idx(content: bytes, path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read a decompressed IDX file of unsigned bytes; `path` is for the message of an error."""
    # Two zero bytes, 8 for unsigned bytes, the number of dimensions; then each as big-endian int32.
    magic = bytes([0, 0, 8, dimensions])
    if not content.startswith(magic):
        raise TrainingError(
            f"{path} is not an IDX file of {dimensions} dimensions: its magic number is "
            f"{content[:4].hex()}, expected {magic.hex()}"
        )
    try:
        shape = np.frombuffer(content, ">u4", dimensions, offset=len(magic))
        pixels = np.frombuffer(content, np.uint8, offset=len(magic) + shape.nbytes)
        return pixels.reshape(shape)
    except ValueError as error:
        raise TrainingError(f"{path} is truncated or not what its header says: {error}") from error


def _check_pair(images: Images, labels: Labels, classes: int, size: Size, folder: Path) -> None:
    if images.shape[1:] != size:
        raise TrainingError(f"{folder}: images of {images.shape[1:]} pixels, expected {size}")
    if len(images) != len(labels):
        raise TrainingError(f"{folder}: {len(images)} images with {len(labels)} labels")
    if not len(labels) or not 0 <= labels.min() <= labels.max() < classes:
        raise TrainingError(f"{folder}: labels must be there and lie in 0…{classes - 1}")


def _path_in(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def _find() -> Path:
    keras_home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    cache = keras_home / "datasets" / "fashion-mnist"
    for folder in (DEBIAN_FOLDER, cache):
        if all(_path_in(folder, name) for name in DIGESTS):
            return folder
    import keras  # noqa: PLC0415 - seconds of import that no other way to the data needs

    try:
        keras.datasets.fashion_mnist.load_data()
    except Exception as error:  # which one depends on the network and the disk
        raise TrainingError(
            f"Fashion-MNIST is in neither {DEBIAN_FOLDER} nor Keras' cache and cannot be "
            f"downloaded ({error}): install the Debian package dataset-fashion-mnist, or name "
            "the folder of the four files with --data-dir"
        ) from error
    return cache
