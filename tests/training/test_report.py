from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.conftest import Published
from training.report import MAP_GAP_PIXELS, MAP_PIXELS, draw_surest_mistakes, mosaic

PICTURES = [
    "confusion_matrix",
    "feature_maps",
    "novelty",
    "reliability",
    "surest_mistakes",
    "training_curves",
]
MAX_BYTES = 150_000


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_drawn_small_and_not_blank(tiny: Published, name: str) -> None:
    path = tiny.run_dir / "report" / f"{name}.png"
    assert path.stat().st_size < MAX_BYTES
    with Image.open(path) as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(maxcolors=2**24)) > 50  # type: ignore[arg-type]  # None only beyond maxcolors


def test_nothing_but_the_pictures_is_in_the_report(tiny: Published) -> None:
    names = sorted(path.stem for path in (tiny.run_dir / "report").iterdir())
    assert names == PICTURES


def test_the_surest_mistakes_come_in_order_and_right_answers_do_not_come() -> None:
    probabilities = np.zeros((4, 10), np.float32)
    probabilities[[0, 1, 2, 3], [1, 2, 3, 0]] = [0.6, 0.9, 0.7, 1.0]
    images = np.zeros((4, 28, 28, 1), np.float32)
    figure = draw_surest_mistakes(images, np.zeros(4, np.uint8), probabilities)
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes]
    assert titles == ["Pullover, 90.0% sure", "Dress, 70.0% sure", "Trouser, 60.0% sure"] + [""] * 3


def test_a_model_without_mistakes_has_an_empty_picture(tmp_path: Path) -> None:
    images = np.zeros((1, 28, 28, 1), np.float32)
    probabilities = np.eye(10, dtype=np.float32)[:1]
    figure = draw_surest_mistakes(images, np.zeros(1, np.uint8), probabilities)
    figure.savefig(tmp_path / "empty.png")
    assert not any(axes.get_title() for axes in figure.axes)


@pytest.mark.parametrize(("side", "channels", "rows"), [(28, 32, 2), (14, 17, 2), (7, 1, 1)])
def test_maps_lie_in_rows_of_sixteen_each_from_its_lowest_to_its_highest(
    side: int, channels: int, rows: int
) -> None:
    maps = np.random.default_rng(0).random((side, side, channels), np.float32) * 9
    grid = mosaic(maps)
    cell = MAP_PIXELS + MAP_GAP_PIXELS
    assert grid.shape == (rows * cell, 16 * cell)
    last_row, last_column = (channels - 1) // 16, (channels - 1) % 16
    tile = grid[last_row * cell :, last_column * cell :][:MAP_PIXELS, :MAP_PIXELS]
    last = maps[:, :, -1]
    expected = (last - last.min()) / (last.max() - last.min())
    np.testing.assert_allclose(tile[:: MAP_PIXELS // side, :: MAP_PIXELS // side], expected, 1e-5)


def test_a_dead_map_is_dark_and_not_a_division_by_zero() -> None:
    assert np.nanmax(mosaic(np.full((7, 7, 1), 3, np.float32))) == 0
