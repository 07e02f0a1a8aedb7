"""The folder of one training run: what is in it, and how far the run has come."""

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from training.data import FashionMnist
from training.errors import RunError
from training.recipe import Fit, Recipe, TeacherRecipe

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe | TeacherRecipe)
Row = dict[str, float]
"""One epoch of the history: loss, accuracy, val_loss, val_accuracy."""


@dataclass(frozen=True)
class Run:
    """A training run in its folder."""

    folder: Path
    name: str = ""
    """Whose progress to tell, in a line for each epoch, if others tell theirs meanwhile."""

    @property
    def checkpoint(self) -> Path:
        """The model of the epoch that is kept: see `kept_epoch`."""
        return self.folder / "best.keras"

    @property
    def model(self) -> Path:
        """The model that was evaluated and is to be published: the checkpoint, calibrated."""
        return self.folder / "model.keras"

    @property
    def novelty(self) -> Path:
        """The statistics of the novelty score, taken from the model."""
        return self.folder / "novelty.npz"

    @property
    def backup(self) -> Path:
        """What an interrupted run goes on from."""
        return self.folder / "backup"

    @property
    def teachers(self) -> Path:
        """The folder of the teachers' runs, if the network has its own."""
        return self.folder / "teachers"

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
    def _history(self) -> Path:
        return self.folder / "history.csv"

    @property
    def _evaluation(self) -> Path:
        return self.folder / "evaluation.json"

    def begin(self, recipe: Recipe | TeacherRecipe, data: FashionMnist) -> None:
        """Write down what the run is made of, or check that an existing run is made of the same.

        Raises:
            RunError: the folder holds a run of another configuration or other data.
        """
        about = {
            "configuration": recipe.model_dump(mode="json"),
            "data_set": {"name": data.name, "sha256": data.digests},
        }
        if self._about.exists():
            # Compared as read: a setting that came later was at its default in an earlier run.
            if self.read_as(type(recipe)) != (recipe, about["data_set"]):
                raise RunError(
                    f"{self.folder} holds a run of another configuration or of other data: name "
                    "another folder with --run-dir, or start again with --fresh"
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_whole(self._about, json.dumps(about, indent=2) + "\n")

    def discard(self) -> None:
        """Remove the run, and nothing else that the folder may hold."""
        for folder in (self.backup, self.tensorboard, self.report, self.teachers):
            shutil.rmtree(folder, ignore_errors=True)
        models = self.checkpoint, self.model, self.novelty
        for file in (*models, self._about, self._history, self._evaluation):
            file.unlink(missing_ok=True)

    def read_about(self) -> tuple[Recipe, dict[str, Any]]:
        """Read the recipe and the data set of the run.

        Raises:
            RunError: there is no run in the folder.
        """
        return self.read_as(Recipe)

    def read_as(self, kind: type[AnyRecipe]) -> tuple[AnyRecipe, dict[str, Any]]:
        """Read a recipe of this kind, and the data set of the run.

        Raises:
            RunError: there is no run in the folder.
        """
        if not self._about.exists():
            raise RunError(f"{self.folder} holds no run: `python -m training fit` makes one")
        about = self._read_json(self._about)
        return kind(**about["configuration"]), about["data_set"]

    def require_finished(
        self, data: FashionMnist, kind: type[Recipe | TeacherRecipe] = Recipe
    ) -> None:
        """Check that the run is complete and that this is the data it was trained with.

        Raises:
            RunError: one of the two does not hold.
        """
        recipe, data_set = self.read_as(kind)
        if not self.is_finished(recipe.fit):
            raise RunError(
                f"{self.folder} is not finished: `python -m training fit` goes on with it"
            )
        if data_set["sha256"] != data.digests:
            raise RunError(f"{self.folder} was trained with other data than that in {data.folder}")

    def is_finished(self, fit: Fit) -> bool:
        """Say whether the epochs, or the patience, are used up and the weights are kept."""
        rows = self.read_history()
        if not rows or not self.checkpoint.exists():
            return False
        return len(rows) >= fit.epochs or epochs_waited(rows) >= fit.patience

    def read_history(self) -> list[Row]:
        """Read the epochs so far."""
        if not self._history.exists():
            return []
        with self._history.open(newline="", encoding="utf-8") as file:
            rows = [{key: float(row[key]) for key in row} for row in csv.DictReader(file)]
        return [{key: row[key] for key in row if key != "epoch"} for row in rows]

    def write_history(self, rows: list[Row]) -> None:
        """Write the epochs so far, numbered from 1."""
        lines = [["epoch", *rows[0]]]
        lines += [[str(number), *map(repr, row.values())] for number, row in enumerate(rows, 1)]
        _write_whole(self._history, "".join(",".join(line) + "\n" for line in lines))

    def read_evaluation(self) -> dict[str, Any]:
        """Read the scores.

        Raises:
            RunError: the run has not been evaluated.
        """
        if not self._evaluation.exists() or not self.novelty.exists():
            raise RunError(
                f"{self.folder} is not evaluated: run `python -m training evaluate` first"
            )
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


def _write_whole(path: Path, text: str) -> None:
    # By rename, because a run may be killed at any moment and must read its own files after it.
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
