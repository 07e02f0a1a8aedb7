"""Photographs, most of them synthetic, are prepared like images of the data set."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.images.photo import prepare_photo
from service.images.steps import Step
from tests.data.renew_prepared import FILE, prepared

SHAPE = (28, 28)


def photo(
    size: tuple[int, int], background: str, garment: str, box: tuple[int, int, int, int]
) -> Image.Image:
    image = Image.new("RGB", size, background)
    ImageDraw.Draw(image).rectangle(box, garment)
    return image


def extent(pixels: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of the area that is not black."""
    rows = np.flatnonzero((pixels > 60).any(axis=1))
    columns = np.flatnonzero((pixels > 60).any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


@pytest.mark.parametrize(
    ("background", "garment"),
    [("white", "black"), ("black", "white"), ("#ddd", "#247"), ("#225", "#fc8")],
)
def test_garment_is_light_on_black_centred_and_fills_the_longest_side(
    background: str, garment: str
) -> None:
    pixels = prepare_photo(photo((300, 400), background, garment, (20, 50, 119, 249)), shape=SHAPE)
    assert pixels.dtype == np.uint8
    assert extent(pixels) == (0, 28, 7, 21)
    assert (pixels[:, :7] == 0).all()
    assert (pixels[:, 21:] == 0).all()


def test_wide_garment_fills_the_width_and_is_centred() -> None:
    pixels = prepare_photo(photo((800, 600), "white", "navy", (100, 200, 699, 349)), shape=SHAPE)
    top, bottom, left, right = extent(pixels)
    assert (left, right) == (0, 28)
    assert bottom - top == 7
    assert abs(top - (28 - bottom)) <= 1


def test_cropping_ignores_a_single_dark_pixel() -> None:
    image = photo((300, 300), "white", "black", (100, 100, 199, 199))
    image.putpixel((5, 5), (0, 0, 0))
    assert extent(prepare_photo(image, shape=SHAPE)) == (0, 28, 0, 28)


def test_photo_size_has_little_effect_on_the_prepared_pixels() -> None:
    small = photo((90, 120), "white", "#305070", (15, 15, 74, 104))
    large = small.resize((1800, 2400), Image.Resampling.NEAREST)
    difference = np.abs(
        prepare_photo(small, shape=SHAPE).astype(int) - prepare_photo(large, shape=SHAPE)
    )
    assert difference.mean() < 8


@pytest.mark.parametrize("colour", ["white", "black", "#888"])
def test_uniform_photo_is_prepared_as_a_uniform_image(colour: str) -> None:
    pixels = prepare_photo(Image.new("RGB", (64, 48), colour), shape=SHAPE)
    assert np.ptp(pixels[7:21, 3:25]) <= 3  # The border fades out.


def test_enlarged_data_set_image_is_prepared_like_the_original(
    test_slice: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    boot = test_slice[0][0]
    enlarged = Image.fromarray(boot).convert("RGB").resize((280, 280), Image.Resampling.BICUBIC)
    pixels = prepare_photo(enlarged, shape=SHAPE).astype(float)
    assert np.corrcoef(pixels.ravel(), boot.ravel())[0, 1] > 0.9


def test_preparation_matches_the_committed_reference() -> None:
    with Image.open(FILE) as expected:
        difference = np.abs(prepared().astype(int) - np.asarray(expected))
    assert (difference > 2).mean() < 0.005  # Other processors and libraries round differently.


def test_dark_print_stays_distinct_on_a_light_garment() -> None:
    image = photo((300, 300), "#7a9", "white", (80, 60, 219, 239))
    ImageDraw.Draw(image).rectangle((110, 100, 189, 199), "black")
    pixels = prepare_photo(image, shape=SHAPE)
    assert int(pixels[14, 14]) > int(pixels[14, 6]) + 60


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
def test_photo_of_any_aspect_ratio_is_prepared(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert prepare_photo(Image.fromarray(noise), shape=SHAPE).shape == SHAPE


def test_concurrent_preparation_equals_sequential_preparation() -> None:
    photos = [
        photo((side, 400), background, "#247", (20, 50, 119, side // 2))
        for side in (300, 400, 560)
        for background in ("white", "#ddd", "#225")
    ]
    alone = [prepare_photo(one, shape=SHAPE) for one in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(partial(prepare_photo, shape=SHAPE), photos * 10))
    for index, pixels in enumerate(together):
        assert (pixels == alone[index % len(photos)]).all()


def test_frame_is_a_square_centred_on_the_garment() -> None:
    steps: list[Step] = []
    # 56 pixels high, with its middle at (20, 42).
    prepare_photo(photo((84, 112), "white", "navy", (6, 14, 33, 69)), shape=SHAPE, steps=steps)
    assert steps[-1].frame == pytest.approx((-8 / 84, 14 / 112, 48 / 84, 70 / 112))


def test_steps_of_a_photograph_and_of_an_enlarged_image_are_collected(
    test_slice: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    steps: list[Step] = []
    pixels = prepare_photo(
        photo((300, 400), "white", "navy", (20, 50, 119, 249)), shape=SHAPE, steps=steps
    )
    names = ["decoded", "cut_out", "light_on_black", "cropped", "centred"]
    assert [step.name for step in steps] == names
    np.testing.assert_array_equal(steps[-1].image, pixels)
    enlarged = Image.fromarray(test_slice[0][0]).convert("RGB").resize((280, 280))
    prepare_photo(enlarged, shape=SHAPE, steps=steps)
    assert [step.name for step in steps[5:]] == ["decoded", "grey", "cropped", "centred"]
