import shutil
from pathlib import Path

import pytest

from tests.training.conftest import IDX_FOLDER, TINY_DATA, Published
from training.__main__ import EXIT_FAILED, main
from training.errors import RunError
from training.recipe import Fit
from training.run import Run, best_epoch, epochs_waited, kept_epoch

ROWS = [{"loss": 1.0, "val_loss": value} for value in (0.9, 0.3, 0.1 + 0.2, 0.3, 0.5)]


def run_of(folder: Path, epochs: int) -> Run:
    """Return a run after so many epochs of `ROWS`, with something kept of it."""
    run = Run(folder)
    if epochs:
        run.write_history(ROWS[:epochs])
    run.checkpoint.touch()
    return run


def test_the_history_is_read_as_exactly_as_it_was_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.read_history() == []
    run.write_history(ROWS)
    assert run.read_history() == ROWS
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,val_loss"
    assert lines[1] == "1,1.0,0.9"


def test_the_best_epoch_is_the_first_of_the_lowest_validation_loss() -> None:
    assert best_epoch(ROWS) == 1
    assert kept_epoch(ROWS, Fit()) == 1
    assert kept_epoch(ROWS, Fit(keep="last")) == len(ROWS) - 1 != 1
    assert epochs_waited(ROWS) == 3


@pytest.mark.parametrize(
    ("epochs_so_far", "finished"), [(0, False), (1, False), (3, False), (4, True), (5, True)]
)
def test_a_run_is_finished_when_patience_is(
    tmp_path: Path, epochs_so_far: int, finished: bool
) -> None:
    run = run_of(tmp_path, epochs_so_far)
    assert run.is_finished(Fit(epochs=9, patience=2)) is finished


def test_a_run_is_finished_when_its_epochs_are_used_up_and_its_weights_kept(tmp_path: Path) -> None:
    run = run_of(tmp_path, 2)
    assert run.is_finished(Fit(epochs=2, patience=9))
    assert not run.is_finished(Fit(epochs=3, patience=9))
    run.checkpoint.unlink()
    assert not run.is_finished(Fit(epochs=2, patience=9))


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_a_folder_without_a_run_is_one_sentence(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *TINY_DATA, f"--run-dir={tmp_path}"]) == EXIT_FAILED
    assert f"{tmp_path} holds no run: `python -m training fit` makes one" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_an_unfinished_run_is_refused(
    tiny: Published, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = Run(Path(shutil.copytree(tiny.run_dir, tmp_path / "run")))
    unfinished.write_history(unfinished.read_history()[:1])
    assert main([command, *TINY_DATA, f"--run-dir={unfinished.folder}"]) == EXIT_FAILED
    assert "is not finished" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "evaluate", "export"])
def test_a_run_is_not_continued_with_other_data(
    tiny: Published, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(IDX_FOLDER, tmp_path / "idx"))
    for kind in ("images-idx3", "labels-idx1"):
        shutil.copy(other / f"t10k-{kind}-ubyte.gz", other / f"train-{kind}-ubyte.gz")
    where = [f"--data-dir={other}", "--allow-other-data", f"--run-dir={tiny.run_dir}"]
    assert main([command, *where]) == EXIT_FAILED
    assert "other data" in capsys.readouterr().err


def test_scores_are_asked_for_only_after_the_evaluation(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="run `python -m training evaluate` first"):
        Run(tmp_path).read_evaluation()
