import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.images import render
from service.images.render import LayerMaps, render_layers


def rendered(channels: list[int], maps: object) -> NDArray[np.uint8]:
    layer = LayerMaps("conv2d", "Conv2D", (28, 28, 32), channels, np.asarray(maps, np.float32))
    return np.asarray(Image.open(io.BytesIO(render_layers([layer]))).convert("RGB"))


def test_smallest_value_is_dark_and_largest_is_yellow() -> None:
    maps = np.zeros((1, 28, 28))
    maps[0, :, 14:] = 7
    image = rendered([0], maps)
    assert (image == (0xFD, 0xE7, 0x25)).all(axis=2).sum() >= 28 * 28 * 2, (
        "half of a map drawn at twice its size"
    )
    assert (image == (0x44, 0x01, 0x54)).all(axis=2).sum() >= 28 * 28 * 2


def test_seventeen_maps_need_a_second_row() -> None:
    maps = np.random.default_rng(0).random((17, 28, 28))
    one_row = rendered(list(range(16)), maps[:16])
    two_rows = rendered(list(range(17)), maps)
    assert two_rows.shape[0] > one_row.shape[0]
    assert two_rows.shape[1] == one_row.shape[1]


@pytest.mark.parametrize("other", [{"channels": [1]}, {"scale": 2.0}])
def test_labels_show_channel_and_scale(other: dict[str, object]) -> None:
    """The tiles are equal, so the images differ only in their labels."""
    maps = np.random.default_rng(0).random((1, 28, 28))
    image = rendered([0], maps)
    scale = other.get("scale", 1.0)
    assert isinstance(scale, float)
    channels = other.get("channels", [0])
    assert isinstance(channels, list)
    changed = rendered(channels, maps * scale)
    assert (image != changed).any()


def test_constant_map_is_dark() -> None:
    image = rendered([3], np.full((1, 28, 28), 5.0))
    assert (image == (0x44, 0x01, 0x54)).all(axis=2).sum() >= 56 * 56


def test_maps_larger_than_a_tile_are_drawn_at_their_own_size() -> None:
    small = rendered([0], np.zeros((1, 28, 28)))
    large = rendered([0], np.zeros((1, 112, 112)))
    assert large.shape[0] == small.shape[0] + 56


def test_maps_larger_than_a_tile_do_not_overlap() -> None:
    image = rendered(list(range(12)), np.zeros((12, 112, 112)))
    assert (image == (0x44, 0x01, 0x54)).all(axis=2).sum() >= 12 * 112 * 112


def test_label_is_not_clipped() -> None:
    label = np.asarray(render._text("conv2d   Conv2D   28 x 28 x 32", 15))
    assert (label != label[0, 0]).any()
    assert (label[:, -1] == label[0, 0]).all(), "an empty column after the last letter"
    assert (label[-1] == label[0, 0]).all()
