"""A run with teachers, as the commands make it."""

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.training.conftest import IDX_FOLDER, TEACHERS, TINY_DATA, UNCOMPILED_WARNING
from tests.training.runs import RECIPE, assert_same_run, fit, stopped_after, weights
from training.__main__ import EXIT_FAILED, EXIT_INTERRUPTED, main
from training.callbacks import WholeBackup
from training.data import load_fashion_mnist
from training.run import Run
from training.teacher import build_teacher

pytestmark = [
    pytest.mark.usefixtures("small_teachers"),
    pytest.mark.filterwarnings(UNCOMPILED_WARNING),
]

ARGUMENTS = [
    *RECIPE,
    *TEACHERS,
    "--fit.epochs=3",
    "--fit.patience=3",
    "--fit.batch-size=64",
    "--fit.learning-rate=0.005",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, small_teachers: None) -> Path:
    """A run that nothing interrupted."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    assert fit(run_dir, *ARGUMENTS) == 0
    return run_dir


def test_it_goes_on_as_if_it_had_not_been_stopped(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, teachers = tmp_path / "stopped", tmp_path / "teachers"
    shutil.copytree(Run(whole).teachers / "views", teachers / "views")
    arguments = [*ARGUMENTS, f"--teachers-dir={teachers}"]
    with stopped_after(0, WholeBackup, monkeypatch):  # in the first teacher's training
        assert fit(stopped, *arguments) == EXIT_INTERRUPTED
    assert Run(stopped).read_history() == []
    with stopped_after(1, WholeBackup, monkeypatch):
        for _ in ("the end of the first teacher's", "the end of the second's", "the student's"):
            assert fit(stopped, *arguments) == EXIT_INTERRUPTED
    assert len(Run(stopped).read_history()) == 2
    assert fit(stopped, *arguments) == 0
    assert_same_run(stopped, whole)
    assert not Run(stopped).teachers.exists()
    for number in "01":
        assert_same_run(teachers / number, Run(whole).teachers / number)
    first, second = (weights(teachers / number) for number in "01")
    assert not np.array_equal(first[0], second[0])


def test_others_may_share_teachers_of_the_same_recipe_alone(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*ARGUMENTS, f"--teachers-dir={Run(whole).teachers}", "--fit.epochs=1"]
    capsys.readouterr()
    assert fit(tmp_path / "second", *arguments, "--fit.seed=43") == 0
    assert "teacher" not in capsys.readouterr().out
    assert not Run(tmp_path / "second").teachers.exists()
    assert fit(tmp_path / "third", *arguments, "--distillation.teacher.width=2") == EXIT_FAILED
    assert "another configuration" in capsys.readouterr().err


@pytest.mark.usefixtures("unsaved_pictures")
def test_the_teachers_are_measured_each_and_together(whole: Path, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(whole, tmp_path / "run")))
    where = [*TINY_DATA, f"--run-dir={run.folder}"]
    assert main(["evaluate", *where]) == 0
    scores = run.read_evaluation()["teachers"]
    test = load_fashion_mnist(IDX_FOLDER, allow_other_data=True).test()
    teachers = [build_teacher(width=1), build_teacher(width=1)]
    for number, teacher in enumerate(teachers):
        teacher.load_weights(Run(run.teachers / str(number)).checkpoint)
    answers = [teacher(test.images) for teacher in teachers]

    def accuracy(probabilities: Any) -> float:
        metric = keras.metrics.SparseCategoricalAccuracy()
        metric.update_state(test.labels, probabilities)
        return float(metric.result())

    assert scores["accuracies"] == pytest.approx([accuracy(each) for each in answers])
    assert scores["accuracy"] == pytest.approx(accuracy(keras.layers.average(answers)))
    assert scores["parameters"] == teachers[0].count_params()
    Run(run.teachers / "1").checkpoint.write_bytes(b"what they answered is kept")
    assert main(["evaluate", *where]) == 0
    assert run.read_evaluation()["teachers"] == scores
