"""How unlike the training data an image is: the entropy of its probabilities.

The target of photographs that show none of the classes is the uniform distribution (Hendrycks,
Mazeika and Dietterich 2019, Deep Anomaly Detection with Outlier Exposure,
https://arxiv.org/abs/1812.04606), so their entropy is high.
"""

from typing import Any

import keras
import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from .batches import Probabilities, predict
from .data import Inputs, to_inputs
from .photographs import Photographs

PROBABILITIES, NOVELTY = "probabilities", "novelty"
"""Names of the outputs."""

SCORE = "entropy of the probabilities"
FALSE_ALARMS = 0.05
"""Share of the validation data above the threshold."""
PERCENTILES = tuple(range(0, 101, 5))
HIGHEST_DIGIT_PIXEL = 16


def with_novelty(model: Any) -> Any:
    """Return a Keras model of two outputs by name, `PROBABILITIES` and `NOVELTY`."""
    (probabilities,) = model.outputs
    outputs = {PROBABILITIES: probabilities, NOVELTY: entropy(probabilities)}
    return keras.Model(model.inputs[0], outputs)


def entropy(probabilities: Any) -> Any:
    """Return −Σ p log p, (n,): 0 where one class is certain, log(classes) where all are equal."""
    safe = keras.ops.maximum(probabilities, np.finfo(np.float32).tiny)
    return -keras.ops.sum(probabilities * keras.ops.log(safe), axis=1)


def measure_novelty(
    model: Any, validation: Inputs, test: Inputs, photographs: Photographs | None, seed: int
) -> dict[str, Any]:
    """Find the thresholds on validation images, and measure how well they detect outliers.

    Outliers are compared with test images. Photographs have a threshold of their own, and those
    without a class are their outliers. The seed is that of the noise.
    """
    known = {"images": predict(model, validation)}
    usual = predict(model, test)
    outliers = {
        name: ("images", usual, predict(model, images))
        for name, images in make_outliers(test, seed).items()
    }
    if photographs:
        of_photographs = predict(model, to_inputs(photographs.pixels))
        has_class = photographs.has_class
        known["photographs"] = of_photographs[has_class]
        kinds = ", ".join(np.unique(photographs.label[~has_class])).lower()
        unknown = "photographs", known["photographs"], of_photographs[~has_class]
        outliers[f"photographs of {kinds}"] = unknown
    novelty = {name: np.asarray(entropy(answer)) for name, answer in known.items()}
    thresholds = {
        name: float(np.quantile(scores, 1 - FALSE_ALARMS)) for name, scores in novelty.items()
    }
    return {
        "threshold": thresholds["images"],
        "thresholds": thresholds,
        "percentiles": {
            name: np.percentile(scores, PERCENTILES).tolist() for name, scores in novelty.items()
        },
        "of_percentiles": list(PERCENTILES),
        "false_alarms": {
            "validation": FALSE_ALARMS,
            "test": _share_above(thresholds["images"], usual),
        },
        "outliers": {
            name: {
                "images": len(answer),
                "auroc": area_under_roc(entropy(beside), entropy(answer)),
                "auroc_of_confidence": area_under_roc(-beside.max(axis=1), -answer.max(axis=1)),
                "detected": _share_above(thresholds[kind], answer),
            }
            for name, (kind, beside, answer) in outliers.items()
        },
    }


def _share_above(threshold: float, probabilities: Probabilities) -> float:
    return float(np.mean(entropy(probabilities) > threshold))


def area_under_roc(known: Probabilities, novel: Probabilities) -> float:
    """Compute how often a novel image scores higher than a known one: 0.5 by chance, 1 always."""
    is_novel = np.repeat([0, 1], [len(known), len(novel)])
    return float(roc_auc_score(is_novel, np.concatenate([known, novel])))


def make_outliers(images: Inputs, seed: int) -> dict[str, Inputs]:
    """Make images that show no clothes, by what they are; the digits are scikit-learn's 8×8."""
    digits = load_digits().images.astype(np.float32) / HIGHEST_DIGIT_PIXEL
    factors = np.divide((1, *images.shape[1:3]), (1, *digits.shape[1:]))
    enlarged = ndimage.zoom(digits, factors, order=1, mode="nearest", grid_mode=True)
    return {
        "uniform noise": np.random.default_rng(seed).random(images.shape, np.float32),
        "inverted test images": 1 - images,
        "handwritten digits": enlarged[..., None],
    }
