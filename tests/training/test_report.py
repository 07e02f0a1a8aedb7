from pathlib import Path

import numpy as np
import pytest
from matplotlib.font_manager import get_font_names
from PIL import Image

from tests.training.conftest import Published
from training.data import CLASS_NAMES
from training.photographs import read_photographs
from training.report import draw_confusion_matrix, draw_photographs, draw_surest_mistakes

FIGURES = [
    "confusion_matrix",
    "reliability",
    "surest_mistakes",
    "training_curves",
]
MAX_BYTES = 150_000


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_small_and_not_blank(tiny: Published, name: str) -> None:
    path = tiny.run_dir / "report" / f"{name}.png"
    assert path.stat().st_size < MAX_BYTES
    with Image.open(path) as figure:
        assert min(figure.size) > 300
        assert len(figure.convert("RGB").getcolors(maxcolors=2**24)) > 50  # type: ignore[arg-type]  # None only beyond maxcolors


def test_report_contains_only_the_figures(tiny: Published) -> None:
    names = sorted(path.stem for path in (tiny.run_dir / "report").iterdir())
    assert names == FIGURES


def test_surest_mistakes_are_in_order_and_without_correct_predictions() -> None:
    probabilities = np.zeros((4, 10), np.float32)
    probabilities[[0, 1, 2, 3], [1, 2, 3, 0]] = [0.6, 0.9, 0.7, 1.0]
    images = np.zeros((4, 28, 28, 1), np.float32)
    figure = draw_surest_mistakes(images, np.zeros(4, np.uint8), probabilities, CLASS_NAMES)
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes]
    assert titles == ["Pullover, 90.0% sure", "Dress, 70.0% sure", "Trouser, 60.0% sure"] + [""] * 3


def test_model_without_mistakes_has_an_empty_figure(tmp_path: Path) -> None:
    images = np.zeros((1, 28, 28, 1), np.float32)
    probabilities = np.eye(10, dtype=np.float32)[:1]
    figure = draw_surest_mistakes(images, np.zeros(1, np.uint8), probabilities, CLASS_NAMES)
    figure.savefig(tmp_path / "empty.png")
    assert not any(axes.get_title() for axes in figure.axes)


@pytest.mark.parametrize(("classes", "numbers"), [(40, 40), (41, 0)])
def test_confusion_matrix_shows_numbers_for_at_most_40_classes(classes: int, numbers: int) -> None:
    labels = np.arange(classes)
    figure = draw_confusion_matrix(labels, np.eye(classes, dtype=np.float32), [*map(str, labels)])
    shown = [text for text in figure.axes[0].texts if text.get_visible()]
    assert [text.get_text() for text in shown] == ["100.0"] * numbers


@pytest.mark.skipif("Noto Sans CJK KR" not in get_font_names(), reason="no font has Korean")
def test_class_names_may_be_korean(tmp_path: Path) -> None:
    figure = draw_confusion_matrix(np.arange(2), np.eye(2, dtype=np.float32), ["가방", "코트"])
    figure.savefig(tmp_path / "korean.png")  # A missing glyph would raise a warning.


def test_photographs_are_drawn_with_their_predictions() -> None:
    photographs = read_photographs("validation")
    probabilities = np.full((len(photographs.label), 10), 0.01, np.float32)
    probabilities[:, 1] = 0.91
    figure = draw_photographs(photographs, probabilities, CLASS_NAMES)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) > 100
    assert set(titles) == {"Trouser, 91%"}
