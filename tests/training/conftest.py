"""A tiny run on real images, made once by the commands themselves."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from training.__main__ import main
from training.config import ENVIRONMENT_PREFIX

IDX_FOLDER = Path(__file__).parents[1] / "data" / "idx"
TINY_DATA = ["--data-dir", str(IDX_FOLDER), "--allow-other-data"]
TINY_NETWORK = [
    '--network.blocks=[{"filters": 4}, {"filters": 8, "pooling": "average"}]',
    "--network.dense-units=16",
]
TEACHERS = [
    "--distillation.folds=2",
    "--distillation.views=2",
    "--distillation.teacher.width=1",
    "--distillation.teacher.fit.epochs=2",
    "--distillation.teacher.fit.batch-size=64",
]


class Published(NamedTuple):
    """A run that was fitted, evaluated and exported, and what it was exported to."""

    run_dir: Path
    artifacts: Path

    @property
    def version_dir(self) -> Path:
        return self.artifacts / "1"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("tiny")
    published = Published(folder / "run", folder / "artifacts" / "fashion_mnist")
    where = [*TINY_DATA, f"--run-dir={published.run_dir}"]
    assert main(["fit", *where, *TINY_NETWORK, "--fit.epochs=3"]) == 0
    assert main(["evaluate", *where]) == 0
    assert main(["export", *where, f"--artifacts={published.artifacts}"]) == 0
    return published
