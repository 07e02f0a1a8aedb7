"""The figures of the report."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from .batches import Probabilities
from .data import Inputs, Labelled, Labels
from .photographs import CLASSES_OF_A_LABEL, Photographs
from .run import Row

CLASSES_WITH_NUMBERS = 40
"""More leave no room for a number in each field of the confusion matrix."""
MISTAKES_SHOWN = 24
CALIBRATION_BINS = 15
MISTAKES_A_ROW = 6
PHOTOGRAPHS_A_ROW = 9
PIXELS_AN_INCH = 110
INK = "#22303c"
ACCENT = "#0b6e99"
WARM = "#c8553d"
RIGHT = "#1a7f37"
# Those after the first have Korean letters, for class names.
FONTS = "DejaVu Sans", "Noto Sans CJK KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo"
for group in ("text", "xtick", "ytick"):
    mpl.rc(group, color=INK)
mpl.rc("axes", edgecolor=INK, labelcolor=INK, titlecolor=INK, titlesize=11)
mpl.rc("font", family=[font for font in FONTS if font in font_manager.get_font_names()], size=9)


def save_figure(folder: Path, name: str, figure: Figure) -> None:
    """Write a figure as PNG without the version of matplotlib, so that it stays the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=PIXELS_AN_INCH, metadata={"Software": None})


def write_test_figures(
    folder: Path, test: Labelled, probabilities: Probabilities, class_names: Sequence[str]
) -> None:
    """Write figures of what the network, with probabilities (n, classes), makes of test images."""
    figures = {
        "confusion_matrix": draw_confusion_matrix(test.labels, probabilities, class_names),
        "reliability": draw_reliability(test.labels, probabilities),
        "surest_mistakes": draw_surest_mistakes(*test, probabilities, class_names),
    }
    for name, figure in figures.items():
        save_figure(folder, name, figure)


def draw_reliability(labels: Labels, probabilities: Probabilities) -> Figure:
    """Draw, for each range of confidence, how often the network was right."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    CalibrationDisplay.from_predictions(
        right, confidence, n_bins=CALIBRATION_BINS, ax=above, name="the network", color=ACCENT
    )
    above.set(title="Reliability on the test images", xlabel="", ylabel="share that is right")
    below.hist(confidence, CALIBRATION_BINS, range=(0, 1), color=INK, ec="white")
    below.set(xlabel="confidence", ylabel="images", yscale="log", xlim=(0, 1))
    return figure


def draw_confusion_matrix(
    labels: Labels, probabilities: Probabilities, class_names: Sequence[str]
) -> Figure:
    """Draw how often each class was taken for each other, in percent of the true class."""
    class_ids, predicted = range(len(class_names)), probabilities.argmax(axis=1)
    shares = confusion_matrix(labels, predicted, labels=class_ids, normalize="true")
    figure = Figure(figsize=(7.4, 6.8), layout="constrained")
    axes = figure.subplots()
    display = ConfusionMatrixDisplay(100 * shares, display_labels=class_names)
    options = {"values_format": ".1f", "include_values": len(class_names) <= CLASSES_WITH_NUMBERS}
    display.plot(cmap="Blues", ax=axes, xticks_rotation="vertical", colorbar=False, **options)
    for place, text in np.ndenumerate([] if display.text_ is None else display.text_):
        text.set_visible(shares[place] > 0)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion on the test images (% of a row)")
    return figure


def draw_training_curves(history: list[Row], kept: int) -> Figure:
    """Draw loss and accuracy by epoch, and mark the one that was kept, counted from 0."""
    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for prefix, name, colour in (("", "training", ACCENT), ("val_", "validation", WARM)):
            values = [row[prefix + measure] for row in history]
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
    images: Inputs, labels: Labels, probabilities: Probabilities, class_names: Sequence[str]
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
    photographs: Photographs, probabilities: Probabilities, class_names: Sequence[str]
) -> Figure:
    """Draw the first photographs of each label as the network sees them, and its answers."""
    labels = [label for label in CLASSES_OF_A_LABEL if label in photographs.label]
    figure = Figure(figsize=(8.4, 1.15 * len(labels)), layout="constrained")
    right = photographs.classes
    rows = figure.subplots(len(labels), PHOTOGRAPHS_A_ROW, squeeze=False)
    for row, label in zip(rows, labels, strict=True):
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
