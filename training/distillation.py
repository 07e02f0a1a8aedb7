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

from training.batches import Targets
from training.data import CLASS_NAMES, Inputs, to_inputs
from training.views import ArrayFiles

ANSWERED_AT_ONCE = 500

Chosen = npt.NDArray[np.int64]
Answers = npt.NDArray[np.float16]


def deal_folds(images: int, folds: int, seed: int, deal: int = 0, spare: int = 0) -> Chosen:
    """Deal images into folds of equal size.

    Args:
        images: how many, n.
        folds: how many.
        seed: of the draw.
        deal: its number, if there are several.
        spare: how many of the images, at the front, no teacher learns from. They are dealt by
            themselves, so that they have no part in who learns from the others.

    Returns:
        The fold of each image, (n,) in 0…folds-1.
    """
    dealt = np.random.default_rng((seed, folds, deal)).permutation(images - spare)
    return np.concatenate([np.arange(spare), dealt]) % folds


def answer_views(
    answers: ArrayFiles, views: ArrayFiles, teacher: Any, asked: Chosen, mirrored: bool
) -> None:
    """Have a teacher answer, in the views that it has not answered yet, the images of its fold.

    Args:
        answers: where to keep what it says to each view: the logarithms of probabilities, (m, 10)
            float16.
        views: of all n training images.
        teacher: from images, (b, 28, 28, 1) float32 in [0, 1], to probabilities, (b, 10) float32.
        asked: the numbers of the m images, (m,), which it has not learnt from.
        mirrored: whether to ask about the mirror images too, and take the mean.
    """
    for number in answers.missing:
        images = to_inputs(views.read(number)[asked])
        probabilities = _ask(teacher, images)
        if mirrored:
            probabilities = (probabilities + _ask(teacher, images[:, :, ::-1])) / 2
        probabilities = np.maximum(probabilities, np.finfo(np.float32).tiny)
        answers.write(number, np.log(probabilities).astype(np.float16))


def _ask(teacher: Any, images: Inputs) -> Any:
    # Equally many at a time, but for the last: a backend may compile the network for each size.
    places = range(0, len(images), ANSWERED_AT_ONCE)
    parts = [teacher.predict_on_batch(images[at : at + ANSWERED_AT_ONCE]) for at in places]
    return np.concatenate(parts)


def read_answers(number: int, teachers: Sequence[tuple[ArrayFiles, Chosen]]) -> Answers:
    """Read what is said to a view of all images.

    Args:
        number: the view's.
        teachers: the answers of each, and the numbers of the images that they are to; each of the n
            images is answered once.

    Returns:
        The logarithms of the probabilities, (n, 10) float16.
    """
    images = sum(len(asked) for _, asked in teachers)
    logits = np.empty((images, len(CLASS_NAMES)), np.float16)
    for answers, asked in teachers:
        logits[asked] = answers.read(number)
    return logits


def soften(logits: Answers, temperature: float) -> Targets:
    """Return the probabilities, (n, 10) float32, of logits that are divided by the temperature."""
    scaled = logits.astype(np.float32) / np.float32(temperature)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: Targets = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
