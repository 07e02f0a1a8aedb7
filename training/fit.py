"""Train the network; an interrupted run goes on and ends with the weights it would have had.

For that, whatever is random in an epoch is drawn from the seed and the epoch's number alone, and
what Keras' callbacks forget when a process ends is read back from the history.
"""

from pathlib import Path

import keras
import numpy as np

from training.architecture import build_network
from training.backend import make_deterministic
from training.batches import Batches, LabelledBatches, Targets, ViewBatches, one_hot
from training.config import FitSettings
from training.data import FashionMnist, Images, load_fashion_mnist
from training.distillation import read_answers, soften
from training.normalization import build_normalized
from training.precision import dtype_policy
from training.recipe import Distillation, Fit, Recipe
from training.run import Row, Run, kept_epoch
from training.teaching import Teaching, teach
from training.trainer import train
from training.views import make_views


def run(settings: FitSettings) -> None:
    """Train, or go on with, the run in `settings.run_dir`.

    Raises:
        DataError: the data set is missing or damaged.
        RunError: the folder holds another run, or the training diverges.
    """
    data = load_fashion_mnist(settings.data_dir, settings.allow_other_data)
    training_run = Run(settings.run_dir)
    if settings.fresh:
        training_run.discard()
    recipe = settings.recipe
    training_run.begin(recipe, data)
    fit = recipe.fit
    if training_run.is_finished(fit):
        print(f"{settings.run_dir} is complete; --fresh starts it again.")
    else:
        training, validation = data.split(fit)
        print(
            f"Training on {len(training.images):,} images, validating on "
            f"{len(validation.images):,}, from {data.folder}"
        )
        make_deterministic()
        batches: Batches = LabelledBatches(training, recipe)
        if recipe.distillation:
            folder = settings.teachers_dir or training_run.teachers
            at_once = settings.teachers_at_once
            batches = taught_batches(folder, recipe, recipe.distillation, data, at_once)
        keras.utils.set_random_seed(fit.seed)
        build = build_normalized if fit.batch_normalization else build_network
        model = build(recipe.network, dtype_policy(fit.mixed_precision))
        train(model, batches, validation, training_run, fit)
    _print_result(training_run.read_history(), fit)


def taught_batches(
    folder: Path,
    recipe: Recipe,
    distillation: Distillation,
    data: FashionMnist,
    teachers_at_once: int = 1,
) -> Batches:
    """Return the views and the teachers' answers to them, made as far as they are not there yet.

    Args:
        folder: of the views and the teachers' runs.
        recipe: of the network that is to learn from them.
        distillation: the recipe's.
        data: the data set.
        teachers_at_once: how many to train side by side.

    Raises:
        RunError: the folder holds other teachers, or the training of one diverges.
    """
    teachers = [Teaching(folder, teacher, recipe.fit) for teacher in recipe.teachers]
    for teaching in teachers:
        teaching.run.begin(teaching.recipe, data)
    training, _ = data.split(recipe.fit)
    views = teachers[0].views
    if views.missing:
        make_views(views, training, recipe.augmentation, teachers[0].recipe.fit.seed)
    teach(teachers, data, teachers_at_once)

    answered = [(teaching.answers, teaching.asked(data)) for teaching in teachers]
    mirrors = recipe.augmentation.flip and distillation.mirror == "shown"
    labels = one_hot(training.labels) * np.float32(distillation.label_share)

    def lesson(epoch: int) -> tuple[Images, Targets]:
        times, number = divmod(epoch, distillation.views)
        first = distillation.folds * (number % distillation.rounds)
        answers = read_answers(number, answered[first : first + distillation.folds])
        softened = soften(answers, distillation.temperature)
        view = views.read(number)[:, :, :: -1 if mirrors and times % 2 else 1]
        return view, softened * np.float32(1 - distillation.label_share) + labels

    return ViewBatches(len(training.labels), lesson, recipe.fit)


def _print_result(rows: list[Row], fit: Fit) -> None:
    kept = kept_epoch(rows, fit)
    print(
        f"Kept epoch {kept + 1} of {len(rows)}: validation accuracy "
        f"{rows[kept]['val_accuracy']:.4f}, loss {rows[kept]['val_loss']:.4f}. "
        "Next: python -m training evaluate"
    )
