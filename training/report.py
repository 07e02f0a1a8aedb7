"""The pictures of the report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import confusion_matrix

from .data import Inputs, Labelled, Labels
from .photographs import CLASSES_OF_A_LABEL, Photographs
from .run import Row

MISTAKES_SHOWN = 24
RELIABILITY_BINS = 15
MISTAKES_A_ROW = 6
PHOTOGRAPHS_A_ROW = 9
PIXELS_AN_INCH = 110
INK = "#22303c"
ACCENT = "#0b6e99"
WARM = "#c8553d"
RIGHT = "#1a7f37"
STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}

Floats = npt.NDArray[np.float32]


class Report:
    """The pictures of one run."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._folder, self._class_names = folder, class_names
        folder.mkdir(parents=True, exist_ok=True)

    def draw_training_curves(self, history: list[Row], kept: int) -> None:
        """Draw loss and accuracy by epoch; `kept` is the epoch that was kept, counted from 0."""
        self._save("training_curves", lambda: draw_training_curves(history, kept))

    def draw_test(self, test: Labelled, probabilities: Floats) -> None:
        """Draw what the network makes of the test images.

        Args:
            test: images (n, height, width, 1) float32 in [0, 1] and labels (n,).
            probabilities: (n, classes) float32.
        """
        images, labels = test
        names = self._class_names
        predicted = probabilities.argmax(axis=1)
        self._save("confusion_matrix", lambda: draw_confusion_matrix(labels, predicted, names))
        self._save("reliability", lambda: draw_reliability(labels, probabilities))
        self._save(
            "surest_mistakes", lambda: draw_surest_mistakes(images, labels, probabilities, names)
        )

    def draw_photographs(self, photographs: Photographs, probabilities: Floats) -> None:
        """Draw the first photographs of each kind, and the answers (n, classes) to them."""
        self._save(
            "photographs", lambda: draw_photographs(photographs, probabilities, self._class_names)
        )

    def _save(self, name: str, draw: Callable[[], Figure]) -> None:
        with mpl.rc_context(STYLE):
            draw().savefig(
                self._folder / f"{name}.png", dpi=PIXELS_AN_INCH, metadata={"Software": None}
            )


def draw_reliability(labels: Labels, probabilities: Floats) -> Figure:
    """Draw, for each range of confidence, how often the network was right."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, RELIABILITY_BINS + 1)
    place = np.digitize(confidence, edges[1:-1], right=True)
    count = np.bincount(place, minlength=RELIABILITY_BINS)
    accuracy = np.bincount(place, correct, RELIABILITY_BINS) / np.maximum(count, 1)
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    above.bar(edges[:-1], accuracy, width=np.diff(edges), align="edge", color=ACCENT, ec="white")
    above.plot([0, 1], [0, 1], color=WARM, linestyle="--", label="as sure as right")
    above.set(title="Reliability on the test images", ylabel="share that is right", ylim=(0, 1))
    above.legend(frameon=False)
    below.bar(edges[:-1], count, width=np.diff(edges), align="edge", color=INK, ec="white")
    below.set(xlabel="confidence", ylabel="images", yscale="log", xlim=(0, 1))
    return figure


def draw_confusion_matrix(
    labels: Labels, predicted: npt.NDArray[np.int64], class_names: Sequence[str]
) -> Figure:
    """Draw how often each class was taken for each other, in percent of the true class."""
    counts = confusion_matrix(labels, predicted, labels=range(len(class_names)))
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(7.4, 6.8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(percent):
        if counts[row, column]:
            axes.text(
                column,
                row,
                f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if value > 55 else INK,
            )
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, class_names)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion on the test images (% of a row)")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def draw_training_curves(history: list[Row], kept: int) -> Figure:
    """Draw loss and accuracy by epoch, and mark the one that was kept, counted from 0."""
    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, name, colour in (
            (measure, "training", ACCENT),
            (f"val_{measure}", "validation", WARM),
        ):
            values = [row[key] for row in history]
            axes.plot(epochs, values, marker="." * (len(epochs) < 30), color=colour, label=name)
        axes.axvline(
            kept + 1, color=INK, linewidth=0.8, linestyle=":", label=f"kept: epoch {kept + 1}"
        )
        axes.set(title=measure.capitalize(), xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def draw_surest_mistakes(
    images: Inputs, labels: Labels, probabilities: Floats, class_names: Sequence[str]
) -> Figure:
    """Draw the wrong predictions of the highest confidence, the surest first."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES_SHOWN]
    rows = max(1, -(-len(surest) // MISTAKES_A_ROW))
    figure = Figure(figsize=(8.4, 0.5 + 1.75 * rows), layout="constrained")
    figure.suptitle("The surest mistakes on the test images")
    grid = figure.subplots(rows, MISTAKES_A_ROW, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, index in zip(grid.flat, surest, strict=False):
        axes.imshow(images[index, :, :, 0], cmap="gray", vmin=0, vmax=1)
        true, guess = class_names[labels[index]], class_names[predicted[index]]
        axes.set_title(f"{guess}, {confidence[index]:.1%} sure\nin truth {true}", fontsize=7.5)
    return figure


def draw_photographs(
    photographs: Photographs, probabilities: Floats, class_names: Sequence[str]
) -> Figure:
    """Draw the first photographs of each label as the network sees them, and its answers."""
    labels = [label for label in CLASSES_OF_A_LABEL if label in photographs.label]
    figure = Figure(figsize=(8.4, 1.15 * len(labels)), layout="constrained")
    right = photographs.classes
    for row, label in zip(
        figure.subplots(len(labels), PHOTOGRAPHS_A_ROW, squeeze=False), labels, strict=True
    ):
        for axes in row:
            axes.set_axis_off()
        chosen = np.flatnonzero(photographs.label == label)[:PHOTOGRAPHS_A_ROW]
        for axes, index in zip(row, chosen, strict=False):
            class_id = int(probabilities[index].argmax())
            colour = RIGHT if right[index, class_id] else WARM if right[index].any() else INK
            axes.imshow(
                photographs.pixels[index], cmap="gray", vmin=0, vmax=255, interpolation="nearest"
            )
            title = f"{class_names[class_id]}, {probabilities[index, class_id]:.0%}"
            axes.set_title(title, fontsize=7, color=colour)
        row[0].text(-4, 14, label, rotation=90, va="center", ha="right", fontsize=8)
    return figure
