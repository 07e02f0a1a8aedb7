"""A picture's own small palette, in CIE Lab, and how often each of its colours occurs where."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

_PALETTE = 32
"""Colours the picture is quantised to: enough to tell a check from a rug, few enough to count."""

_KMEANS = 3
"""Rounds of k-means that settle them."""

_SAME_COLOUR = 5.0
"""Lab distance at which a count for one colour still counts for another."""

_LIGHTNESS = 0.7
"""Weight of lightness in colour distance: folds and shadows change it more than hue."""


def _linear_light() -> Floats:
    """Return the light that each value of an sRGB channel stands for: (256,), from 0 to 1."""
    value = np.arange(256, dtype=np.float32) / 255
    light: Floats = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    return light


_LINEAR = _linear_light()

_TO_XYZ = np.array(
    [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]], np.float32
)
"""Linear RGB to XYZ, both for D65, each row divided by what white has of it."""


def to_lab(pixels: NDArray[np.uint8]) -> Floats:
    """Return (height, width, 3) RGB as CIE Lab (D65), (3, height, width), in about equal units."""
    linear = _LINEAR[np.ascontiguousarray(pixels.transpose(2, 0, 1))]
    x, y, z = np.cbrt(np.einsum("kc,chw->khw", _TO_XYZ, linear))  # einsum: no threads to wake
    lab: Floats = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)]).astype(np.float32)
    return lab


def quantise(pixels: NDArray[np.uint8], lab: Floats) -> Indices:
    """Return each pixel's place in the picture's own palette: median cut, then k-means in Lab.

    Args:
        pixels: (height, width, 3) RGB.
        lab: (3, height, width), the same in Lab.
    """
    cut = Image.fromarray(pixels).quantize(_PALETTE, method=Image.Quantize.MEDIANCUT, kmeans=0)
    index = _without_gaps(np.asarray(cut))
    channels = lab.reshape(3, -1)
    for _ in range(_KMEANS):
        means = mean_colours(lab, index)
        # the nearest mean: |p - m|^2 without the |p|^2 that all share
        scores = np.einsum("kc,cp->kp", -2 * means, channels) + (means**2).sum(axis=1)[:, None]
        index = _without_gaps(_first_smallest(scores).reshape(index.shape))
    return index


def _first_smallest(scores: Floats) -> NDArray[np.uint8]:
    """Return what `scores.argmin(axis=0)` does, without its copies: (colours, n) to (n,)."""
    count = len(scores)
    backwards = np.arange(count, 0, -1, dtype=np.uint8)[:, None]
    first: NDArray[np.uint8] = count - ((scores == scores.min(axis=0)) * backwards).max(axis=0)
    return first


def _without_gaps(index: NDArray[np.integer]) -> Indices:
    """Number anew the colours that occur, in their order."""
    occurs = np.bincount(index.ravel()) > 0
    numbers: Indices = (np.cumsum(occurs) - 1)[index]
    return numbers


def affinity_of(means: Floats) -> Floats:
    """Return how far a count for one colour also counts for another: (colours, colours)."""
    difference = means[:, None] - means[None]
    difference[..., 0] *= _LIGHTNESS
    squared = (difference**2).sum(axis=2)
    affinity: Floats = np.exp(-squared / (2 * _SAME_COLOUR**2)).astype(np.float32)
    return affinity


def histogram(palette: Indices, near: Floats, weight: NDArray[np.floating]) -> Floats:
    """Return the weighted share of each palette colour, close colours counted together."""
    count = near @ np.bincount(palette.ravel(), weight.ravel(), len(near))
    share: Floats = (count / count.sum()).astype(np.float32)
    return share


def mean_colours(lab: Floats, palette: Indices) -> Floats:
    """Return the mean Lab colour of each palette entry: (colours, 3)."""
    flat = palette.ravel()
    count = np.bincount(flat)
    sums = [np.bincount(flat, channel.ravel()) for channel in lab]
    return (np.stack(sums, axis=1) / np.maximum(count, 1)[:, None]).astype(np.float32)
