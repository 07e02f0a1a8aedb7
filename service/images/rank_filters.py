"""The least, the middle and the greatest of each pixel's neighbourhood of 3×3.

Pillow's filters give the same; they take longer, and no other thread runs meanwhile.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]


def smallest(pixels: Pixels) -> Pixels:
    """Return the least of each neighbourhood: (height, width, ...), as what came in.

    Beyond the edge the pixels of the edge go on.
    """
    return _extreme(pixels, np.minimum)


def largest(pixels: Pixels) -> Pixels:
    """Return the greatest of each neighbourhood, as `smallest` does the least."""
    return _extreme(pixels, np.maximum)


def median(pixels: Pixels) -> Pixels:
    """Return the fifth of the nine of each neighbourhood, as `smallest` does the first.

    Each column of three is sorted once, for the three neighbourhoods it is in. The middle one of
    nine is then the middle one of three: the greatest of the lowest, the middle one of the middle
    ones, the least of the highest (Paeth 1990, Median Finding on a 3×3 Grid, Graphics Gems I).
    """
    above, here, below = _three(pixels, axis=0)
    low, high = np.minimum(above, here), np.maximum(above, here)
    lowest, rest = np.minimum(low, below), np.maximum(low, below)
    middle, highest = np.minimum(high, rest), np.maximum(high, rest)
    return _middle(
        _extreme_along(lowest, np.maximum, axis=1),
        _middle(*_three(middle, axis=1)),
        _extreme_along(highest, np.minimum, axis=1),
    )


def _middle(first: Pixels, second: Pixels, third: Pixels) -> Pixels:
    low, high = np.minimum(first, second), np.maximum(first, second)
    middle: Pixels = np.maximum(low, np.minimum(high, third))
    return middle


def _extreme(pixels: Pixels, choose: Callable[..., Pixels]) -> Pixels:
    return _extreme_along(_extreme_along(pixels, choose, axis=0), choose, axis=1)


def _extreme_along(pixels: Pixels, choose: Callable[..., Pixels], axis: int) -> Pixels:
    before, here, after = _three(pixels, axis)
    return choose(choose(before, here), after)


def _three(pixels: Pixels, axis: int) -> tuple[Pixels, Pixels, Pixels]:
    """Return what comes before each pixel along the axis, the pixel, and what comes after it."""
    lead = (slice(None),) * axis
    padded = np.concatenate((pixels[*lead, :1], pixels, pixels[*lead, -1:]), axis)
    count = pixels.shape[axis]
    before, here, after = (padded[*lead, i : i + count] for i in range(3))
    return before, here, after
