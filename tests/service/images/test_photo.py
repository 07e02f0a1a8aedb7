"""A photograph of a known garment on a known ground must come out like the data set's own."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.images.segmentation import garment_mask
from service.images.photo import prepare_photo

SHAPE = (28, 28)


def photo(
    size: tuple[int, int], ground: str, garment: str, box: tuple[int, int, int, int]
) -> Image.Image:
    picture = Image.new("RGB", size, ground)
    ImageDraw.Draw(picture).rectangle(box, garment)
    return picture


def extent(pixels: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right of what is not black."""
    rows = np.flatnonzero((pixels > 60).any(axis=1))
    columns = np.flatnonzero((pixels > 60).any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


@pytest.mark.parametrize(
    ("ground", "garment"),
    [("white", "black"), ("black", "white"), ("#ddd", "#247"), ("#225", "#fc8")],
)
def test_the_garment_is_light_on_black_fills_the_longest_side_and_is_centred(
    ground: str, garment: str
) -> None:
    pixels = prepare_photo(photo((300, 400), ground, garment, (20, 50, 119, 249)), shape=SHAPE)
    assert pixels.dtype == np.uint8
    assert extent(pixels) == (0, 28, 7, 21)
    assert (pixels[:, :7] == 0).all()
    assert (pixels[:, 21:] == 0).all()


def test_a_wide_garment_fills_the_width() -> None:
    pixels = prepare_photo(photo((800, 600), "white", "navy", (100, 200, 699, 349)), shape=SHAPE)
    top, bottom, left, right = extent(pixels)
    assert (left, right) == (0, 28)
    assert bottom - top == 7
    assert abs(top - (28 - bottom)) <= 1


def test_a_speck_does_not_stop_the_trimming() -> None:
    picture = photo((300, 300), "white", "black", (100, 100, 199, 199))
    picture.putpixel((5, 5), (0, 0, 0))
    assert extent(prepare_photo(picture, shape=SHAPE)) == (0, 28, 0, 28)


def test_the_same_photo_at_another_size_gives_nearly_the_same_pixels() -> None:
    small = photo((90, 120), "white", "#305070", (15, 15, 74, 104))
    large = small.resize((1800, 2400), Image.Resampling.NEAREST)
    difference = np.abs(
        prepare_photo(small, shape=SHAPE).astype(int) - prepare_photo(large, shape=SHAPE)
    )
    assert difference.mean() < 8


@pytest.mark.parametrize("colour", ["white", "black", "#888"])
def test_a_photo_of_nothing_is_flat(colour: str) -> None:
    pixels = prepare_photo(Image.new("RGB", (64, 48), colour), shape=SHAPE)
    assert np.unique(pixels).size <= 3, "the tone, black around it, the edge between"


def test_a_picture_of_the_data_set_enlarged_comes_out_as_it_was(
    test_slice: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    boot = test_slice[0][0]
    enlarged = Image.fromarray(boot).convert("RGB").resize((280, 280), Image.Resampling.BICUBIC)
    pixels = prepare_photo(enlarged, shape=SHAPE).astype(float)
    assert np.corrcoef(pixels.ravel(), boot.ravel())[0, 1] > 0.9


def test_dark_and_light_stay_apart_in_the_negative() -> None:
    picture = photo((300, 300), "#7a9", "white", (80, 60, 219, 239))
    ImageDraw.Draw(picture).rectangle((110, 100, 189, 199), "black")
    pixels = prepare_photo(picture, shape=SHAPE)
    assert int(pixels[14, 14]) > int(pixels[14, 6]) + 60


@pytest.mark.parametrize("seed", range(4))
def test_a_garment_is_found_on_a_patterned_ground(seed: int) -> None:
    """Where the true mask is known: a shirt-like shape on coarse noise of another hue."""
    rng = np.random.default_rng(seed)
    ground = Image.fromarray(rng.integers(90, 190, (12, 10, 3), np.uint8))
    picture = ground.resize((300, 360), Image.Resampling.BICUBIC)
    truth = Image.new("1", picture.size)
    shirt = [(90, 80), (210, 80), (270, 170), (230, 200), (205, 160), (205, 300), (95, 300)]
    shirt += [(95, 160), (70, 200), (30, 170)]
    ImageDraw.Draw(truth).polygon(shirt, 1)
    picture.paste((200, 30, 60), mask=truth)
    small = picture.resize((80, 96), Image.Resampling.BOX)
    found, true = garment_mask(small), np.asarray(truth.resize((80, 96)))
    assert (found & true).sum() / (found | true).sum() > 0.85


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
def test_a_photo_of_any_proportions_is_prepared(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert prepare_photo(Image.fromarray(noise), shape=SHAPE).shape == SHAPE


def test_photos_prepared_side_by_side_come_out_as_they_do_alone() -> None:
    photos = [
        photo((side, 400), ground, "#247", (20, 50, 119, side // 2))
        for side in (300, 400, 560)
        for ground in ("white", "#ddd", "#225")
    ]
    alone = [prepare_photo(one, shape=SHAPE) for one in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(partial(prepare_photo, shape=SHAPE), photos * 10))
    for index, pixels in enumerate(together):
        assert (pixels == alone[index % len(photos)]).all()
