"""What teachers answer to images they have not learnt from, for the network to learn instead.

A teacher knows the labels it was taught by heart, the wrong ones too, and its answers to those
images say little more than they do. So the images are dealt into folds, each teacher learns from
all folds but one, and answers that one alone: Dao et al. 2021, Knowledge Distillation as
Semiparametric Inference, https://arxiv.org/abs/2104.09732, call it cross-fitting.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from training.batches import Targets
from training.data import CLASS_NAMES, to_inputs
from training.views import ArrayFiles

ANSWERED_AT_ONCE = 1000

Folds = npt.NDArray[np.int64]


def deal_folds(images: int, folds: int, seed: int) -> Folds:
    """Deal the images into folds of equal size; return the fold of each, (n,) in 0…folds-1."""
    return np.random.default_rng((seed, folds)).permutation(images) % folds


def answer_views(
    answers: ArrayFiles, views: ArrayFiles, teachers: Sequence[Any], folds: Folds, mirrored: bool
) -> None:
    """Have the views answered that are not yet.

    Args:
        answers: where to keep what is said to each view: the logarithms of probabilities, (n, 10)
            float16.
        views: of the n training images.
        teachers: from images, (m, 28, 28, 1) float32 in [0, 1], to probabilities, (m, 10) float32;
            the teacher of each fold has not learnt from the images in it.
        folds: the fold of each image.
        mirrored: whether to ask about the mirror images too, and take the mean.
    """
    for number in tqdm(answers.missing, desc="Asking the teachers", unit="view"):
        view = views.read(number)
        logits = np.empty((len(view), len(CLASS_NAMES)), np.float16)
        for fold, teacher in enumerate(teachers):
            (asked,) = np.nonzero(folds == fold)
            for chosen in np.array_split(asked, len(asked) // ANSWERED_AT_ONCE + 1):
                images = to_inputs(view[chosen])
                probabilities = np.asarray(teacher.predict_on_batch(images))
                if mirrored:
                    other = np.asarray(teacher.predict_on_batch(images[:, :, ::-1]))
                    probabilities = (probabilities + other) / 2
                logits[chosen] = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
        answers.write(number, logits)


def soften(logits: npt.NDArray[np.float16], temperature: float) -> Targets:
    """Return the probabilities, (n, 10) float32, of logits that are divided by the temperature."""
    scaled = logits.astype(np.float32) / np.float32(temperature)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: Targets = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
