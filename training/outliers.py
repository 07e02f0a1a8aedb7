"""Images that are no clothes, and how well the novelty score tells them from clothes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from training.architecture import FEATURES_LAYER
from training.data import Inputs
from training.novelty import FALSE_ALARMS, Assessment, Assessor
from training.recipe import IMAGE_SIDE
from training.report import ACCENT, INK, PIXELS_AN_INCH, STYLE, WARM

HIGHEST_DIGIT_PIXEL = 16
TEST_IMAGES = "test images"
SHOWN_SCORES = -20.0, 120.0

Floats = npt.NDArray[np.float32]


def measure_novelty(
    assessor: Assessor, test_images: Inputs, known: Assessment, *, seed: int, report: Path
) -> dict[str, Any]:
    """Score the outliers beside the test images, and draw how far apart they are.

    Args:
        assessor: the network and its score.
        test_images: (n, 28, 28, 1) float32 in [0, 1].
        known: what it answers for the test images.
        seed: of the noise.
        report: folder for novelty.png.

    Returns:
        The `novelty` of the scores: for each kind of outlier, the area under the ROC curve of the
        novelty, and beside it that of one minus the confidence, which needs no statistics.
    """
    outliers = {
        name: assessor.assess(images) for name, images in make_outliers(test_images, seed).items()
    }
    novelty = {TEST_IMAGES: known.novelty} | {n: answer.novelty for n, answer in outliers.items()}
    with mpl.rc_context(STYLE):
        draw_novelty(novelty, assessor.threshold).savefig(
            report / "novelty.png", dpi=PIXELS_AN_INCH, metadata={"Software": None}
        )
    return {
        "layer": FEATURES_LAYER,
        "threshold": assessor.threshold,
        "false_alarms": {
            "validation": FALSE_ALARMS,
            "test": float(np.mean(assessor.is_novel(known.novelty))),
        },
        "outliers": {
            name: {
                "images": len(answer.novelty),
                "auroc": area_under_roc(known.novelty, answer.novelty),
                "auroc_of_confidence": area_under_roc(
                    -known.probabilities.max(axis=1), -answer.probabilities.max(axis=1)
                ),
                "detected": float(np.mean(assessor.is_novel(answer.novelty))),
            }
            for name, answer in outliers.items()
        },
    }


def area_under_roc(known: Floats, novel: Floats) -> float:
    """Compute how often a novel image scores higher than a known one: 0.5 by chance, 1 always."""
    is_novel = np.repeat([0, 1], [len(known), len(novel)])
    return float(roc_auc_score(is_novel, np.concatenate([known, novel])))


def draw_novelty(novelty: Mapping[str, Floats], threshold: float) -> Figure:
    """Draw how the scores of each kind of image are spread, and the threshold."""
    figure = Figure(figsize=(8.4, 1.2 * len(novelty) + 0.6), layout="constrained")
    panels = figure.subplots(len(novelty), 1, sharex=True)
    edges = np.linspace(*SHOWN_SCORES, 141)
    for axes, (name, scores) in zip(panels, novelty.items(), strict=True):
        colour = ACCENT if name == TEST_IMAGES else WARM
        axes.hist(np.clip(scores, *SHOWN_SCORES), bins=edges, color=colour)
        axes.axvline(threshold, color=INK, linestyle=":", linewidth=1)
        share = np.mean(scores > threshold)
        axes.set_title(f"{name}: {share:.1%} above the threshold", loc="left", fontsize=9)
        axes.set_yticks([])
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[-1].set_xlabel("novelty (what lies outside is drawn at the edge)")
    return figure


def make_outliers(test_images: Inputs, seed: int) -> Mapping[str, Inputs]:
    """Make the images, by what they are.

    Args:
        test_images: (n, 28, 28, 1) float32 in [0, 1].
        seed: of the noise.

    Returns:
        Of each kind, (m, 28, 28, 1) float32 in [0, 1].
    """
    noise = np.random.default_rng(seed).random(test_images.shape, np.float32)
    return {
        "uniform noise": noise,
        "inverted test images": 1 - test_images,
        "handwritten digits": enlarged_digits(),
    }


def enlarged_digits() -> Inputs:
    """Return scikit-learn's 1,797 digits of 8×8 pixels, enlarged bilinearly to 28×28."""
    digits = load_digits().images.astype(np.float32) / HIGHEST_DIGIT_PIXEL
    factor = IMAGE_SIDE / digits.shape[1]
    enlarged: Inputs = ndimage.zoom(
        digits, (1, factor, factor), order=1, mode="nearest", grid_mode=True
    )
    return enlarged[..., None]
