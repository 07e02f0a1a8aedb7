"""A tiny run on real images, made once by the training commands."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from training.config import ENVIRONMENT_PREFIX

IDX_FOLDER = Path(__file__).parents[1] / "data" / "idx"
TINY_DATA = ["--data-dir", str(IDX_FOLDER), "--allow-other-data"]
TINY_NETWORK = [
    '--network.blocks=[{"filters": 4}, {"filters": 8, "pooling": "average"}]',
    "--network.dense-units=16",
]
TINY_FIT = [*TINY_NETWORK, "--fit.epochs=3"]


class Published(NamedTuple):
    """A run that was fitted, evaluated and exported, each in a separate process."""

    run_dir: Path
    printed: Path
    """JSON: the exit status, standard output and standard error of each of the three commands."""

    @property
    def artifacts(self) -> Path:
        return self.run_dir / "exported"

    @property
    def version_dir(self) -> Path:
        return self.artifacts / "1"


@pytest.fixture(autouse=True)
def _unset_environment_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        monkeypatch.delenv(name)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that the first process to need it creates while the others wait.

    pytest-xdist runs the tests in several processes, each with session fixtures of its own.
    """
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # left by a process that failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture
def unsaved_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the report without saving it, which takes most of the time of an evaluation."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - few tests need it

    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Published:
    def published(folder: Path) -> Published:
        return Published(folder / "run", folder / "printed.json")

    def make(folder: Path) -> None:
        made = published(folder)
        commands = {"fit": TINY_FIT, "evaluate": [], "export": []}
        printed = []
        for command, settings in commands.items():
            where = [f"--run-dir={made.run_dir}", *TINY_DATA]
            ended = subprocess.run(
                [sys.executable, "-m", "training", command, *where, *settings],
                capture_output=True,
                text=True,
                check=False,
            )
            printed.append([ended.returncode, ended.stdout, ended.stderr])
        made.printed.write_text(json.dumps(printed))

    return published(made_once(tmp_path_factory, "tiny", make))
