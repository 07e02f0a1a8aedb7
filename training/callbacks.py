"""What happens around the epochs, so that an interrupted run can go on as if it had not been."""

import math
import shutil
import signal
import threading
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np

from training.batches import Batches
from training.errors import RunError
from training.run import Row, Run, best_epoch, epochs_waited


class Interruption(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Turns Ctrl-C into KeyboardInterrupt between two batches, while it is used with `with`.

    Raised wherever the interpreter happens to be, the exception may come up in a finalizer or in a
    call from C, which print it and go on. Pressed a second time, Ctrl-C does what it usually does.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_asked_for = False
        self._usual: Any = signal.SIG_DFL

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._usual = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._usual)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Raise if it was asked for."""
        del batch, logs
        if self._is_asked_for:
            raise KeyboardInterrupt

    on_test_batch_end = on_train_batch_end

    def _ask(self, *_: object) -> None:
        self._is_asked_for = True
        signal.signal(signal.SIGINT, self._usual)


class EpochSeeds(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Makes the order of the images and the dropout of an epoch depend on its number alone."""

    def __init__(self, batches: Batches, seed: int) -> None:
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


class LastCheckpoint(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Saves the model as it is at the end of the training."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Save it."""
        del logs
        self.model.save(self._path)


class EpochLines(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Tells of each epoch in one line that says whose it is."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Print the line."""
        scores = ", ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        print(f"{self._name}: epoch {epoch + 1} of {self.params['epochs']}: {scores}", flush=True)


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
