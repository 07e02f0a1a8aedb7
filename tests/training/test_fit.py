import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.training.conftest import TINY_DATA
from tests.training.runs import FIT, RECIPE, assert_same_run, fit, interrupted_after
from training.__main__ import EXIT_FAILED, EXIT_INTERRUPTED, main
from training.architecture import build_network
from training.fit import Checkpoints, Crossentropy, accuracy, build_optimizer
from training.recipe import Block, Fit, Network
from training.run import Run, best_epoch


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    run_dir = tmp_path_factory.mktemp("reference") / "run"
    assert fit(run_dir) == 0
    return run_dir


def test_training_stops_after_the_patience_and_keeps_the_best_weights(reference: Path) -> None:
    run = Run(reference)
    history = run.read_history()
    best = best_epoch(history)
    assert 2 <= best == len(history) - 3 < 17, (
        "the run must overshoot for these tests to be meaningful"
    )
    model = keras.models.load_model(run.best)
    assert int(model.optimizer.iterations.numpy()) == (best + 1) * 13
    assert run.checkpoint(Fit()) == run.best
    assert (run.tensorboard / "train").is_dir()
    assert (reference / "run.json").exists()


def test_interrupted_run_of_the_full_recipe_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    arguments = [*RECIPE, "--fit.keep=last", "--fit.epochs=3", "--fit.patience=3"]
    assert fit(whole, *arguments) == 0
    for last in (1, 2):  # After the last one all epochs are done, but the run is not finished.
        with interrupted_after(last, Checkpoints, monkeypatch):
            assert fit(stopped, *arguments) == EXIT_INTERRUPTED
    assert not Run(stopped).is_finished(Fit(epochs=3))
    assert fit(stopped, *arguments) == 0
    assert_same_run(stopped, whole)


def test_run_interrupted_after_several_epochs_equals_an_uninterrupted_one(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = best_epoch(Run(reference).read_history())
    (tmp_path / ".last.keras").write_bytes(b"half")  # A half-written model is ignored.
    # At the best epoch before its checkpoint, at a worse one after it, and at the last before it:
    # patience is used up then, and the missing checkpoint makes no difference.
    stops = {
        best: keras.callbacks.CSVLogger,
        best + 1: Checkpoints,
        best + 2: keras.callbacks.CSVLogger,
    }
    for last, callback in stops.items():
        with interrupted_after(last, callback, monkeypatch):
            assert fit(tmp_path) == EXIT_INTERRUPTED
        assert len(Run(tmp_path).read_history()) == last + 1
    assert fit(tmp_path) == 0
    assert_same_run(tmp_path, reference)


def wait_for_epochs(run_dir: Path, count: int) -> None:
    deadline = time.monotonic() + 180
    while len(Run(run_dir).read_history()) < count:
        assert time.monotonic() < deadline, "the training makes no progress"
        time.sleep(0.005)


def test_run_resumed_after_a_kill_equals_an_uninterrupted_one(
    reference: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "training", "fit", *FIT, f"--run-dir={tmp_path}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_for_epochs(tmp_path, 2)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert len(Run(tmp_path).read_history()) < len(Run(reference).read_history())
    assert fit(tmp_path) == 0
    assert_same_run(tmp_path, reference)


def test_ctrl_c_exits_with_a_message_on_how_to_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def press_ctrl_c() -> None:
        wait_for_epochs(tmp_path, 1)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press_ctrl_c)
    presser.start()
    assert fit(tmp_path, "--fit.epochs=500", "--fit.patience=500") == EXIT_INTERRUPTED
    presser.join()
    message = capsys.readouterr().err.strip()
    assert message.endswith("interrupted; the same command resumes after the last whole epoch")
    assert "Traceback" not in message


def test_another_configuration_in_the_same_folder_is_refused(
    reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (reference / "history.csv").read_bytes()
    assert fit(reference, "--fit.batch-size=8") == EXIT_FAILED
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "--run-dir" in message
    assert "--fresh" in message
    assert "fit.batch_size is 16 there, 8 here" in message
    assert (reference / "history.csv").read_bytes() == before


def test_complete_run_is_left_unchanged(
    reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in reference.rglob("*")}
    assert fit(reference) == 0
    assert "is complete; --fresh starts it again" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in reference.rglob("*")} == before


def test_missing_setting_of_an_older_run_counts_as_the_default(
    reference: Path, tmp_path: Path
) -> None:
    earlier = Path(shutil.copytree(reference, tmp_path / "earlier"))
    about = json.loads((earlier / "run.json").read_text())
    del about["configuration"]["fit"]["stratify"]
    (earlier / "run.json").write_text(json.dumps(about))
    assert fit(earlier) == 0


def test_fresh_restarts_the_run_and_keeps_unrelated_files(reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
    (tmp_path / "evaluation.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    assert fit(tmp_path, "--fit.seed=43", "--fit.epochs=1", "--fresh") == 0
    [epoch] = Run(tmp_path).read_history()
    assert epoch["loss"] != Run(reference).read_history()[0]["loss"]
    assert not (tmp_path / "evaluation.json").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("impossible", "reason"),
    [
        (["--data-dir=no-such-folder"], "no-such-folder has no train-images"),
        (["--start.weights"], "only the network of the default settings"),
        (["--start.answers=0.5"], "the images of Fashion-MNIST only"),
        (["--photographs.share=0.6", "--fit.batch-size=1"], "0.6 of a batch of 1 leaves no image"),
        (["--photographs.share=0.01"], "0.01 of a batch of 16 leaves no image or no photograph"),
        (["--photographs.share=0.5", f"--classes={','.join('abcdefghijkl')}"], "ten classes"),
    ],
)
def test_fresh_keeps_the_run_if_the_new_one_cannot_start(
    reference: Path, capsys: pytest.CaptureFixture[str], impossible: list[str], reason: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in reference.rglob("*")}
    assert fit(reference, "--fresh", *impossible) == EXIT_FAILED
    assert reason in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in reference.rglob("*")} == before


def test_diverging_training_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path, "--fit.learning-rate=1e38") == EXIT_FAILED
    message = capsys.readouterr().err
    assert "the training diverged in epoch" in message
    assert message.count("\n") == 1


