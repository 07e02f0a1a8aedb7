from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from service.images.rank_filters import largest, median, smallest

SHAPES = [(1, 1), (1, 7), (5, 1), (2, 2), (9, 13)]
FILTERS = [
    (smallest, ImageFilter.MinFilter),
    (median, ImageFilter.MedianFilter),
    (largest, ImageFilter.MaxFilter),
]


@pytest.mark.parametrize(("ours", "pillows"), FILTERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("levels", [2, 256], ids=["ties", "all levels"])
def test_each_filter_gives_what_the_one_of_pillow_gives(
    ours: Callable[..., Any], pillows: Any, shape: tuple[int, int], levels: int
) -> None:
    pixels = np.random.default_rng(7).integers(levels, size=(*shape, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(pixels).filter(pillows(3)))
    np.testing.assert_array_equal(ours(pixels), expected)


@pytest.mark.parametrize(("ours", "numpys"), [(smallest, np.all), (largest, np.any)])
def test_of_a_mask_the_least_is_all_and_the_greatest_is_any(
    ours: Callable[..., Any], numpys: Callable[..., Any]
) -> None:
    mask = np.random.default_rng(7).random((9, 13)) < 0.5
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(mask, 1, mode="edge"), (3, 3))
    np.testing.assert_array_equal(ours(mask), numpys(windows, axis=(2, 3)))
