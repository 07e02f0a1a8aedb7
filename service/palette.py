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


def to_lab(small: Image.Image) -> Floats:
    """Return CIE Lab (D65), each in about the same units: (height, width, 3)."""
    rgb = np.asarray(small, np.float32) / 255
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = np.array(
        [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]], np.float32
    )
    f = np.cbrt(np.einsum("hwc,kc->hwk", linear, to_xyz))  # einsum: no threads to wake
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    lab: Floats = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=2).astype(np.float32)
    return lab


def quantise(calm: Image.Image, lab: Floats) -> Indices:
    """Return each pixel's place in the picture's own palette: median cut, then k-means in Lab."""
    cut = calm.quantize(_PALETTE, method=Image.Quantize.MEDIANCUT, kmeans=0)
    index = np.unique(np.asarray(cut), return_inverse=True)[1].reshape(lab.shape[:2])
    points = lab.reshape(-1, 3)
    for _ in range(_KMEANS):
        means = mean_colours(lab, index)
        # the nearest mean: |p - m|^2 without the |p|^2 that all share
        scores = np.einsum("pc,kc->pk", points, -2 * means) + (means**2).sum(axis=1)
        index = np.unique(scores.argmin(axis=1), return_inverse=True)[1].reshape(lab.shape[:2])
    return index


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
    sums = [np.bincount(flat, lab[..., channel].ravel()) for channel in range(3)]
    return (np.stack(sums, axis=1) / np.maximum(count, 1)[:, None]).astype(np.float32)
