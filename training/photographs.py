"""Photographs as the service prepares them: how the network does on what people really send.

They are for measuring only; nothing is fitted to them.
"""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image

from training.data import CLASS_NAMES, to_inputs
from training.errors import DataError
from training.novelty import Assessment, Assessor
from training.outliers import area_under_roc
from training.report import INK, PIXELS_AN_INCH, STYLE, WARM

SHOWN_A_KIND = 4
PALETTE_COLOURS = 128
RIGHT = "#1a7f37"


class Photographs(NamedTuple):
    """Photographs before and after preparation, and what may be said of them."""

    kinds: npt.NDArray[np.str_]
    """(n,): what each shows, in words."""
    thumbnails: npt.NDArray[np.uint8]
    """(n, side, side, 3): as they were taken."""
    pixels: npt.NDArray[np.uint8]
    """(n, 28, 28): as they were prepared."""
    right_classes: npt.NDArray[np.bool_]
    """(n, 10): which class ids are right; none where it shows nothing the network has a class for.
    """


def read_photographs(path: Path) -> Photographs:
    """Read an npz file of these four arrays.

    Raises:
        DataError: it is no such file.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return Photographs(**arrays)
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as prepared photographs: {error}") from error


def measure_photographs(
    assessor: Assessor, photographs: Photographs, known: Assessment, report: Path
) -> dict[str, Any]:
    """Score the photographs, and draw some of them as photographs.png.

    Args:
        assessor: the network and its novelty score.
        photographs: with and without a class.
        known: what the network answers for the test images.
        report: folder for the picture.

    Returns:
        The `photographs` of the scores: how often the network is right about each kind it has a
        class for, their mean, and how well the novelty tells the other kinds from test images.
    """
    answers = assessor.assess(to_inputs(photographs.pixels))
    has_class = photographs.right_classes.any(axis=1)
    predicted = answers.probabilities.argmax(axis=1)
    is_right = photographs.right_classes[np.arange(len(predicted)), predicted]
    shares = {
        kind: float(is_right[photographs.kinds == kind].mean())
        for kind in _in_order(photographs.kinds[has_class])
    }
    with mpl.rc_context(STYLE):
        _save_small(draw_photographs(photographs, answers, assessor), report / "photographs.png")
    return {
        "images": int(has_class.sum()),
        "macro_average": float(np.mean(list(shares.values()))),
        "kinds": shares,
        "called_novel": float(np.mean(assessor.is_novel(answers.novelty[has_class]))),
        "without_a_class": {
            "kinds": _in_order(photographs.kinds[~has_class]),
            "images": int((~has_class).sum()),
            "auroc": area_under_roc(known.novelty, answers.novelty[~has_class]),
            "auroc_of_confidence": area_under_roc(
                -known.probabilities.max(axis=1), -answers.probabilities[~has_class].max(axis=1)
            ),
            "detected": float(np.mean(assessor.is_novel(answers.novelty[~has_class]))),
        },
    }


def draw_photographs(photographs: Photographs, answers: Assessment, assessor: Assessor) -> Figure:
    """Draw the first photographs of each kind, what the network saw of them, and its answers."""
    kinds = _in_order(photographs.kinds)
    figure = Figure(figsize=(9.6, 1.45 * len(kinds)), layout="constrained")
    grid = figure.subplots(len(kinds), 2 * SHOWN_A_KIND, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, kind in zip(grid, kinds, strict=True):
        chosen = np.flatnonzero(photographs.kinds == kind)[:SHOWN_A_KIND]
        for before, after, index in zip(row[::2], row[1::2], chosen, strict=False):
            before.imshow(photographs.thumbnails[index])
            after.imshow(photographs.pixels[index], cmap="gray", vmin=0, vmax=255)
            before.set_title(kind, fontsize=7.5)
            class_id = int(answers.probabilities[index].argmax())
            novel = assessor.is_novel(answers.novelty[index])
            colour = RIGHT if photographs.right_classes[index, class_id] else WARM
            after.set_title(
                f"{CLASS_NAMES[class_id]}{', novel' if novel else ''}",
                fontsize=7.5,
                color=colour if photographs.right_classes[index].any() else INK,
            )
    return figure


def _save_small(figure: Figure, path: Path) -> None:
    """Save a figure of photographs with a palette, which takes a third of the bytes."""
    whole = io.BytesIO()
    figure.savefig(whole, dpi=PIXELS_AN_INCH)
    Image.open(whole).convert("RGB").quantize(PALETTE_COLOURS).save(path, optimize=True)


def _in_order(kinds: Sequence[str] | npt.NDArray[np.str_]) -> list[str]:
    """Return each kind once, in the order of the file."""
    return list(dict.fromkeys(map(str, kinds)))
