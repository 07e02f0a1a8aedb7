"""Runs of `python -m training fit`, interrupted after a chosen epoch, and their comparison."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.training.conftest import TINY_DATA, TINY_NETWORK
from training.__main__ import main
from training.run import Run

# The learning rate is so high that some epochs are worse than the ones before and patience ends the
# run, at an epoch that an interruption must not change.
FIT = [*TINY_DATA, *TINY_NETWORK, "--fit.learning-rate=0.02", "--fit.batch-size=16"]
RECIPE = [
    "--fit.schedule=cosine",
    "--fit.weight-decay=0.01",
    "--fit.label-smoothing=0.1",
    "--augmentation.flip",
    "--augmentation.shift=2",
    "--augmentation.erase=0.5",
    "--photographs.share=0.25",
    "--photographs.augmentation.rotate=20",
]


def fit(run_dir: Path, *arguments: str) -> int:
    return main(["fit", *FIT, f"--run-dir={run_dir}", *arguments])


def weights(run_dir: Path) -> list[Any]:
    model = keras.models.load_model(Run(run_dir).last)
    optimizer_state = [np.asarray(variable) for variable in model.optimizer.variables]
    return [*model.get_weights(), *optimizer_state]


def assert_same_run(run_dir: Path, reference: Path) -> None:
    histories = [(folder / "history.csv").read_text() for folder in (run_dir, reference)]
    assert histories[0] == histories[1]
    for mine, theirs in zip(weights(run_dir), weights(reference), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@contextmanager
def interrupted_after(last: int, callback: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Raise KeyboardInterrupt right after a callback has handled the end of an epoch."""
    on_epoch_end = callback.on_epoch_end

    def interrupt_after(self: Any, epoch: int, logs: dict[str, Any] | None = None) -> None:
        on_epoch_end(self, epoch, logs)
        if epoch == last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(callback, "on_epoch_end", interrupt_after)
        yield
