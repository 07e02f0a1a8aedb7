"""The teachers: each is trained on all folds but its own, and answers that one."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from training.backend import make_deterministic, share_accelerator
from training.batches import Targets, ViewBatches, one_hot
from training.calibration import calibrate
from training.data import FashionMnist, Images, Labelled
from training.distillation import Chosen, answer_views, deal_folds
from training.precision import dtype_policy
from training.recipe import Fit, TeacherRecipe
from training.run import Run
from training.teacher import build_teacher
from training.trainer import train
from training.views import ArrayFiles


@dataclass(frozen=True)
class Teaching:
    """What one teacher is trained with and has answered, in the folder that all share."""

    folder: Path
    recipe: TeacherRecipe

    @property
    def run(self) -> Run:
        """The teacher's training."""
        return Run(self.folder / str(self.recipe.fold))

    @property
    def views(self) -> ArrayFiles:
        """All views of the training images."""
        return ArrayFiles(self.folder / "views", self.recipe.views)

    @property
    def answers(self) -> ArrayFiles:
        """What the teacher answers to the views of its fold."""
        return ArrayFiles(self.run.folder / "answers", self.recipe.views)

    def asked(self, images: int) -> Chosen:
        """Return the numbers of the images, among so many, that are in its fold."""
        return np.flatnonzero(self._folds(images) == self.recipe.fold)

    def taught(self, images: int) -> Chosen:
        """Return the numbers of the images that it learns from: all others."""
        return np.flatnonzero(self._folds(images) != self.recipe.fold)

    def _folds(self, images: int) -> Chosen:
        recipe = self.recipe
        return deal_folds(images, recipe.folds, recipe.fit.seed)


def teach(teachers: Sequence[Teaching], data: FashionMnist, at_once: int = 1) -> None:
    """Train the teachers and have them answer, as far as they have not yet.

    Args:
        teachers: all of them; the views are there.
        data: the data set.
        at_once: how many of them in processes of their own side by side.

    Raises:
        RunError: the training of one diverges.
    """
    waiting = [teaching for teaching in teachers if teaching.answers.missing]
    if at_once == 1 or len(waiting) < 2:
        for teaching in waiting:
            _teach(data, teaching)
        return
    share_accelerator()
    context = multiprocessing.get_context("spawn")  # Keras' backends survive no fork
    with ProcessPoolExecutor(at_once, context, make_deterministic) as processes:
        for _ in processes.map(partial(_teach, data, side_by_side=True), waiting):
            pass


def _teach(data: FashionMnist, teaching: Teaching, side_by_side: bool = False) -> None:
    recipe = teaching.recipe
    training, validation = data.split(recipe.fit)
    images = len(training.labels)
    taught, asked = teaching.taught(images), teaching.asked(images)
    targets = one_hot(training.labels[taught])

    def lesson(epoch: int) -> tuple[Images, Targets]:
        return teaching.views.read(epoch % recipe.views)[taught], targets

    # With seeds of their own, for the order of the images as for the first weights, the teachers
    # differ in what they get wrong.
    fit = recipe.fit.model_copy(update={"seed": recipe.fit.seed + recipe.fold})
    run = teaching.run
    if side_by_side:
        run = replace(run, name=f"Teacher {recipe.fold}")
    teacher = _trained(run, recipe.width, fit, ViewBatches(len(taught), lesson, fit), validation)
    answer_views(teaching.answers, teaching.views, teacher, asked, recipe.augmentation.flip)


def _trained(run: Run, width: int, fit: Fit, batches: ViewBatches, validation: Labelled) -> Any:
    """Return the teacher of a run, trained as far as it is not yet."""
    keras.utils.set_random_seed(fit.seed)
    teacher = build_teacher(width, dtype_policy(fit.mixed_precision))
    if run.is_finished(fit):
        teacher.load_weights(run.checkpoint)
    else:
        print(f"Training teacher {run.folder.name}, {teacher.count_params():,} parameters")
        train(teacher, batches, validation, run, fit)
    if fit.calibrate:
        calibrate(teacher, validation)
    return teacher