@pytest.mark.usefixtures("unsaved_figures")
def test_run_at_chance_level_is_reported_and_can_be_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path, "--fit.learning-rate=1e-9", "--fit.epochs=1") == 0
    assert (
        "It learnt next to nothing: by chance it would be right on 10%" in capsys.readouterr().out
    )
    assert main(["evaluate", *TINY_DATA, f"--run-dir={tmp_path}"]) == 0


def test_finished_run_continues_with_more_epochs(reference: Path, tmp_path: Path) -> None:
    for epochs in (1, 2):
        assert fit(tmp_path, f"--fit.epochs={epochs}") == 0
    assert Run(tmp_path).read_history() == Run(reference).read_history()[:2]


def test_loss_of_several_correct_classes_uses_their_total_probability() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2]] * 3, np.float32)
    targets = np.array([[1, 0, 0], [0, 1, 1], [0.6, 0.4, 0]], np.float32)
    losses = np.asarray(Crossentropy().call(targets, probabilities))
    expected = -np.log([0.5, 0.5, 0.5**0.6 * 0.3**0.4])
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    smooth = np.asarray(Crossentropy(label_smoothing=0.3).call(targets[:1], probabilities[:1]))
    np.testing.assert_allclose(smooth, -(np.log([0.5, 0.3, 0.2]) @ [0.8, 0.1, 0.1]), rtol=1e-5)


def test_accuracy_accepts_any_of_several_correct_classes() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2]] * 4, np.float32)
    targets = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0.6, 0.4, 0]], np.float32)
    np.testing.assert_array_equal(accuracy(targets, probabilities), [1, 1, 0, 1])


def test_weight_decay_applies_only_to_kernels() -> None:
    model = build_network(Network(blocks=(Block(filters=2),), dense_units=4))
    variables = model.trainable_variables
    before = [np.asarray(variable) + 1 for variable in variables]
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    optimizer = build_optimizer(Fit(weight_decay=0.1), steps=10)
    optimizer.apply([np.zeros_like(value) for value in before], variables)
    decayed = {
        variable.name
        for variable, value in zip(variables, before, strict=True)
        if not np.array_equal(variable, value)
    }
    assert decayed == {"kernel"}
