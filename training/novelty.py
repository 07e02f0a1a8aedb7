"""How strange an image is to the network: a score from the features of its last hidden layer.

The score is the relative Mahalanobis distance of Ren et al. 2021, A Simple Fix to Mahalanobis
Distance for Improving Near-OOD Detection, https://arxiv.org/abs/2106.09022: the squared distance to
the nearest class, less the squared distance to all training images taken together. Where both
covariances come from the same images they differ only among the discriminants of Fisher's linear
discriminant analysis, at most one fewer than there are classes: along every other direction the two
distances cancel. A hundred features so come down to nine numbers, and the whole to a product that
costs next to nothing in the network's own graph.
"""

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from training.architecture import FEATURES_LAYER, trace_layers

PROBABILITIES, NOVELTY = "probabilities", "novelty"
"""Names of the outputs."""

PREDICT_BATCH = 500
FALSE_ALARMS = 0.05
"""Share of the validation images that the threshold calls novel."""

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class NoveltyDetector:
    """Statistics of the features of the training images, all float32.

    They are taken in the space of the d discriminants, scaled so that the covariance within the
    classes is the identity there, with the mean of the training images as its origin.
    """

    projection: Floats
    """(features, d): from features to discriminants."""
    origin: Floats
    """(d,): what the mean of the training images is projected to."""
    class_means: Floats
    """(classes, d)."""
    variances: Floats
    """(d,): of all the training images."""

    def score(self, features: Any) -> Any:
        """Score images.

        Args:
            features: (n, features) float32, as an array or as a tensor of a graph.

        Returns:
            (n,) float32 tensor in squared standard deviations within a class: any number, the
            higher the stranger.
        """
        discriminants = keras.ops.matmul(features, self.projection) - self.origin
        to_classes = keras.ops.sum(
            keras.ops.square(keras.ops.expand_dims(discriminants, 1) - self.class_means), axis=2
        )
        to_all = keras.ops.sum(keras.ops.square(discriminants) / self.variances, axis=1)
        return keras.ops.min(to_classes, axis=1) - to_all

    def save(self, path: Path) -> None:
        """Write the statistics as an npz file."""
        np.savez(path, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> "NoveltyDetector":
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(**arrays)


class Assessment(NamedTuple):
    """Of n images: probabilities (n, 10) and novelty (n,), both float32."""

    probabilities: Floats
    novelty: Floats


def extract_features(model: Any, images: Floats) -> Floats:
    """Run the model up to its last hidden layer: (n, 28, 28, 1) -> (n, units) float32."""
    inputs, outputs = trace_layers(model)
    network = keras.Model(inputs, outputs[FEATURES_LAYER])
    batches = [network(batch, training=False) for batch in _batches(images)]
    return np.concatenate(batches)


class Assessor:
    """A network with its novelty score and the threshold of it.

    Attributes:
        network: a Keras model of two outputs by name, `PROBABILITIES` and `NOVELTY`.
        threshold: the score above which an image is novel.
    """

    def __init__(self, model: Any, detector: NoveltyDetector, threshold: float) -> None:
        images, outputs = trace_layers(model)
        probabilities = outputs[model.layers[-1].name]
        novelty = detector.score(outputs[FEATURES_LAYER])
        self.network = keras.Model(images, {PROBABILITIES: probabilities, NOVELTY: novelty})
        self.threshold = threshold

    def assess(self, images: Floats) -> Assessment:
        """Classify images, (n, 28, 28, 1) float32 in [0, 1], and say how strange each is."""
        batches = [self.network(batch, training=False) for batch in _batches(images)]
        return Assessment(
            np.concatenate([answers[PROBABILITIES] for answers in batches]),
            np.concatenate([answers[NOVELTY] for answers in batches]),
        )

    def is_novel(self, novelty: Floats) -> npt.NDArray[np.bool_]:
        """Hold scores against the threshold."""
        return novelty > self.threshold


def _batches(images: Floats) -> Iterator[Floats]:
    """Cut images up for direct calls: `predict` would trace each network anew, and complain."""
    for start in range(0, len(images), PREDICT_BATCH):
        yield images[start : start + PREDICT_BATCH]


def fit_detector(features: Floats, labels: Labels) -> NoveltyDetector:
    """Take the statistics of the training images.

    Args:
        features: (n, features) float32.
        labels: (n,) uint8 class ids.
    """
    features = features.astype(np.float64)
    analysis = LinearDiscriminantAnalysis(solver="svd")
    with warnings.catch_warnings():
        # A unit that is never active is collinear with any other; the solver leaves it out.
        warnings.simplefilter("ignore", UserWarning)
        discriminants = analysis.fit(features, labels).transform(features)
    projection = analysis.scalings_[:, : discriminants.shape[1]]
    class_means = [discriminants[labels == label].mean(axis=0) for label in analysis.classes_]
    return NoveltyDetector(
        projection=projection.astype(np.float32),
        origin=(analysis.xbar_ @ projection).astype(np.float32),
        class_means=np.array(class_means, np.float32),
        variances=discriminants.var(axis=0).astype(np.float32),
    )


def find_threshold(detector: NoveltyDetector, validation_features: Floats) -> float:
    """Find the score that `FALSE_ALARMS` of the validation images exceed."""
    return float(np.quantile(detector.score(validation_features), 1 - FALSE_ALARMS))
