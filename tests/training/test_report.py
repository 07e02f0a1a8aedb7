from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.conftest import Published
from training.data import CLASS_NAMES
from training.photographs import read_photographs
from training.report import draw_photographs, draw_surest_mistakes

PICTURES = [
    "confusion_matrix",
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
    figure = draw_surest_mistakes(images, np.zeros(4, np.uint8), probabilities, CLASS_NAMES)
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes]
    assert titles == ["Pullover, 90.0% sure", "Dress, 70.0% sure", "Trouser, 60.0% sure"] + [""] * 3


def test_a_model_without_mistakes_has_an_empty_picture(tmp_path: Path) -> None:
    images = np.zeros((1, 28, 28, 1), np.float32)
    probabilities = np.eye(10, dtype=np.float32)[:1]
    figure = draw_surest_mistakes(images, np.zeros(1, np.uint8), probabilities, CLASS_NAMES)
    figure.savefig(tmp_path / "empty.png")
    assert not any(axes.get_title() for axes in figure.axes)


def test_photographs_are_drawn_with_their_answers() -> None:
    photographs = read_photographs("validation")
    answers = np.full((len(photographs.label), 10), 0.01, np.float32)
    answers[:, 1] = 0.91
    figure = draw_photographs(photographs, answers, CLASS_NAMES)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) > 100
    assert set(titles) == {"Trouser, 91%"}
