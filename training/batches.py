"""What the network learns from: shuffled and augmented images with their targets, in batches."""

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from .data import Inputs, to_inputs
from .photographs import Photographs
from .recipe import IMAGE_SIDE, Augmentation, Recipe

PREDICT_BATCH = 500
ERASED_AREA = 0.02, 0.2
"""Smallest and largest share of an image that a rectangle covers."""

Targets = npt.NDArray[np.float32]
"""(n, classes): the probability of each class; or, for a set of right classes, 1 for each."""
Probabilities = npt.NDArray[np.float32]


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Batches of training images, and of photographs where the recipe asks for them.

    Order, augmentation and choice of photographs depend on the seed, the epoch and the batch alone.
    """

    def __init__(
        self,
        images: Inputs,
        targets: Targets,
        recipe: Recipe,
        photographs: Photographs | None = None,
    ) -> None:
        super().__init__()
        share = recipe.photographs.share if photographs else 0.0
        self._images, self._targets = images, targets
        self._photographs_a_batch = round(recipe.fit.batch_size * share)
        self._images_a_batch = recipe.fit.batch_size - self._photographs_a_batch
        self._photographs = photographs
        if photographs:
            self._pixels = to_inputs(photographs.pixels)
            has_class = photographs.has_class[:, None]
            uniform = np.float32(1 / photographs.classes.shape[1])
            self._classes = np.where(has_class, photographs.classes, uniform)
            self._chances = photographs.chances(recipe.photographs.without_class)
            weight = recipe.photographs.weight
            self._weights = (1 - weight) / (1 - share), weight / share
        self._recipe = recipe
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Draw the order of one epoch."""
        self._epoch = epoch
        generator = np.random.default_rng((self._recipe.fit.seed, epoch))
        self._order = generator.permutation(len(self._images))

    def __len__(self) -> int:
        """Count the batches of an epoch; the last one may be smaller."""
        return math.ceil(len(self._images) / self._images_a_batch)

    def __getitem__(self, index: int) -> tuple[Inputs, Targets, npt.NDArray[np.float32]]:
        """Return images (b, 28, 28, 1), targets (b, classes) and weights (b,) of the loss."""
        generator = np.random.default_rng((self._recipe.fit.seed, self._epoch, index))
        first = index * self._images_a_batch
        chosen = self._order[first : first + self._images_a_batch]
        images = augment(self._images[chosen], self._recipe.augmentation, generator)
        targets = self._targets[chosen]
        if not self._photographs:
            return images, targets, np.ones(len(images), np.float32)
        drawn = generator.choice(len(self._chances), self._photographs_a_batch, p=self._chances)
        changes = self._recipe.photographs.augmentation
        photographs = augment(self._pixels[drawn], changes, generator)
        return (
            np.concatenate([images, photographs]),
            np.concatenate([targets, self._classes[drawn]]),
            np.repeat(self._weights, [len(images), len(photographs)]).astype(np.float32),
        )


def predict(model: Any, images: Inputs) -> Probabilities:
    """Return what a model answers to images, (n, classes)."""
    # Of plain arrays Keras makes operations that TensorFlow warns of after `fit`.
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(PREDICT_BATCH)
    return np.asarray(model.predict(dataset, verbose=0))


def augment(images: Inputs, settings: Augmentation, generator: np.random.Generator) -> Inputs:
    """Change images, (b, 28, 28, 1) float32 in [0, 1], at random.

    Flip, rotation, zoom and shift are one affine transform, interpolated once; Keras' layers would
    interpolate for each, and take several times as long. Fractions of a pixel would blur an image
    that is only shifted.
    """
    count, side = len(images), IMAGE_SIDE
    angle = np.radians(generator.uniform(-settings.rotate, settings.rotate, count))
    width, height = generator.uniform(1 - settings.zoom, 1 + settings.zoom, (2, count))
    shift = generator.integers(-settings.shift, settings.shift, (count, 2), endpoint=True)
    if settings.flip:
        width *= generator.choice([-1, 1], count)
    # Maps pixels (x, y) of the result to those of the image, both measured from the centre.
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos * width, -sin * height], [sin * width, cos * height]])
    matrix = matrix.transpose(2, 0, 1)
    middle = (side - 1) / 2
    offset = middle - matrix @ np.full(2, middle) + shift
    rows = np.concatenate([matrix, offset[..., None]], axis=2).reshape(count, 6)
    transforms = np.pad(rows, ((0, 0), (0, 2))).astype(np.float32)
    light = generator.uniform(1 - settings.brightness, 1 + settings.brightness, (count, 1, 1, 1))
    moved = np.asarray(keras.ops.image.affine_transform(images, transforms))
    changed = np.clip(moved * light, 0, 1).astype(np.float32)
    return erase(changed, settings.erase, generator) if settings.erase else changed


def erase(images: Inputs, share: float, generator: np.random.Generator) -> Inputs:
    """Fill a rectangle of a share of the images with noise.

    Zhong, Zheng, Kang, Li and Yang 2020, Random Erasing Data Augmentation,
    https://arxiv.org/abs/1708.04896.
    """
    count, side = len(images), IMAGE_SIDE
    size = side * np.sqrt(generator.uniform(*ERASED_AREA, (count, 1)))
    size = size * generator.uniform(2 / 3, 3 / 2, (count, 1)) ** [[0.5, -0.5]]
    size = np.minimum(np.rint(size), side)
    first = np.rint(generator.random((count, 2)) * (side - size))
    place = np.arange(side)
    inside = (place >= first[..., None]) & (place < (first + size)[..., None])
    inside &= (generator.random(count) < share)[:, None, None]
    noise = generator.random(images.shape, np.float32)
    return np.where((inside[:, 0, :, None] & inside[:, 1, None, :])[..., None], noise, images)
