"""How unlike the training data an image is: the entropy of the answer to it.

The network learns to find all classes alike for photographs that show none of them (Hendrycks,
Mazeika and Dietterich 2019, Deep Anomaly Detection with Outlier Exposure,
https://arxiv.org/abs/1812.04606), so doubt about the class is doubt about there being one. The
score needs no statistics of the training data and any classifier has it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

PROBABILITIES, NOVELTY = "probabilities", "novelty"
"""Names of the outputs."""

SCORE = "entropy of the probabilities"
PREDICT_BATCH = 500
FALSE_ALARMS = 0.05
"""Share of the validation data that the threshold calls novel."""
PERCENTILES = tuple(range(0, 101, 5))
HIGHEST_DIGIT_PIXEL = 16

Floats = npt.NDArray[np.float32]


class Assessment(NamedTuple):
    """Of n images: probabilities (n, classes) and novelty (n,), both float32."""

    probabilities: Floats
    novelty: Floats

    def of(self, chosen: npt.NDArray[np.bool_]) -> "Assessment":
        """Return what was answered to the chosen images, (n,)."""
        return Assessment(self.probabilities[chosen], self.novelty[chosen])


def with_novelty(model: Any) -> Any:
    """Return a Keras model of two outputs by name, `PROBABILITIES` and `NOVELTY`."""
    (probabilities,) = model.outputs
    outputs = {PROBABILITIES: probabilities, NOVELTY: entropy(probabilities)}
    return keras.Model(model.inputs[0], outputs)


def entropy(probabilities: Any) -> Any:
    """Return −Σ p log p, (n,): 0 where one class is certain, log(classes) where all are alike."""
    safe = keras.ops.maximum(probabilities, np.finfo(np.float32).tiny)
    return -keras.ops.sum(probabilities * keras.ops.log(safe), axis=1)


def assess(assessor: Any, images: Floats) -> Assessment:
    """Classify images, (n, height, width, 1) float32 in [0, 1], and score their novelty.

    Args:
        assessor: what `with_novelty` has returned.
        images: any number of them.
    """
    answers = [assessor(batch, training=False) for batch in _batches(images)]
    return Assessment(
        np.concatenate([answer[PROBABILITIES] for answer in answers]),
        np.concatenate([answer[NOVELTY] for answer in answers]),
    )


def find_threshold(novelty: Floats) -> float:
    """Find the score that `FALSE_ALARMS` of the images exceed."""
    return float(np.quantile(novelty, 1 - FALSE_ALARMS))


def find_percentiles(novelty: Floats) -> list[float]:
    """Return the score that each of `PERCENTILES` of the images stay below."""
    return [float(value) for value in np.percentile(novelty, PERCENTILES)]


def area_under_roc(known: Floats, novel: Floats) -> float:
    """Compute how often a novel image scores higher than a known one: 0.5 by chance, 1 always."""
    is_novel = np.repeat([0, 1], [len(known), len(novel)])
    return float(roc_auc_score(is_novel, np.concatenate([known, novel])))


def make_outliers(images: Floats, seed: int) -> dict[str, Floats]:
    """Make images that show no clothes, by what they are.

    Args:
        images: (n, height, width, 1) float32 in [0, 1].
        seed: of the noise.
    """
    noise = np.random.default_rng(seed).random(images.shape, np.float32)
    return {
        "uniform noise": noise,
        "inverted test images": 1 - images,
        "handwritten digits": enlarged_digits(images.shape[1]),
    }


def enlarged_digits(side: int) -> Floats:
    """Return scikit-learn's 1,797 digits of 8×8 pixels, enlarged bilinearly: (n, side, side, 1)."""
    digits = load_digits().images.astype(np.float32) / HIGHEST_DIGIT_PIXEL
    factor = side / digits.shape[1]
    enlarged: Floats = ndimage.zoom(
        digits, (1, factor, factor), order=1, mode="nearest", grid_mode=True
    )
    return enlarged[..., None]


def _batches(images: Floats) -> Iterator[Floats]:
    """Cut images up for direct calls: `predict` would trace each network anew, and complain."""
    for start in range(0, len(images), PREDICT_BATCH):
        yield images[start : start + PREDICT_BATCH]
