import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import IDX_FOLDER, TINY_DATA, Published
from training.__main__ import EXIT_FAILED, main
from training.data import load_fashion_mnist
from training.run import Run


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Ten "photographs": test images for what has a class, stripes for what has none."""
    data = load_fashion_mnist(IDX_FOLDER, allow_other_data=True)
    stripes = np.tile(np.array([0, 255], np.uint8), (2, 28, 14))
    path = tmp_path / "prepared.npz"
    np.savez(
        path,
        kinds=np.array(["clothes"] * 8 + ["stripes"] * 2),
        thumbnails=np.zeros((10, 12, 12, 3), np.uint8),
        pixels=np.concatenate([data.test_images[:8], stripes]),
        right_classes=np.concatenate(
            [np.eye(10, dtype=bool)[data.test_labels[:8]], np.zeros((2, 10), bool)]
        ),
    )
    return path


def test_photographs_are_scored_and_drawn_and_get_into_the_card(
    tiny: Published, prepared: Path, tmp_path: Path
) -> None:
    where = [*TINY_DATA, f"--run-dir={shutil.copytree(tiny.run_dir, tmp_path / 'run')}"]
    assert main(["evaluate", *where, f"--photographs={prepared}"]) == 0
    scores = Run(tmp_path / "run").read_evaluation()["photographs"]
    assert scores["images"] == 8
    assert scores["kinds"] == {"clothes": scores["macro_average"]}
    assert scores["without_a_class"]["kinds"] == ["stripes"]
    assert scores["without_a_class"]["images"] == 2
    assert 0 <= scores["without_a_class"]["auroc"] <= 1
    assert main(["export", *where, f"--artifacts={tmp_path / 'artifacts'}"]) == 0
    extras = tmp_path / "artifacts" / "1" / "assets.extra"
    card = (extras / "MODEL_CARD.md").read_text()
    assert "8 photographs taken at home" in card
    assert "| photographs of stripes | 2 |" in card
    assert (extras / "report" / "photographs.png").is_file()
    assert json.loads((extras / "manifest.json").read_text())["scores"]["photographs"] == scores


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text"])
def test_a_file_that_holds_no_photographs_is_one_sentence(
    tiny: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    file = tmp_path / "prepared.npz"
    file.write_bytes(content)
    arguments = [f"--run-dir={tiny.run_dir}", f"--photographs={file}"]
    assert main(["evaluate", *TINY_DATA, *arguments]) == EXIT_FAILED
    message = capsys.readouterr().err
    assert f"{file} cannot be read as prepared photographs" in message
    assert message.count("\n") == 1
