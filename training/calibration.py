"""Temperature scaling: confidences that are right as often as they say.

Guo, Pleiss, Sun and Weinberger 2017, On Calibration of Modern Neural Networks,
https://arxiv.org/abs/1706.04599: the logits are divided by one number, the temperature, that
minimises the cross-entropy on images held out from training. It changes no label. Here it is folded
into the last layer's weights, so that the network and whoever runs it stay as they are.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from .data import Labelled, Labels

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.1, 10.0
PREDICT_BATCH = 500

Probabilities = npt.NDArray[np.float32]


def find_temperature(probabilities: Probabilities, labels: Labels) -> float:
    """Find the temperature of the lowest cross-entropy.

    Args:
        probabilities: (n, 10) float32 of a softmax; their logarithms are its logits, up to a
            constant that a softmax ignores.
        labels: (n,) uint8 in 0…9.

    Returns:
        Above 1 where the network was too sure, below 1 where it was not sure enough.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))

    def crossentropy(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        of_true_class = scaled[np.arange(len(labels)), labels]
        return float((np.log(np.exp(scaled).sum(axis=1)) - of_true_class).mean())

    bounds = np.log([LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE])
    found = minimize_scalar(crossentropy, bounds=tuple(bounds), method="bounded")
    return float(np.exp(found.x))


def calibrate(model: Any, validation: Labelled, mirrored: bool = False) -> float:
    """Fold into the model the temperature that suits the validation images, and return it.

    Args:
        model: from images to probabilities, with the logits' layer last.
        validation: n images that it has not learnt from.
        mirrored: whether to look at their mirror images as well: with more to find it from, chance
            has less of a say in it.
    """
    images, labels = validation
    if mirrored:
        images, labels = np.concatenate([images, images[:, :, ::-1]]), np.tile(labels, 2)
    probabilities = model.predict(images, batch_size=PREDICT_BATCH, verbose=0)
    temperature = find_temperature(probabilities, labels)
    fold_temperature(model, temperature)
    print(f"Temperature {temperature:.3f} from {len(validation.labels):,} validation images")
    return temperature


def fold_temperature(model: Any, temperature: float) -> None:
    """Divide the weights of the model's last layer, which gives the logits, by the temperature."""
    last = model.layers[-1]
    last.set_weights([weights / temperature for weights in last.get_weights()])


def expected_calibration_error(
    confidence: Probabilities, right: npt.NDArray[np.bool_], bins: int
) -> float:
    """Compute how far confidence is from accuracy, on average over n images.

    scikit-learn's calibration curve leaves out how many images each bin holds.

    Args:
        confidence: (n,) probability of the class that was predicted.
        right: (n,) whether the prediction is right.
        bins: number of equally wide bins of confidence, each open below and closed above.

    Returns:
        Σ over the bins of (its share of the images) · |its accuracy − its mean confidence|.
    """
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    place = np.digitize(confidence, inner_edges, right=True)
    gaps = np.bincount(place, weights=right - confidence.astype(np.float64))
    return float(np.abs(gaps).sum() / len(confidence))
