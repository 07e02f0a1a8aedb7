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
from training.batches import Batches, LabelledBatches, Targets, ViewBatches, one_hot
from training.calibration import calibrate
from training.data import FashionMnist, Images, Labelled
from training.distillation import ANSWERED_AT_ONCE, Chosen, answer_views, deal_folds
from training.precision import dtype_policy
from training.recipe import Fit, Recipe, TeacherRecipe
from training.run import Run
from training.teacher import build_teacher
from training.trainer import train
from training.views import ArrayFiles


@dataclass(frozen=True)
class Teaching:
    """What one teacher is trained with and has answered, in the folder that all share."""

    folder: Path
    recipe: TeacherRecipe
    network_fit: Fit
    """The training of the network that learns from it."""

    @property
    def run(self) -> Run:
        """The teacher's training."""
        return Run(self.folder / str(self.recipe.number))

    @property
    def views(self) -> ArrayFiles:
        """All views of the training images."""
        return ArrayFiles(self.folder / "views", range(self.recipe.views))

    @property
    def answers(self) -> ArrayFiles:
        """What the teacher answers to its fold of the views that its round answers."""
        numbers = range(self.recipe.round, self.recipe.views, self.recipe.rounds)
        return ArrayFiles(self.run.folder / "answers", numbers)

    def asked(self, data: FashionMnist) -> Chosen:
        """Return the numbers, among the network's training images, of those in its fold."""
        folds, _ = self._folds(data)
        return np.flatnonzero(folds == self.recipe.fold)

    def taught(self, data: FashionMnist) -> Chosen:
        """Return the numbers, among the network's training images, of those it learns from."""
        folds, spare = self._folds(data)
        return spare + np.flatnonzero(folds[spare:] != self.recipe.fold)

    def answer_test(self, data: FashionMnist) -> Any:
        """Return what the trained teacher answers to the test images, (n, 10) float32.

        It is kept: all networks that learn from the teacher ask for it when they are evaluated.
        """
        kept = ArrayFiles(self.run.folder / "test", range(1))
        if kept.missing:
            teacher = _build(self.recipe.width, self.recipe.fit)
            teacher.load_weights(self.run.checkpoint)
            images = data.test().images
            kept.write(0, teacher.predict(images, batch_size=ANSWERED_AT_ONCE, verbose=0))
        return kept.read(0)

    def _folds(self, data: FashionMnist) -> tuple[Chosen, int]:
        recipe, images = self.recipe, data.training_images(self.network_fit)
        spare = images - data.training_images(recipe.fit)
        return deal_folds(images, recipe.folds, recipe.fit.seed, recipe.round, spare), spare


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
    _, validation = data.split(recipe.fit)
    # With seeds of their own, for the order of the images as for the first weights, the teachers
    # differ in what they get wrong.
    fit = recipe.fit.model_copy(update={"seed": recipe.fit.seed + recipe.number})
    run = teaching.run
    if side_by_side:
        run = replace(run, name=f"Teacher {recipe.number}")
    teacher = _trained(run, recipe.width, fit, _lessons(data, teaching, fit), validation)
    mirrored = recipe.augmentation.flip and recipe.mirror == "asked"
    answer_views(teaching.answers, teaching.views, teacher, teaching.asked(data), mirrored)


def _lessons(data: FashionMnist, teaching: Teaching, fit: Fit) -> Batches:
    recipe, taught = teaching.recipe, teaching.taught(data)
    training, _ = data.split(teaching.network_fit)
    labels = training.labels[taught]
    if recipe.own_augmentation:
        own = Recipe(fit=fit, augmentation=recipe.own_augmentation)
        return LabelledBatches(Labelled(training.images[taught], labels), own)
    targets = one_hot(labels)

    def lesson(epoch: int) -> tuple[Images, Targets]:
        return teaching.views.read(epoch % recipe.views)[taught], targets

    return ViewBatches(len(taught), lesson, fit)


def _build(width: int, fit: Fit) -> Any:
    return build_teacher(width, dtype_policy(fit.mixed_precision))


def _trained(run: Run, width: int, fit: Fit, batches: Batches, validation: Labelled) -> Any:
    """Return the teacher of a run, trained as far as it is not yet."""
    keras.utils.set_random_seed(fit.seed)
    teacher = _build(width, fit)
    if run.is_finished(fit):
        teacher.load_weights(run.checkpoint)
    else:
        print(f"Training teacher {run.folder.name}, {teacher.count_params():,} parameters")
        train(teacher, batches, validation, run, fit)
    if fit.calibrate:
        calibrate(teacher, validation)
    return teacher
