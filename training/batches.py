"""The training images in batches, shuffled and augmented."""

import math

import keras
import numpy as np

from training.augmentation import augment
from training.data import Inputs, Labels
from training.recipe import Recipe

AUGMENTATION_THREADS = 2


class ShuffledBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """The training images, in an order and with changes that the seed and the epoch decide."""

    def __init__(
        self,
        images: Inputs,
        labels: Labels,
        recipe: Recipe,
    ) -> None:
        # Augmenting on other threads lets the training steps go on meanwhile.
        super().__init__(workers=AUGMENTATION_THREADS if recipe.augmentation.any else 1)
        self._images, self._labels = images, labels
        self._batch_size, self._seed = recipe.fit.batch_size, recipe.fit.seed
        self._augmentation = recipe.augmentation
        self.shuffle(epoch=0)

    def shuffle(self, epoch: int) -> None:
        """Draw the order of one epoch."""
        self._epoch = epoch
        generator = np.random.default_rng((self._seed, epoch))
        self._order = generator.permutation(len(self._images))

    def __len__(self) -> int:
        """Count the batches of an epoch; the last one may be smaller."""
        return math.ceil(len(self._images) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Inputs, Labels]:
        """Return a batch: images (b, 28, 28, 1) float32 in [0, 1] and labels (b,) uint8."""
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        images, labels = self._images[chosen], self._labels[chosen]
        if self._augmentation.any:
            place = self._epoch, index
            images = augment(images, labels, self._augmentation, self._seed, place)
        return images, labels
