"""What teachers answer to changed views of the training images, kept on disk and learnt from.

A student learns most where it sees just what the teacher saw (Beyer et al. 2022, Knowledge
Distillation: A Good Teacher Is Patient and Consistent, https://arxiv.org/abs/2106.05237). Asking
a teacher costs more than training the student, so some views of all images are asked about once,
and the epochs take turns with them. Several teachers answer views of their own: over the epochs the
student learns the mean of what they say, for what asking one of them costs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from training.augmentation import augment
from training.batches import Batches, Targets
from training.data import GREY_LEVELS, Images, Inputs, Labelled, to_inputs
from training.recipe import Distillation, Fit, TeacherRecipe

ANSWERED_AT_ONCE = 500

Logits = npt.NDArray[np.float16]


class View(NamedTuple):
    """One changed view of every training image, in an order of its own, and the answers to it."""

    images: Images
    """(n, 28, 28) uint8."""
    logits: Logits
    """(n, 10) float16: the logarithms of the teacher's probabilities."""


class Views:
    """The views of a teacher's run, a file each."""

    def __init__(self, folder: Path, count: int) -> None:
        self._paths = [folder / "views" / f"{number:03}.npz" for number in range(count)]

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def missing(self) -> list[int]:
        """The numbers of those that are yet to be made."""
        return [number for number, path in enumerate(self._paths) if not path.exists()]

    def read(self, number: int) -> View:
        """Read one view."""
        with np.load(self._paths[number]) as arrays:
            return View(**arrays)

    def write(self, number: int, view: View) -> None:
        """Write one view: all of it or nothing."""
        path = self._paths[number]
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez(file, **view._asdict())
        temporary.replace(path)


def answer_views(views: Views, teacher: Any, training: Labelled, recipe: TeacherRecipe) -> None:
    """Make the views that are missing.

    Args:
        views: where they are kept.
        teacher: from images, (n, 28, 28, 1) float32 in [0, 1], to probabilities, (n, 10) float32.
        training: the training images.
        recipe: the teacher's, whose changes the views are made with.
    """
    for number in tqdm(views.missing, desc="Asking a teacher", unit="view"):
        # The epochs of the teacher's own training come before: no view is one it was taught with.
        place = recipe.fit.epochs + number
        # What the teacher says of an image and of its mirror image is right more often as a mean.
        mirrored = recipe.augmentation.flip and number % 2 == 1
        order = np.random.default_rng((recipe.fit.seed, place)).permutation(len(training.labels))
        parts = []
        for index, chosen in enumerate(np.array_split(order, len(order) // ANSWERED_AT_ONCE + 1)):
            changed = augment(
                training.images[chosen],
                training.labels[chosen],
                recipe.augmentation,
                recipe.fit.seed,
                (place, index),
            )
            images = np.rint(changed[..., 0] * GREY_LEVELS).astype(np.uint8)
            shown = images[:, :, ::-1] if mirrored else images
            probabilities = teacher.predict_on_batch(to_inputs(shown))
            logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
            parts.append(View(images, logits.astype(np.float16)))
        views.write(number, View(*map(np.concatenate, zip(*parts, strict=True))))


class TaughtBatches(Batches):
    """Views of the training images, and the answers of the teachers to them."""

    def __init__(self, views: Sequence[Views], distillation: Distillation, fit: Fit) -> None:
        """Take turns with the teachers, and with the views of each."""
        self._views, self._temperature = views, distillation.temperature
        self._view = views[0].read(0)
        super().__init__(len(self._view.images), fit.batch_size, fit.seed)

    def shuffle(self, epoch: int) -> None:
        """Take the epoch's view and draw the order of its images."""
        super().shuffle(epoch)
        turn, teacher = divmod(epoch, len(self._views))
        views = self._views[teacher]
        self._view = views.read(turn % len(views))

    def _read(self, index: int, chosen: npt.NDArray[np.int64]) -> tuple[Inputs, Targets]:
        del index
        logits = self._view.logits[chosen].astype(np.float32) / np.float32(self._temperature)
        answers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return to_inputs(self._view.images[chosen]), answers / answers.sum(axis=1, keepdims=True)
