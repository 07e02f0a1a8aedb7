"""Train the network; an interrupted run goes on and ends with the weights it would have had.

For that, whatever is random in an epoch is drawn from the seed and the epoch's number alone, and
what Keras' callbacks forget when a process ends is read back from the history.
"""

import math
import shutil
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from training.architecture import build_network
from training.config import Fit, FitSettings
from training.data import Inputs, Labelled, Labels, load_fashion_mnist
from training.errors import RunError
from training.run import Row, Run, best_epoch, epochs_waited, is_finished


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
        train(build_network(settings.network), training, validation, training_run, fit)
    _print_result(training_run.read_history())


def train(
    model: Any, training: Labelled, validation: Labelled, training_run: Run, fit: Fit
) -> None:
    """Train the model until the epochs or the patience are used up.

    The best weights are left in the model, and with them the whole model in the run's checkpoint.
    """
    model.compile(
        optimizer=keras.optimizers.Adam(fit.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    batches = ShuffledBatches(*training, fit.batch_size, fit.seed)
    early_stopping = keras.callbacks.EarlyStopping("val_loss", mode="min", patience=fit.patience)
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(training_run.checkpoint), "val_loss", mode="min", save_best_only=True
    )
    model.fit(
        batches,
        shuffle=False,  # by Keras, whose generator a resumed run would not find where it was
        epochs=fit.epochs,
        validation_data=tf.data.Dataset.from_tensor_slices(tuple(validation)).batch(fit.batch_size),
        # The bar is redrawn in place, which only a terminal can show.
        verbose=1 if sys.stdout.isatty() else 2,
        # The history is written after the checkpoint and before the backup: whenever the process
        # dies, the epoch it goes on with is one whose traces it writes again.
        callbacks=[
            EpochSeeds(batches, fit.seed),
            early_stopping,
            checkpoint,
            History(training_run, early_stopping, checkpoint),
            keras.callbacks.TensorBoard(str(training_run.tensorboard), write_graph=False),
            WholeBackup(training_run),
        ],
    )
    # Not by EarlyStopping: a run that went on never held the weights of an earlier process.
    model.load_weights(training_run.checkpoint)


class ShuffledBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """The training images, in an order that the seed and the epoch decide."""

    def __init__(self, images: Inputs, labels: Labels, batch_size: int, seed: int) -> None:
        super().__init__()
        self._images, self._labels = images, labels
        self._batch_size = batch_size
        self._seed = seed
        self.shuffle(epoch=0)

    def shuffle(self, epoch: int) -> None:
        """Draw the order of one epoch."""
        generator = np.random.default_rng((self._seed, epoch))
        self._order = generator.permutation(len(self._images))

    def __len__(self) -> int:
        """Count the batches of an epoch; the last one may be smaller."""
        return math.ceil(len(self._images) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Inputs, Labels]:
        """Return a batch: images (b, 28, 28, 1) float32 in [0, 1] and labels (b,) uint8."""
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._images[chosen], self._labels[chosen]


class EpochSeeds(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Makes the order of the images and the dropout of an epoch depend on its number alone."""

    def __init__(self, batches: ShuffledBatches, seed: int) -> None:
        super().__init__()
        self._batches = batches
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Shuffle the images and seed every random layer."""
        del logs
        self._batches.shuffle(epoch)
        for number, layer in enumerate(self.model.layers, start=1):
            if generator := getattr(layer, "seed_generator", None):
                seeds = np.random.default_rng((self._seed, epoch, number))
                generator.state.assign(seeds.integers(2**32, size=2, dtype=np.uint32))


class History(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Writes history.csv, and gives back what the other callbacks knew before an interruption."""

    def __init__(self, training_run: Run, early_stopping: Any, checkpoint: Any) -> None:
        super().__init__()
        self._run = training_run
        self._early_stopping = early_stopping
        self._checkpoint = checkpoint
        self._rows: list[Row] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """On the first epoch of this process, restore what the epochs before it led to."""
        del logs
        if self._rows is not None:
            return
        # An epoch may be in the history without a backup of it: it is about to be repeated.
        self._rows = self._run.read_history()[:epoch]
        if self._rows:
            best = best_epoch(self._rows)
            lowest_loss = self._rows[best]["val_loss"]
            self._early_stopping.best = self._checkpoint.best = lowest_loss
            self._early_stopping.best_epoch = best
            self._early_stopping.wait = epochs_waited(self._rows)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch to the history.

        Raises:
            RunError: the loss is no longer a number.
        """
        row = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(row["loss"] + row["val_loss"]):
            raise RunError(
                f"the training diverged in epoch {epoch + 1} (loss {row['loss']}): "
                "try a smaller --fit.learning-rate with --fresh"
            )
        self._rows = [*(self._rows or []), row]
        self._run.write_history(self._rows)


class WholeBackup(keras.callbacks.BackupAndRestore):  # type: ignore[misc]  # Keras ships no types
    """BackupAndRestore whose backup is the whole of one epoch, whenever the process dies.

    Keras overwrites the weights, then the epoch's number: between the two, one belongs to another
    epoch than the other. Here an epoch's backup gets its name only when it is complete.
    """

    def __init__(self, training_run: Run) -> None:
        self._epochs = training_run.backup
        super().__init__(str(training_run.backup / "unfinished"))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restore the newest whole backup."""
        shutil.rmtree(self.backup_dir, ignore_errors=True)
        if whole := sorted(self._epochs.glob("epoch-*")):
            shutil.copytree(whole[-1], self.backup_dir)
        super().on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Back the epoch up, then remove the backups before it."""
        earlier = list(self._epochs.glob("epoch-*"))
        super().on_epoch_end(epoch, logs)
        shutil.move(self.backup_dir, self._epochs / f"epoch-{epoch:06}")
        for folder in earlier:
            shutil.rmtree(folder)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Remove the backups: a finished run needs none."""
        super().on_train_end(logs)
        shutil.rmtree(self._epochs, ignore_errors=True)


def _print_result(rows: list[Row]) -> None:
    best = best_epoch(rows)
    print(
        f"Best epoch {best + 1} of {len(rows)}: validation accuracy "
        f"{rows[best]['val_accuracy']:.4f}, loss {rows[best]['val_loss']:.4f}. "
        "Next: python -m training evaluate"
    )
