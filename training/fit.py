"""Train the network; an interrupted run goes on and ends with the weights it would have had.

For that, whatever is random in an epoch is drawn from the seed and the epoch's number alone, and
what Keras' callbacks forget when a process ends is read back from the history.
"""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from training.architecture import build_network
from training.backend import log_callbacks, make_deterministic
from training.batches import Batches, LabelledBatches, OrderedBatches, Targets, ViewBatches, one_hot
from training.callbacks import EpochSeeds, History, Interruption, WholeBackup
from training.config import FitSettings
from training.data import FashionMnist, Labelled, load_fashion_mnist
from training.distillation import answer_views, deal_folds, soften
from training.normalization import build_normalized
from training.precision import dtype_policy
from training.recipe import Distillation, Fit, Recipe, TeacherRecipe
from training.run import Row, Run, best_epoch, is_finished
from training.teacher import build_teacher
from training.views import ArrayFiles, make_views

STEPS_PER_EXECUTION = 16
"""Steps between returns to Python, which in so small a network take as long as a step."""
WARMUP_SHARE = 0.1
"""Share of the steps over which a schedule rises."""


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
    if is_finished(training_run.read_history(), fit):
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
            batches = taught_batches(folder, recipe, recipe.distillation, data)
        keras.utils.set_random_seed(fit.seed)
        build = build_normalized if fit.batch_normalization else build_network
        model = build(recipe.network, dtype_policy(fit.mixed_precision))
        train(model, batches, validation, training_run, fit)
    _print_result(training_run.read_history())


def taught_batches(
    folder: Path, recipe: Recipe, distillation: Distillation, data: FashionMnist
) -> Batches:
    """Return the views and the teachers' answers to them, made as far as they are not there yet.

    Args:
        folder: of the teachers' runs, the views and the answers.
        recipe: of the network that is to learn from them.
        distillation: the recipe's.
        data: the data set.

    Raises:
        RunError: the folder holds other teachers, or the training of one diverges.
    """
    views = ArrayFiles(folder / "views", distillation.views)
    answers = ArrayFiles(folder / "answers", distillation.views)
    runs = [Run(folder / str(teacher.fold)) for teacher in recipe.teachers]
    for run, teacher in zip(runs, recipe.teachers, strict=True):
        run.begin(teacher, data)
    fit = recipe.teachers[0].fit
    training, validation = data.split(fit)
    images = len(training.labels)
    if views.missing:
        make_views(views, training, recipe.augmentation, fit.seed)
    if answers.missing:
        folds = deal_folds(images, distillation.folds, fit.seed)
        taught_labels = one_hot(training.labels)
        teachers = []
        for run, teacher in zip(runs, recipe.teachers, strict=True):
            (taught,) = np.nonzero(folds != teacher.fold)
            batches = ViewBatches(views, taught, lambda _: taught_labels, fit)
            teachers.append(train_teacher(run, teacher, batches, validation))
        answer_views(answers, views, teachers, folds, recipe.augmentation.flip)

    labels = one_hot(training.labels) * np.float32(distillation.label_share)

    def answer(number: int) -> Targets:
        answered = soften(answers.read(number), distillation.temperature)
        return answered * np.float32(1 - distillation.label_share) + labels

    return ViewBatches(views, np.arange(images), answer, recipe.fit)


def train_teacher(run: Run, recipe: TeacherRecipe, batches: Batches, validation: Labelled) -> Any:
    """Return the teacher of a run, trained as far as it is not yet.

    Raises:
        RunError: the training diverges.
    """
    fit = recipe.fit
    # Differing in their first weights too, the teachers differ in what they get wrong.
    keras.utils.set_random_seed(fit.seed + recipe.fold)
    teacher = build_teacher(recipe.width, dtype_policy(fit.mixed_precision))
    if is_finished(run.read_history(), fit):
        teacher.load_weights(run.checkpoint)
    else:
        print(
            f"Training teacher {recipe.fold + 1} of {recipe.folds}, "
            f"{teacher.count_params():,} parameters"
        )
        train(teacher, batches, validation, run, fit)
    return teacher


def train(model: Any, batches: Batches, validation: Labelled, training_run: Run, fit: Fit) -> None:
    """Train the model until the epochs or the patience are used up.

    The best weights are left in the model, and with them the whole model in the run's checkpoint.
    """
    compile_for_training(model, fit, steps=len(batches) * fit.epochs)
    early_stopping = keras.callbacks.EarlyStopping("val_loss", mode="min", patience=fit.patience)
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(training_run.checkpoint), "val_loss", mode="min", save_best_only=True
    )
    with Interruption() as interruption:
        model.fit(
            batches,
            shuffle=False,  # by Keras, whose generator a resumed run would not find where it was
            epochs=fit.epochs,
            validation_data=OrderedBatches(validation, fit.batch_size),
            # The bar is redrawn in place, which only a terminal can show.
            verbose=1 if sys.stdout.isatty() else 2,
            # The history is written after the checkpoint and before the backup: whenever the
            # process dies, the epoch it goes on with is one whose traces it writes again.
            callbacks=[
                EpochSeeds(batches, fit.seed),
                early_stopping,
                checkpoint,
                History(training_run, early_stopping, checkpoint),
                *log_callbacks(training_run.tensorboard),
                WholeBackup(training_run),
                interruption,
            ],
        )
    # Not by EarlyStopping: a run that went on never held the weights of an earlier process.
    model.load_weights(training_run.checkpoint)


def compile_for_training(model: Any, fit: Fit, steps: int) -> None:
    """Compile the model.

    Args:
        model: a Keras model from images to probabilities.
        fit: the settings.
        steps: of the whole training.
    """
    model.compile(
        optimizer=build_optimizer(fit, steps),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=fit.label_smoothing),
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EXECUTION,
    )


def build_optimizer(fit: Fit, steps: int) -> Any:
    """Build Adam, or AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101).

    Args:
        fit: the settings.
        steps: of the whole training, over which a schedule runs.
    """
    rate: Any = fit.learning_rate
    if fit.schedule == "cosine":
        warmup = max(1, round(steps * WARMUP_SHARE))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
    if not fit.weight_decay:
        return keras.optimizers.Adam(rate)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=fit.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["beta", "bias", "gamma"])
    return optimizer


def _print_result(rows: list[Row]) -> None:
    best = best_epoch(rows)
    print(
        f"Best epoch {best + 1} of {len(rows)}: validation accuracy "
        f"{rows[best]['val_accuracy']:.4f}, loss {rows[best]['val_loss']:.4f}. "
        "Next: python -m training evaluate"
    )
