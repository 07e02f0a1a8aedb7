"""The folder of one training run: what is in it, and how far the run has come."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import PROGRAM, TrainingError
from .config import Settings
from .data import FashionMnist, load_fashion_mnist
from .recipe import Fit, Recipe, differences

Row = dict[str, float]
"""One epoch of the history: loss, accuracy, val_loss, val_accuracy."""

ANOTHER_FOLDER = "name another folder with --run-dir, or start again with --fresh"


class Run:
    """A training run in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = folder / "last.keras"  # after the last whole epoch, with its optimizer
        self.best = folder / "best.keras"  # of the epoch with the lowest validation loss
        self.model = folder / "model.keras"  # the one kept, calibrated; it is published
        self.history = folder / "history.csv"
        self.tensorboard = folder / "tensorboard"
        self.report = folder / "report"
        self._about = folder / "run.json"
        self._evaluation = folder / "evaluation.json"
        self._finished = folder / "finished"

    def checkpoint(self, fit: Fit) -> Path:
        """The model that is kept."""
        return self.last if fit.keep == "last" else self.best

    def begin(self, recipe: Recipe, data: FashionMnist) -> None:
        """Write down what the run is made of; raise a TrainingError if its epochs are of another.

        It may have fewer epochs, if the learning rate does not depend on their number.
        """
        configuration = recipe.model_dump(mode="json")
        if self.last.exists():
            earlier, data_set = self.read_about()
            changes = [
                f"{name} is {there} there, {here} here"
                for name, there, here in differences(earlier.model_dump(mode="json"), configuration)
                if (name, earlier.fit.schedule) != ("fit.epochs", "constant") or here < there
            ]
            if changes:
                raise TrainingError(
                    f"{self.folder} holds a run of another configuration ({'; '.join(changes)}): "
                    f"{ANOTHER_FOLDER}"
                )
            if data_set != data.about:
                raise TrainingError(f"{self.folder} holds a run with other data: {ANOTHER_FOLDER}")
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"configuration": configuration, "data_set": data.about}, indent=2) + "\n"
        if not self._about.exists() or self._about.read_text("utf-8") != text:
            write_whole(self._about, lambda path: path.write_text(text, "utf-8"))

    def discard(self) -> None:
        """Remove the run, and nothing else that the folder may hold."""
        for folder in (self.tensorboard, self.report):
            shutil.rmtree(folder, ignore_errors=True)
        files = self._about, self.history, self._evaluation, self._finished
        for file in (self.last, self.best, self.model, *files):
            file.unlink(missing_ok=True)

    def read_about(self) -> tuple[Recipe, dict[str, Any]]:
        """Read the recipe and the data set; raise a TrainingError if the folder holds no run."""
        if not self._about.exists():
            raise TrainingError(f"{self.folder} holds no run: `{PROGRAM} fit` makes one")
        about = json.loads(self._about.read_text("utf-8"))
        return Recipe(**about["configuration"]), about["data_set"]

    def finish(self) -> None:
        """Write down that nothing of the training is left to do."""
        self._finished.touch()

    def is_finished(self, fit: Fit) -> bool:
        """Say whether nothing of a training of these settings is left to do."""
        return self._finished.exists() and is_used_up(self.read_history(), fit)

    def read_history(self) -> list[Row]:
        """Read the epochs so far."""
        if not self.history.exists():
            return []
        rows = csv.DictReader(self.history.read_text(encoding="utf-8").splitlines())
        return [{key: float(row[key]) for key in row if key != "epoch"} for row in rows]

    def resume_after(self, epochs: int) -> list[Row]:
        """Discard the scores, and the epochs of the history that are about to be repeated."""
        self._finished.unlink(missing_ok=True)
        self._evaluation.unlink(missing_ok=True)
        if self.history.exists():
            lines = self.history.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = "".join(lines[: epochs + 1 if epochs else 0])
            write_whole(self.history, lambda path: path.write_text(kept, "utf-8"))
        return self.read_history()

    def read_evaluation(self) -> dict[str, Any]:
        """Read the scores; raise a TrainingError if there are none."""
        if not self._evaluation.exists() or not self.model.exists():
            raise TrainingError(
                f"not evaluated yet: run `{PROGRAM} evaluate --run-dir {self.folder}`"
            )
        return dict(json.loads(self._evaluation.read_text("utf-8")))

    def write_evaluation(self, scores: dict[str, Any]) -> None:
        """Write the scores."""
        text = json.dumps(scores, indent=2) + "\n"
        write_whole(self._evaluation, lambda path: path.write_text(text, "utf-8"))


def best_epoch(rows: list[Row]) -> int:
    """Find the first epoch of the lowest validation loss, counted from 0."""
    return min(range(len(rows)), key=lambda epoch: rows[epoch]["val_loss"])


def kept_epoch(rows: list[Row], fit: Fit) -> int:
    """Find the epoch whose weights are kept, counted from 0."""
    return len(rows) - 1 if fit.keep == "last" else best_epoch(rows)


def is_used_up(rows: list[Row], fit: Fit) -> bool:
    """Say whether the epochs are used up, or the patience since the best one."""
    waited = len(rows) - 1 - best_epoch(rows) if rows else 0
    return len(rows) >= fit.epochs or waited >= fit.patience


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` write a file that then replaces `path`; a run may be killed at any moment."""
    temporary = path.with_name(f".{path.name}")
    write(temporary)
    temporary.replace(path)


def open_finished(settings: Settings) -> tuple[Run, Recipe, FashionMnist]:
    """Open a run with its recipe and data.

    Raise a TrainingError if it is not complete, or was trained with other data or class names.
    """
    run = Run(settings.run_dir)
    recipe, data_set = run.read_about()
    if not run.is_finished(recipe.fit):
        raise TrainingError(f"{run.folder} is not finished: `{PROGRAM} fit` resumes it")
    data = load_fashion_mnist(settings.data_dir, settings.allow_other_data, settings.classes)
    if data_set != data.about:
        raise TrainingError(
            f"{run.folder} was trained with other data or --classes than {data.folder}"
        )
    return run, recipe, data
