"""The folder of one training run: what is in it, and how far the run has come."""

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import PROGRAM
from .data import FashionMnist
from .errors import RunError
from .recipe import Fit, Recipe

Row = dict[str, float]
"""One epoch of the history: loss, accuracy, val_loss, val_accuracy."""

ANOTHER_FOLDER = "name another folder with --run-dir, or start again with --fresh"


@dataclass(frozen=True)
class Run:
    """A training run in its folder."""

    folder: Path

    @property
    def last(self) -> Path:
        """The model after the last whole epoch, with its optimizer."""
        return self.folder / "last.keras"

    @property
    def best(self) -> Path:
        """The model of the epoch with the lowest validation loss."""
        return self.folder / "best.keras"

    @property
    def model(self) -> Path:
        """The model that was evaluated and is to be published: the one kept, calibrated."""
        return self.folder / "model.keras"

    @property
    def history(self) -> Path:
        """The measures of each epoch."""
        return self.folder / "history.csv"

    @property
    def tensorboard(self) -> Path:
        """The TensorBoard log."""
        return self.folder / "tensorboard"

    @property
    def report(self) -> Path:
        """The pictures of the evaluation."""
        return self.folder / "report"

    @property
    def _about(self) -> Path:
        return self.folder / "run.json"

    @property
    def _evaluation(self) -> Path:
        return self.folder / "evaluation.json"

    @property
    def _finished(self) -> Path:
        return self.folder / "finished"

    def checkpoint(self, fit: Fit) -> Path:
        """The model that is kept."""
        return self.last if fit.keep == "last" else self.best

    def require_same_recipe(self, recipe: Recipe) -> None:
        """Check that the folder holds no run, or one of this recipe; it may have fewer epochs.

        Raises:
            RunError: it holds a run of another recipe; the message names the settings.
        """
        if not self._about.exists():
            return
        earlier, _ = self.read_about()
        if self._may_go_on(earlier, recipe):
            return
        changes = "; ".join(_differences(earlier.model_dump(), recipe.model_dump()))
        raise RunError(
            f"{self.folder} holds a run of another configuration ({changes}): {ANOTHER_FOLDER}"
        )

    def begin(self, recipe: Recipe, data: FashionMnist) -> None:
        """Write down what the run is made of, or check that an existing run is made of the same.

        Raises:
            RunError: the folder holds a run of another recipe or of other data.
        """
        self.require_same_recipe(recipe)
        about = {
            "configuration": recipe.model_dump(mode="json"),
            "data_set": {
                "name": data.name,
                "class_names": list(data.class_names),
                "sha256": data.digests,
            },
        }
        if self._about.exists() and self.read_about()[1] != about["data_set"]:
            raise RunError(f"{self.folder} holds a run with other data: {ANOTHER_FOLDER}")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._about.exists() or self._read_json(self._about) != about:
            _write_whole(self._about, json.dumps(about, indent=2) + "\n")

    @staticmethod
    def _may_go_on(earlier: Recipe, recipe: Recipe) -> bool:
        """Whether the recipes are the same, but for more epochs at a constant learning rate."""
        fit = earlier.fit
        if fit.schedule == "constant" and fit.epochs < recipe.fit.epochs:
            fit = fit.model_copy(update={"epochs": recipe.fit.epochs})
        return earlier.model_copy(update={"fit": fit}) == recipe

    def discard(self) -> None:
        """Remove the run, and nothing else that the folder may hold."""
        for folder in (self.tensorboard, self.report):
            shutil.rmtree(folder, ignore_errors=True)
        models = self.last, self.best, self.model
        for file in (*models, self._about, self.history, self._evaluation, self._finished):
            file.unlink(missing_ok=True)

    def read_about(self) -> tuple[Recipe, dict[str, Any]]:
        """Read the recipe and the data set of the run.

        Raises:
            RunError: there is no run in the folder.
        """
        if not self._about.exists():
            raise RunError(f"{self.folder} holds no run: `{PROGRAM} fit` makes one")
        about = self._read_json(self._about)
        return Recipe(**about["configuration"]), about["data_set"]

    def require_finished(self) -> None:
        """Check that the run is complete.

        Raises:
            RunError: it is not.
        """
        recipe, _ = self.read_about()
        if not self.is_finished(recipe.fit):
            raise RunError(f"{self.folder} is not finished: `{PROGRAM} fit` goes on with it")

    def require_data(self, data: FashionMnist) -> None:
        """Check that this is the data that the run was trained with.

        Raises:
            RunError: it is not.
        """
        if self.read_about()[1]["sha256"] != data.digests:
            raise RunError(f"{self.folder} was trained with other data than that in {data.folder}")

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
        with self.history.open(newline="", encoding="utf-8") as file:
            rows = [{key: float(row[key]) for key in row} for row in csv.DictReader(file)]
        return [{key: row[key] for key in row if key != "epoch"} for row in rows]

    def keep_history(self, epochs: int) -> list[Row]:
        """Remove from the history the epochs after so many, which are about to be repeated."""
        if self.history.exists():
            lines = self.history.read_text(encoding="utf-8").splitlines(keepends=True)
            _write_whole(self.history, "".join(lines[: epochs + 1 if epochs else 0]))
        return self.read_history()

    def read_evaluation(self) -> dict[str, Any]:
        """Read the scores.

        Raises:
            RunError: the run has not been evaluated.
        """
        if not self._evaluation.exists() or not self.model.exists():
            raise RunError(f"{self.folder} is not evaluated: run `{PROGRAM} evaluate` first")
        return self._read_json(self._evaluation)

    def write_evaluation(self, scores: dict[str, Any]) -> None:
        """Write the scores."""
        _write_whole(self._evaluation, json.dumps(scores, indent=2) + "\n")

    def _read_json(self, path: Path) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content


def best_epoch(rows: list[Row]) -> int:
    """Find the first epoch of the lowest validation loss, counted from 0."""
    return min(range(len(rows)), key=lambda epoch: rows[epoch]["val_loss"])


def kept_epoch(rows: list[Row], fit: Fit) -> int:
    """Find the epoch whose weights are kept, counted from 0."""
    return len(rows) - 1 if fit.keep == "last" else best_epoch(rows)


def epochs_waited(rows: list[Row]) -> int:
    """Count the epochs since the best one."""
    return len(rows) - 1 - best_epoch(rows)


def is_used_up(rows: list[Row], fit: Fit) -> bool:
    """Say whether the epochs or the patience are used up."""
    return len(rows) >= fit.epochs or (bool(rows) and epochs_waited(rows) >= fit.patience)


def _differences(earlier: Any, now: Any, name: str = "") -> Iterator[str]:
    """Yield each setting that differs, with both values."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        for key in earlier:
            yield from _differences(earlier[key], now[key], f"{name}.{key}" if name else key)
    elif earlier != now:
        yield f"{name} is {earlier} there, {now} here"


def _write_whole(path: Path, text: str) -> None:
    # By rename, because a run may be killed at any moment and must read its own files after it.
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
