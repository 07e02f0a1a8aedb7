"""Filters and connected components against references; masks of garments of known shape."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from service.images import segmentation
from service.images.segmentation import fill_holes, garment_mask, largest_piece, opened

SHAPES = [(1, 1), (1, 7), (5, 1), (2, 2), (9, 13)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_opening_equals_a_minimum_filter_then_a_maximum_filter(
    shape: tuple[int, int], share: float
) -> None:
    mask = np.random.default_rng(7).random(shape) < share
    image: Any = Image.fromarray(mask.astype(np.uint8))
    expected = image.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.MaxFilter(3))
    np.testing.assert_array_equal(opened(mask), np.asarray(expected) > 0)


def test_largest_piece_is_connected_and_favours_the_centre() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[8:12, 8:12] = True
    expected = mask.copy()
    mask[0, :] = True  # as long, but on the edge
    mask[15:17, 3:5] = True
    np.testing.assert_array_equal(largest_piece(mask), expected)
    assert not largest_piece(np.zeros((5, 5), np.bool_)).any()


def test_largest_piece_keeps_a_spiral_whole() -> None:
    spiral = np.zeros((9, 9), np.bool_)
    spiral[1, 1:8] = spiral[1:8, 7] = spiral[7, 1:8] = spiral[3:8, 1] = spiral[3, 1:6] = True
    spiral[3:6, 5] = True
    np.testing.assert_array_equal(largest_piece(spiral), spiral)


def test_enclosed_holes_are_filled_and_open_ones_are_not() -> None:
    mask = np.zeros((10, 10), np.bool_)
    mask[1:9, 1:9] = True
    full = mask.copy()
    mask[3:5, 3:5] = False
    np.testing.assert_array_equal(fill_holes(mask), full)
    mask[3, 5:] = False  # opens the hole to the outside
    np.testing.assert_array_equal(fill_holes(mask), mask)


@pytest.mark.parametrize("seed", range(4))
def test_garment_mask_matches_the_true_mask_on_a_patterned_background(seed: int) -> None:
    """A shirt-like shape on coarse noise of another hue."""
    rng = np.random.default_rng(seed)
    background = Image.fromarray(rng.integers(90, 190, (12, 10, 3), np.uint8))
    photo = background.resize((300, 360), Image.Resampling.BICUBIC)
    truth = Image.new("1", photo.size)
    shirt = [(90, 80), (210, 80), (270, 170), (230, 200), (205, 160), (205, 300), (95, 300)]
    shirt += [(95, 160), (70, 200), (30, 170)]
    ImageDraw.Draw(truth).polygon(shirt, 1)
    photo.paste((200, 30, 60), mask=truth)
    small = photo.resize((80, 96), Image.Resampling.BOX)
    mask, true = garment_mask(small), np.asarray(truth.resize((80, 96)))
    found = mask > 0.5
    assert (found & true).sum() / (found | true).sum() > 0.85


@pytest.mark.parametrize("odds", [-1, 1])
def test_mask_of_almost_nothing_or_everything_is_replaced_by_a_full_mask(
    odds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentation, "_mean_field", lambda unary, _: np.full_like(unary, odds))
    assert (garment_mask(Image.new("RGB", (40, 30), "#888")) == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (7, 90)])
def test_narrow_image_gets_a_full_mask(size: tuple[int, int]) -> None:
    mask = garment_mask(Image.new("RGB", size, "#888"))
    assert mask.shape == size[::-1]
    assert (mask == 1).all()


@pytest.mark.parametrize("size", [(96, 8), (11, 96), (12, 96), (96, 13)], ids=str)
def test_thin_image_gets_a_non_empty_mask(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert (garment_mask(Image.fromarray(noise)) > 0.5).any()


def test_uncertain_part_is_partially_masked() -> None:
    """A sleeve in nearly the colour of the background."""
    photo = Image.new("RGB", (80, 96), "#d8d4cc")
    pen = ImageDraw.Draw(photo)
    pen.rectangle((25, 20, 55, 80), "#203060")
    certain = garment_mask(photo)[50, 40]
    noise = np.random.default_rng(0).normal(0, 6, (96, 80, 3))
    pen.rectangle((56, 20, 62, 50), "#c4c4c8")
    mask = garment_mask(Image.fromarray((np.asarray(photo) + noise).clip(0, 255).astype(np.uint8)))
    assert certain > 0.995  # undimmed
    assert mask[50, 40] > 0.9
    assert 0 < mask[35, 57] < mask[50, 40]
    assert mask[5, 5] == 0
