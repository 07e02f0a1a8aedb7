"""The training of one network, whichever it is and whatever it learns."""

import sys
from typing import Any

import keras

from training.backend import log_callbacks
from training.batches import Batches, OrderedBatches
from training.callbacks import (
    EpochLines,
    EpochSeeds,
    History,
    Interruption,
    LastCheckpoint,
    WholeBackup,
)
from training.data import Labelled
from training.recipe import Fit
from training.run import Run

STEPS_PER_EXECUTION = 16
"""Steps between returns to Python, which in so small a network take as long as a step."""
WARMUP_SHARE = 0.1
"""Share of the steps over which a schedule rises."""


def train(model: Any, batches: Batches, validation: Labelled, training_run: Run, fit: Fit) -> None:
    """Train the model until the epochs or the patience are used up.

    The weights to keep are left in the model, and the whole model in the run's checkpoint.

    Args:
        model: a Keras model from images to probabilities.
        batches: what it learns.
        validation: what it is validated with after each epoch.
        training_run: where it is kept, and its history.
        fit: the settings.

    Raises:
        RunError: the training diverges.
    """
    compile_for_training(model, fit, steps=len(batches) * fit.epochs)
    early_stopping = keras.callbacks.EarlyStopping("val_loss", mode="min", patience=fit.patience)
    checkpoint: Any = LastCheckpoint(training_run.checkpoint)
    if fit.keep == "best":
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
            verbose=0 if training_run.name else 1 if sys.stdout.isatty() else 2,
            # The history is written after the checkpoint and before the backup: whenever the
            # process dies, the epoch it goes on with is one whose traces it writes again.
            callbacks=[
                EpochSeeds(batches, fit.seed),
                early_stopping,
                checkpoint,
                History(training_run, early_stopping, checkpoint),
                *([EpochLines(training_run.name)] if training_run.name else []),
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
