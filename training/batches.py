"""The training images in batches, shuffled and augmented, with what is to be answered to them."""

import math
from abc import ABC, abstractmethod

import keras
import numpy as np
import numpy.typing as npt

from training.augmentation import augment
from training.data import CLASS_NAMES, Inputs, Labelled, Labels
from training.recipe import Recipe, TeacherRecipe

Targets = npt.NDArray[np.float32]

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

    def __init__(self, training: Labelled, recipe: Recipe | TeacherRecipe) -> None:
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


def one_hot(labels: Labels) -> Targets:
    """Turn (n,) class ids into (n, 10) probabilities."""
    return np.eye(len(CLASS_NAMES), dtype=np.float32)[labels]
