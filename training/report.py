"""The pictures of the report."""

from typing import Any

import keras
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.architecture import trace_layers
from training.data import CLASS_NAMES, Inputs, Labelled, Labels
from training.run import Row, Run, kept_epoch

MISTAKES_SHOWN = 24
RELIABILITY_BINS = 15
MISTAKES_A_ROW = 6
MAPS_A_ROW = 16
MAP_PIXELS = 56
MAP_GAP_PIXELS = 4
PIXELS_AN_INCH = 110
INK = "#22303c"
ACCENT = "#0b6e99"
WARM = "#c8553d"
NIGHT = "#2a2538"
CHALK = "#ece7f2"
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


def draw_report(finished_run: Run, model: Any, test: Labelled, probabilities: Floats) -> None:
    """Draw every picture of the report.

    Args:
        finished_run: of the network; the PNGs go where its report is.
        model: the Keras model that gave the probabilities.
        test: images (n, 28, 28, 1) float32 in [0, 1] and labels (n,) uint8 in 0…9.
        probabilities: (n, 10) float32.
    """
    images, labels = test
    recipe, _ = finished_run.read_about()
    history, folder = finished_run.read_history(), finished_run.report
    kept = kept_epoch(history, recipe.fit)
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        figures = {
            "confusion_matrix": draw_confusion_matrix(labels, probabilities.argmax(axis=1)),
            "reliability": draw_reliability(labels, probabilities),
            "training_curves": draw_training_curves(history, kept),
            "surest_mistakes": draw_surest_mistakes(images, labels, probabilities),
            "feature_maps": draw_feature_maps(model, images[:1], CLASS_NAMES[labels[0]]),
        }
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=PIXELS_AN_INCH, metadata={"Software": None})


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


def draw_confusion_matrix(labels: Labels, predicted: npt.NDArray[np.int64]) -> Figure:
    """Draw how often each class was taken for each other, in percent of the true class."""
    counts = np.zeros((len(CLASS_NAMES), len(CLASS_NAMES)))
    np.add.at(counts, (labels, predicted), 1)
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
    ticks = range(len(CLASS_NAMES))
    axes.set_xticks(ticks, CLASS_NAMES, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, CLASS_NAMES)
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
            axes.plot(epochs, values, marker=".", color=colour, label=name)
        axes.axvline(
            kept + 1, color=INK, linewidth=0.8, linestyle=":", label=f"kept: epoch {kept + 1}"
        )
        axes.set(title=measure.capitalize(), xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def draw_surest_mistakes(images: Inputs, labels: Labels, probabilities: Floats) -> Figure:
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
        axes.imshow(images[index, :, :, 0], cmap="gray_r", vmin=0, vmax=1)
        true, guess = CLASS_NAMES[labels[index]], CLASS_NAMES[predicted[index]]
        axes.set_title(f"{guess}, {confidence[index]:.1%} sure\nin truth {true}", fontsize=7.5)
    return figure


def draw_feature_maps(model: Any, image: Inputs, class_name: str) -> Figure:
    """Draw every map that the convolution and pooling layers make of one image.

    Args:
        model: a Keras model with named layers.
        image: (1, 28, 28, 1) float32 in [0, 1].
        class_name: what the image shows.
    """
    layers = [layer for layer in model.layers if len(layer.output.shape) == 4]
    inputs, traced = trace_layers(model)
    outputs = keras.Model(inputs, [traced[layer.name] for layer in layers])(image)
    mosaics = [mosaic(np.asarray(output)[0]) for output in outputs]
    width, title_height, image_height = 9.0, 0.34, 1.2
    heights = [width * tiles.shape[0] / tiles.shape[1] for tiles in mosaics]
    figure = Figure(
        figsize=(width, image_height + sum(heights) + title_height * (len(layers) + 1)),
        layout="constrained",
        facecolor=NIGHT,
    )
    figure.supxlabel(
        "each map from its own lowest value (dark) to its own highest (bright)",
        color=CHALK,
        fontsize=8,
    )
    panels = figure.subplots(len(layers) + 1, 1, height_ratios=[image_height, *heights])
    panels[0].imshow(image[0, :, :, 0], cmap="gray", vmin=0, vmax=1)
    titles = [f"{class_name} · 28×28", *map(_title_of_maps, layers)]
    for axes, tiles in zip(panels[1:], mosaics, strict=True):
        axes.imshow(tiles, cmap="magma", interpolation="nearest")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, loc="left" if axes is not panels[0] else "center", color=CHALK)
        axes.set_axis_off()
    return figure


def _title_of_maps(layer: Any) -> str:
    _, height, width, channels = layer.output.shape
    return f"{layer.name} · {channels} maps of {height}×{width}"


def mosaic(maps: Floats) -> Floats:
    """Lay feature maps side by side, each scaled to its own range and to about the same size.

    Args:
        maps: (side, side, channels) float32.

    Returns:
        (rows · cell, 16 · cell) float32 in [0, 1], NaN between the maps; a cell is a map,
        enlarged by a whole factor to `MAP_PIXELS` or a little less, and the gap beside it.
    """
    side, _, channels = maps.shape
    low, high = maps.min(axis=(0, 1)), maps.max(axis=(0, 1))
    scaled = (maps - low) / np.where(high > low, high - low, 1)
    factor = max(1, MAP_PIXELS // side)
    enlarged = scaled.repeat(factor, axis=0).repeat(factor, axis=1)
    rows, cell = -(-channels // MAPS_A_ROW), side * factor + MAP_GAP_PIXELS
    cells = np.full((rows * MAPS_A_ROW, cell, cell), np.nan, np.float32)
    cells[:channels, :-MAP_GAP_PIXELS, :-MAP_GAP_PIXELS] = enlarged.transpose(2, 0, 1)
    grid = cells.reshape(rows, MAPS_A_ROW, cell, cell)
    return grid.transpose(0, 2, 1, 3).reshape(rows * cell, MAPS_A_ROW * cell)
