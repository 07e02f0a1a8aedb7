"""Explains a class by occlusion: how far its log-odds fall when a window of the image is hidden."""

from typing import Any

import numpy as np

from ..arrays import Tensor
from ..capacity.admission import Permit
from ..errors import TooManyImages
from .classifier import Classifier

_LEAST = 1e-7  # A float32 probability nearer to 0 or 1 has no finite log-odds.


def explain_each(
    images: Tensor, classifier: Classifier, permit: Permit, class_id: int | None = None
) -> list[dict[str, Any]]:
    """Explain `class_id`, or the most probable class, of each of (n, height, width, 1) images.

    Each result has the label, class id, probability and `heat`: (height, width) float32, the mean
    drop in log-odds when a window there is filled with black or with its mean. The request counts
    as all images classified; several that exceed `max_images` raise TooManyImages.
    """
    rows, columns = map(_weights, images.shape[1:3])
    weights = (rows[:, None, :, None] * columns[None, :, None, :]).reshape(-1, *images.shape[1:3])
    hidden = weights > 0
    count, limit = len(images) * (1 + 2 * len(weights)), permit.limits.max_images
    if len(images) > 1 and count > limit:
        raise TooManyImages(f"explaining {len(images)} images takes {count}; the limit is {limit}")
    permit.reserve_images(count)
    permit.charge_pixels(count * weights[0].size)
    explanations = []
    for image in images[..., 0]:
        permit.check()
        means = (image * hidden).sum((1, 2), keepdims=True) / hidden.sum((1, 2), keepdims=True)
        batch = np.concatenate([image[None], image * ~hidden, np.where(hidden, means, image)])
        tensor = batch[..., None].astype(np.float32)
        probabilities = classifier.assess(tensor, permit.workers).probabilities
        chosen = int(probabilities[0].argmax()) if class_id is None else class_id
        clipped = probabilities[:, chosen].astype(float).clip(_LEAST, 1 - _LEAST)
        log_odds = np.log(clipped / (1 - clipped))
        lost = (log_odds[0] - log_odds[1:]).reshape(2, -1).mean(0)
        heat = (np.tensordot(lost, weights, 1) / weights.sum(0)).astype(np.float32)
        label, probability = classifier.manifest.class_names[chosen], probabilities[0, chosen]
        fields = {"label": label, "class_id": chosen, "probability": probability, "heat": heat}
        explanations.append(fields)
    permit.record.record_run(count)
    return explanations


def _weights(length: int) -> Tensor:
    """Return each window's triangular weight for each pixel along a side: (windows, length).

    A window reaches an eighth of the side, so there are about ten, however large the image is.
    """
    reach = max(1, length // 8)
    middles = np.arange(-1, length + reach, reach)[:, None]
    shares = 1 - np.abs(np.arange(length) - middles) / (reach + 1)
    return np.asarray(shares.clip(0), np.float32)
