"""The training images in batches, shuffled and augmented, with what is to be answered to them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt

from training.augmentation import augment
from training.data import CLASS_NAMES, Images, Inputs, Labelled, Labels, to_inputs
from training.recipe import Fit, Recipe

Targets = npt.NDArray[np.float32]
Lessons = Callable[[int], tuple[Images, Targets]]
"""From an epoch's number to its images, (n, 28, 28) uint8, and the answers to them, (n, 10)."""

AUGMENTATION_THREADS = 2


class Batches(keras.utils.PyDataset, ABC):  # type: ignore[misc]  # Keras ships no types
    """Training images in an order that the seed and the epoch decide."""

    def __init__(self, images: int, batch_size: int, seed: int, workers: int = 1) -> None:
        super().__init__(workers=workers)
        self._images, self._batch_size, self._seed = images, batch_size, seed
        self.shuffle(epoch=0)

    def shuffle(self, epoch: int) -> None:
        """Draw the order of one epoch."""
        self._epoch = epoch
        generator = np.random.default_rng((self._seed, epoch))
        self._order = generator.permutation(self._images)

    def __len__(self) -> int:
        """Count the batches of an epoch; the last one may be smaller."""
        return math.ceil(self._images / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Inputs, Targets]:
        """Return a batch: images (b, 28, 28, 1) float32 in [0, 1], targets (b, 10) float32."""
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._read(index, chosen)

    @abstractmethod
    def _read(self, index: int, chosen: npt.NDArray[np.int64]) -> tuple[Inputs, Targets]: ...


class LabelledBatches(Batches):
    """Images with changes that the seed and the epoch decide, and their labels."""

    def __init__(self, training: Labelled, recipe: Recipe) -> None:
        self._training, self._augmentation = training, recipe.augmentation
        # Augmenting on other threads lets the training steps go on meanwhile.
        workers = AUGMENTATION_THREADS if recipe.augmentation.any else 1
        super().__init__(len(training.labels), recipe.fit.batch_size, recipe.fit.seed, workers)

    def _read(self, index: int, chosen: npt.NDArray[np.int64]) -> tuple[Inputs, Targets]:
        images, labels = self._training.images[chosen], self._training.labels[chosen]
        if self._augmentation.any:
            place = self._epoch, index
            images = augment(images, labels, self._augmentation, self._seed, place)
        return images, one_hot(labels)


class ViewBatches(Batches):
    """Views of images, another in each epoch, and what is to be answered to them."""

    def __init__(self, images: int, lessons: Lessons, fit: Fit) -> None:
        """Take the lessons in turn.

        Args:
            images: how many there are in each lesson.
            lessons: the one of the epoch of this number.
            fit: the size of a batch, and the seed of the order.
        """
        self._lessons = lessons
        self._view: Images
        self._targets: Targets
        super().__init__(images, fit.batch_size, fit.seed)

    def shuffle(self, epoch: int) -> None:
        """Take the epoch's lesson and draw the order of its images."""
        super().shuffle(epoch)
        self._view, self._targets = self._lessons(epoch)

    def _read(self, index: int, chosen: npt.NDArray[np.int64]) -> tuple[Inputs, Targets]:
        del index
        return to_inputs(self._view[chosen]), self._targets[chosen]


class OrderedBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Images as they are and in their order, for validation."""

    def __init__(self, images: Labelled, batch_size: int) -> None:
        super().__init__()
        self._labelled, self._batch_size = images, batch_size

    def __len__(self) -> int:
        """Count the batches; the last one may be smaller."""
        return math.ceil(len(self._labelled.labels) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Inputs, Targets]:
        """Return a batch: images (b, 28, 28, 1) float32 in [0, 1], targets (b, 10) float32."""
        part = slice(index * self._batch_size, (index + 1) * self._batch_size)
        return self._labelled.images[part], one_hot(self._labelled.labels[part])


def one_hot(labels: Labels) -> Targets:
    """Turn (n,) class ids into (n, 10) probabilities."""
    return np.eye(len(CLASS_NAMES), dtype=np.float32)[labels]
