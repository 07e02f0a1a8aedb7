"""What the network learns from: shuffled and augmented images with their targets, in batches."""

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from training.data import Inputs, Labelled, Labels, to_inputs
from training.photographs import Photographs
from training.recipe import IMAGE_SIDE, Augmentation, Recipe

Targets = npt.NDArray[np.float32]
"""(n, classes): the probability of each class; or, for a set of right classes, 1 for each."""


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Batches of training images, and of photographs where the recipe asks for them.

    The order, the changes and the choice of photographs depend on the seed, the number of the epoch
    and that of the batch, and on nothing before them.
    """

    def __init__(
        self,
        training: Labelled,
        targets: Targets,
        recipe: Recipe,
        photographs: Photographs | None = None,
    ) -> None:
        """Take the images.

        Args:
            training: n images.
            targets: theirs, (n, classes).
            recipe: the size of a batch, the changes, the seed, the share of photographs.
            photographs: those to learn from, if the recipe asks for some.
        """
        super().__init__()
        share = recipe.photographs.share if photographs else 0.0
        self._images, self._targets = training.images, targets
        self._photographs_a_batch = round(recipe.fit.batch_size * share)
        self._images_a_batch = recipe.fit.batch_size - self._photographs_a_batch
        self._photographs = photographs
        if photographs:
            self._pixels = to_inputs(photographs.pixels)
            has_class = photographs.has_class[:, None]
            uniform = np.float32(1 / photographs.classes.shape[1])
            self._classes = np.where(has_class, photographs.classes, uniform)
            self._chances = photographs.chances(recipe.photographs.without_class)
            self._weights = (
                (1 - recipe.photographs.weight) / (1 - share),
                (recipe.photographs.weight / share),
            )
        self._augment = Augmenter(recipe.augmentation)
        self._augment_photographs = Augmenter(recipe.photographs.augmentation)
        self._seed = recipe.fit.seed
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Draw the order of one epoch."""
        self._epoch = epoch
        self._order = np.random.default_rng((self._seed, epoch)).permutation(len(self._images))

    def __len__(self) -> int:
        """Count the batches of an epoch; the last one may be smaller."""
        return math.ceil(len(self._images) / self._images_a_batch)

    def __getitem__(self, index: int) -> tuple[Inputs, Targets, npt.NDArray[np.float32]]:
        """Return images (b, 28, 28, 1), targets (b, classes) and weights (b,) of the loss."""
        generator = np.random.default_rng((self._seed, self._epoch, index))
        first = index * self._images_a_batch
        chosen = self._order[first : first + self._images_a_batch]
        images, targets = self._augment(self._images[chosen], generator), self._targets[chosen]
        if not self._photographs:
            return images, targets, np.ones(len(images), np.float32)
        drawn = generator.choice(len(self._chances), self._photographs_a_batch, p=self._chances)
        photographs = self._augment_photographs(self._pixels[drawn], generator)
        return (
            np.concatenate([images, photographs]),
            np.concatenate([targets, self._classes[drawn]]),
            np.repeat(self._weights, [len(images), len(photographs)]).astype(np.float32),
        )


class Augmenter:
    """Random changes to images, by Keras' own layers."""

    def __init__(self, settings: Augmentation) -> None:
        layers = keras.layers
        black = {"fill_mode": "constant", "fill_value": 0.0}
        shift, turn, zoom = settings.shift / IMAGE_SIDE, settings.rotate / 360, settings.zoom
        self._brightness = settings.brightness
        self._layers = [
            layer
            for is_used, layer in (
                (settings.flip, layers.RandomFlip("horizontal")),
                (turn, layers.RandomRotation(turn, **black)),
                (zoom, layers.RandomZoom(zoom, zoom, **black)),
                (
                    # By whole pixels: between them an image would be blurred.
                    shift,
                    layers.RandomTranslation(shift, shift, interpolation="nearest", **black),
                ),
                (
                    settings.erase,
                    layers.RandomErasing(settings.erase, (0.02, 0.2), value_range=(0, 1)),
                ),
            )
            if is_used
        ]

        specification = tf.TensorSpec((None, IMAGE_SIDE, IMAGE_SIDE, 1), tf.float32)
        self._change = tf.function(self._apply_layers, input_signature=[specification])

    def __call__(self, images: Inputs, generator: np.random.Generator) -> Inputs:
        """Change images, (b, 28, 28, 1) float32 in [0, 1]; all is drawn from the generator."""
        for layer in self._layers:
            layer.generator.state.assign(generator.integers(2**32, size=2, dtype=np.uint32))
        changed = np.asarray(self._change(images))
        if self._brightness:
            low, high = 1 - self._brightness, 1 + self._brightness
            light = generator.uniform(low, high, (len(images), 1, 1, 1))
            changed = np.clip(changed * light, 0, 1)
        return changed.astype(np.float32)

    def _apply_layers(self, images: Any) -> Any:
        for layer in self._layers:
            images = layer(images, training=True)
        return images


class ValidationBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Images as they are, in their order."""

    def __init__(self, validation: Labelled, classes: int, batch_size: int = 500) -> None:
        super().__init__()
        self._images, self._targets = validation.images, one_hot(validation.labels, classes)
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Count the batches; the last one may be smaller."""
        return math.ceil(len(self._images) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Inputs, Targets]:
        """Return images (b, 28, 28, 1) and targets (b, classes)."""
        part = slice(index * self._batch_size, (index + 1) * self._batch_size)
        return self._images[part], self._targets[part]


def one_hot(labels: Labels, classes: int) -> Targets:
    """Turn (n,) class ids into (n, classes) probabilities."""
    return np.eye(classes, dtype=np.float32)[labels]
