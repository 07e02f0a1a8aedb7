"""Train the network; an interrupted run goes on and ends with the weights it would have had.

For that, whatever is random in an epoch is drawn from the seed and the epoch's number alone, and
what Keras' callbacks forget when a process ends is read back from the history.
"""

import sys
from typing import Any

import keras
import tensorflow as tf

from training.architecture import build_network
from training.batches import ShuffledBatches
from training.callbacks import EpochSeeds, History, Interruption, WholeBackup
from training.config import FitSettings
from training.data import Labelled, load_fashion_mnist
from training.precision import dtype_policy
from training.recipe import Fit, Recipe
from training.run import Row, Run, best_epoch, is_finished

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
    training_run.begin(settings, data)
    fit = settings.fit
    if is_finished(training_run.read_history(), fit):
        print(f"{settings.run_dir} is complete; --fresh starts it again.")
    else:
        training, validation = data.split(fit.validation_fraction, fit.seed, fit.stratify)
        print(
            f"Training on {len(training.images):,} images, validating on "
            f"{len(validation.images):,}, from {data.folder}"
        )
        keras.utils.set_random_seed(fit.seed)
        tf.config.experimental.enable_op_determinism()
        model = build_network(settings.network, dtype_policy(fit.mixed_precision))
        train(model, training, validation, training_run, settings.recipe)
    _print_result(training_run.read_history())


def train(
    model: Any,
    training: Labelled,
    validation: Labelled,
    training_run: Run,
    recipe: Recipe,
) -> None:
    """Train the model until the epochs or the patience are used up.

    The best weights are left in the model, and with them the whole model in the run's checkpoint.
    """
    fit = recipe.fit
    batches = ShuffledBatches(*training, recipe)
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
            validation_data=tf.data.Dataset.from_tensor_slices(tuple(validation)).batch(
                fit.batch_size
            ),
            # The bar is redrawn in place, which only a terminal can show.
            verbose=1 if sys.stdout.isatty() else 2,
            # The history is written after the checkpoint and before the backup: whenever the
            # process dies, the epoch it goes on with is one whose traces it writes again.
            callbacks=[
                EpochSeeds(batches, fit.seed),
                early_stopping,
                checkpoint,
                History(training_run, early_stopping, checkpoint),
                keras.callbacks.TensorBoard(str(training_run.tensorboard), write_graph=False),
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
        loss=build_loss(fit.label_smoothing),
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
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


@keras.saving.register_keras_serializable("training")
class SmoothedCrossentropy(keras.losses.Loss):  # type: ignore[misc]  # Keras ships no types
    """Cross-entropy of class ids of which a share is spread over all classes.

    Keras' own smoothing asks for one-hot labels.
    """

    def __init__(self, label_smoothing: float, name: str = "smoothed_crossentropy") -> None:
        super().__init__(name=name)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss of each image: labels (n,), probabilities (n, 10) -> (n,)."""
        one_hot = keras.ops.one_hot(keras.ops.reshape(y_true, [-1]), y_pred.shape[-1])
        return keras.losses.categorical_crossentropy(
            one_hot, y_pred, label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, Any]:
        """Return what the loss is made again from when a checkpoint is loaded."""
        return {"label_smoothing": self.label_smoothing, "name": self.name}


def build_loss(label_smoothing: float) -> Any:
    """Build the cross-entropy of class ids, smoothed where asked for."""
    if label_smoothing:
        return SmoothedCrossentropy(label_smoothing)
    return "sparse_categorical_crossentropy"


def _print_result(rows: list[Row]) -> None:
    best = best_epoch(rows)
    print(
        f"Best epoch {best + 1} of {len(rows)}: validation accuracy "
        f"{rows[best]['val_accuracy']:.4f}, loss {rows[best]['val_loss']:.4f}. "
        "Next: python -m training evaluate"
    )
