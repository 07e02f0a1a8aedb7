import io

import numpy as np
import pytest
from PIL import Image

from service.model.artifact import Artifact
from service.images.render import LayerGrid, render_layers


def grid(artifact: Artifact, channels: list[int], maps: object) -> LayerGrid:
    return LayerGrid(artifact.manifest.layers[0], channels, np.asarray(maps, np.float32))


def picture_of(*grids: LayerGrid) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(render_layers(grids))).convert("RGB"))


def test_the_smallest_value_is_dark_and_the_largest_is_yellow(artifact: Artifact) -> None:
    maps = np.zeros((1, 28, 28))
    maps[0, :, 14:] = 7
    picture = picture_of(grid(artifact, [0], maps))
    assert (picture == (0xFD, 0xE7, 0x25)).all(axis=2).sum() >= 28 * 28 * 2, (
        "half of a map drawn at twice its size"
    )
    assert (picture == (0x44, 0x01, 0x54)).all(axis=2).sum() >= 28 * 28 * 2


def test_seventeen_maps_need_a_second_row(artifact: Artifact) -> None:
    maps = np.random.default_rng(0).random((17, 28, 28))
    one_row = picture_of(grid(artifact, list(range(16)), maps[:16]))
    two_rows = picture_of(grid(artifact, list(range(17)), maps))
    assert two_rows.shape[0] > one_row.shape[0]
    assert two_rows.shape[1] == one_row.shape[1]


@pytest.mark.parametrize("other", [{"channels": [1]}, {"scale": 2.0}])
def test_the_labels_tell_channels_and_scales_apart(
    artifact: Artifact, other: dict[str, object]
) -> None:
    """The same tiles, so any difference between the pictures is in what is printed."""
    maps = np.random.default_rng(0).random((1, 28, 28))
    picture = picture_of(grid(artifact, [0], maps))
    scale = other.get("scale", 1.0)
    assert isinstance(scale, float)
    channels = other.get("channels", [0])
    assert isinstance(channels, list)
    changed = picture_of(grid(artifact, channels, maps * scale))
    assert (picture != changed).any()


def test_maps_that_are_the_same_everywhere_are_drawn(artifact: Artifact) -> None:
    picture = picture_of(grid(artifact, [3], np.full((1, 28, 28), 5.0)))
    assert (picture == (0x44, 0x01, 0x54)).all(axis=2).sum() >= 56 * 56


def test_maps_larger_than_a_tile_are_drawn_at_their_own_size(artifact: Artifact) -> None:
    small = picture_of(grid(artifact, [0], np.zeros((1, 28, 28))))
    large = picture_of(grid(artifact, [0], np.zeros((1, 112, 112))))
    assert large.shape[0] == small.shape[0] + 56
