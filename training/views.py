"""Changed views of the training images, made once, kept on disk and learnt from by all networks.

A student learns most where it sees just what the teacher saw (Beyer et al. 2022, Knowledge
Distillation: A Good Teacher Is Patient and Consistent, https://arxiv.org/abs/2106.05237).
"""

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from training.augmentation import augment
from training.data import GREY_LEVELS, Labelled
from training.recipe import Augmentation

CHANGED_AT_ONCE = 500


class ArrayFiles:
    """Arrays of these numbers in a folder, a file each."""

    def __init__(self, folder: Path, numbers: Iterable[int]) -> None:
        self._paths = {number: folder / f"{number:03}.npy" for number in numbers}

    @property
    def missing(self) -> list[int]:
        """The numbers of those that are yet to be made."""
        return [number for number, path in self._paths.items() if not path.exists()]

    def read(self, number: int) -> Any:
        """Read one array."""
        return np.load(self._paths[number])

    def write(self, number: int, array: npt.NDArray[Any]) -> None:
        """Write one array: all of it or nothing."""
        path = self._paths[number]
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.save(file, array)
        temporary.replace(path)


def make_views(views: ArrayFiles, training: Labelled, changes: Augmentation, seed: int) -> None:
    """Make the views that are missing, each an (n, 28, 28) uint8 in the order of the images.

    Args:
        views: where they are kept.
        training: the n training images.
        changes: what is done to them.
        seed: with a view's number it decides every draw.
    """
    make = partial(_make, views, training, changes, seed)
    # By processes: the changes are hundreds of short NumPy calls, which threads take turns at.
    context = multiprocessing.get_context("spawn")  # TensorFlow's threads survive no fork
    with ProcessPoolExecutor(None, context, _begin, (make,)) as processes:
        made = processes.map(_do, views.missing)
        for _ in tqdm(made, desc="Changing images", total=len(views.missing), unit="view"):
            pass


_TASK: list[Callable[[int], None]] = []
"""What a process is for, given to it once: the images are 170 MB."""


def _begin(task: Callable[[int], None]) -> None:
    _TASK.append(task)


def _do(number: int) -> None:
    _TASK[0](number)


def _make(
    views: ArrayFiles, training: Labelled, changes: Augmentation, seed: int, number: int
) -> None:
    order = np.random.default_rng((seed, number)).permutation(len(training.labels))
    view = np.empty(training.images.shape[:3], np.uint8)
    for index, chosen in enumerate(np.array_split(order, len(order) // CHANGED_AT_ONCE + 1)):
        images, labels = training.images[chosen], training.labels[chosen]
        changed = augment(images, labels, changes, seed, (number, index))
        view[chosen] = np.rint(changed[..., 0] * GREY_LEVELS).astype(np.uint8)
    views.write(number, view)
