import shutil
from pathlib import Path

import pytest

from tests.training.conftest import IDX_FOLDER, TINY_DATA, TINY_FIT, Published
from training import TrainingError
from training.__main__ import EXIT_FAILED, main
from training.data import load_fashion_mnist
from training.recipe import Augmentation, Fit, Recipe
from training.run import Run, best_epoch, is_used_up, kept_epoch

ROWS = [{"loss": 1.0, "val_loss": value} for value in (0.9, 0.3, 0.1 + 0.2, 0.3, 0.5)]


def run_of(folder: Path, epochs: int) -> Run:
    """Return a run after so many epochs of `ROWS`, as Keras' CSVLogger writes them."""
    run = Run(folder)
    lines = [f"{epoch},{row['loss']},{row['val_loss']}" for epoch, row in enumerate(ROWS[:epochs])]
    run.history.write_text("\n".join(["epoch,loss,val_loss", *lines]) + "\n")
    return run


def test_history_is_read_exactly_and_truncated_on_resume(
    tmp_path: Path,
) -> None:
    assert Run(tmp_path).read_history() == []
    run = run_of(tmp_path, 5)
    assert run.read_history() == ROWS
    assert run.resume_after(2) == run.read_history() == ROWS[:2]
    assert run.resume_after(0) == []
    assert run.history.read_text() == ""


def test_best_epoch_is_the_first_with_the_lowest_validation_loss() -> None:
    assert best_epoch(ROWS) == 1
    assert kept_epoch(ROWS, Fit()) == 1
    assert kept_epoch(ROWS, Fit(keep="last")) == len(ROWS) - 1 != 1


def test_run_is_finished_once_used_up_and_marked_as_finished(
    tmp_path: Path,
) -> None:
    for epochs, most, patience, used_up in (
        (0, 9, 2, False),
        (3, 9, 2, False),
        (4, 9, 2, True),
        (2, 2, 9, True),
        (2, 3, 9, False),
    ):
        run, fit = run_of(tmp_path, epochs), Fit(epochs=most, patience=patience)
        assert is_used_up(run.read_history(), fit) is used_up
        assert not run.is_finished(fit)
        run.finish()
        assert run.is_finished(fit) is used_up
        run.discard()


def test_other_recipe_is_rejected_by_setting_except_for_more_epochs(
    tmp_path: Path,
) -> None:
    run, data = Run(tmp_path), load_fashion_mnist(IDX_FOLDER, allow_other_data=True)
    run.begin(Recipe(fit=Fit(seed=1)), data)
    run.begin(Recipe(), data)  # allowed, as no epoch is done yet
    run.last.touch()
    run.begin(Recipe(fit=Fit(epochs=21)), data)
    assert run.read_about()[0].fit.epochs == 21
    for recipe, words in (
        (Recipe(fit=Fit(epochs=20)), "fit.epochs is 21 there, 20 here"),
        (Recipe(fit=Fit(epochs=22, seed=1)), "configuration (fit.seed is 42 there, 1 here)"),
        (Recipe(augmentation=Augmentation(flip=True)), "augmentation.flip is False there, True"),
    ):
        with pytest.raises(TrainingError) as caught:
            run.begin(recipe, data)
        assert words in str(caught.value)
    cosine = Recipe(fit=Fit(schedule="cosine"))
    run.discard()
    run.begin(cosine, data)
    run.last.touch()
    with pytest.raises(TrainingError):  # More epochs would change the cosine schedule.
        run.begin(Recipe(fit=Fit(schedule="cosine", epochs=21)), data)


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_folder_without_a_run_is_reported(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *TINY_DATA, f"--run-dir={tmp_path}"]) == EXIT_FAILED
    assert f"{tmp_path} holds no run: `python -m training fit` makes one" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_unfinished_run_is_refused(
    tiny: Published, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = Run(Path(shutil.copytree(tiny.run_dir, tmp_path / "run")))
    unfinished.resume_after(1)
    assert main([command, *TINY_DATA, f"--run-dir={unfinished.folder}"]) == EXIT_FAILED
    assert "is not finished" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "evaluate", "export"])
def test_run_with_other_data_is_rejected(
    tiny: Published, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(IDX_FOLDER, tmp_path / "idx"))
    for kind in ("images-idx3", "labels-idx1"):
        shutil.copy(other / f"t10k-{kind}-ubyte.gz", other / f"train-{kind}-ubyte.gz")
    where = [f"--data-dir={other}", "--allow-other-data", f"--run-dir={tiny.run_dir}"]
    assert main([command, *where, *TINY_FIT * (command == "fit")]) == EXIT_FAILED
    assert "other data" in capsys.readouterr().err


def test_export_after_more_epochs_requires_another_evaluation(
    tiny: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [*TINY_DATA, f"--run-dir={shutil.copytree(tiny.run_dir, tmp_path / 'run')}"]
    assert main(["fit", *where, *TINY_FIT, "--fit.epochs=4"]) == 0
    assert main(["export", *where]) == EXIT_FAILED
    assert "run `python -m training evaluate --run-dir " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "evaluate", "export"])
def test_run_with_other_class_names_is_rejected(
    tiny: Published, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [*TINY_DATA, f"--run-dir={tiny.run_dir}", f"--classes={','.join('abcdefghij')}"]
    assert main([command, *where, *TINY_FIT * (command == "fit")]) == EXIT_FAILED
    assert "other data" in capsys.readouterr().err


def test_reading_scores_before_the_evaluation_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="run `python -m training evaluate --run-dir /"):
        Run(tmp_path).read_evaluation()
