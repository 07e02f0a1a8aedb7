"""The code of the lesson notebook runs unchanged on a slice of the data set."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.model.repository import load_classifier
from tests.conftest import DATA, ROOT
from tests.training.conftest import TINY_DATA
from training.__main__ import main

NOTEBOOK = ROOT / "docs" / "lesson.ipynb"
MAX_BYTES = 200_000
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text())["cells"]
CODE_CELLS = [cell for cell in CELLS if cell["cell_type"] == "code"]
CODE = ["".join(cell["source"]) for cell in CODE_CELLS]
MINUTE = 60


@contextmanager
def run_program(folder: Path, program: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program in the `docs` folder of a directory with only the packages and the data."""
    for package in ("service", "training"):
        (folder / package).symlink_to(ROOT / package)
    data = folder / "keras" / "datasets" / "fashion-mnist"
    data.parent.mkdir(parents=True)
    data.symlink_to(DATA / "idx")
    (folder / "docs").mkdir()
    (folder / "docs" / "lesson.py").write_text(program)
    environment = {
        "KERAS_HOME": str(folder / "keras"),
        "FASHION_TRAINING_DATA_DIR": str(data),
        "FASHION_TRAINING_ALLOW_OTHER_DATA": "true",
        "MPLBACKEND": "agg",
    }
    process = subprocess.Popen(
        [sys.executable, "lesson.py"],
        cwd=folder / "docs",
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # also ends a service left by a failed program
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.thorough
def test_notebook_code_runs_and_both_saved_formats_publish_the_same_model(
    tmp_path: Path, free_port: int
) -> None:
    with run_program(tmp_path, "\n\n".join(CODE).replace("8000", str(free_port))) as process:
        printed, stderr = process.communicate(timeout=5 * MINUTE)
        assert process.returncode == 0, stderr
    assert "1 × (-1) + 1 × (0) + 2 × (1) = 1\n" in printed
    [answer] = re.findall(r'^\{"model":.*', printed, re.MULTILINE)
    assert json.loads(answer)["predictions"][0]["label"] in printed
    saved = tmp_path / "runs" / "lesson"
    exported = tmp_path / "exported"
    assert main(["publish", str(saved / "saved_model"), *TINY_DATA, f"--artifacts={exported}"]) == 0
    images = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    of_file, of_folder = (
        load_classifier(version, "litert").feature_maps(images)
        for version in (saved / "exported" / "fashion_mnist" / "1", exported / "1")
    )
    for name in ("conv2d", "max_pooling2d", "conv2d_1", "max_pooling2d_1", "dense", "dense_1"):
        assert np.allclose(of_file[name], of_folder[name], atol=1e-5)


def test_starting_the_service_fails_if_the_port_is_taken(tmp_path: Path) -> None:
    [start] = [source for source in CODE if "Popen" in source]
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with run_program(tmp_path, f"{CODE[0]}\n\n{start}".replace("8000", port)) as process:
            _, stderr = process.communicate(timeout=MINUTE)
    assert f"port {port} is taken: stop the other service" in stderr


def test_every_drawing_cell_has_a_saved_png_output() -> None:
    drawing = [
        cell
        for cell, source in zip(CODE_CELLS, CODE, strict=True)
        if re.search(r"^(draw\(|plt\.show)", source, re.MULTILINE)
    ]
    assert len(drawing) >= 10
    for cell in drawing:
        assert "image/png" in [
            kind for output in cell["outputs"] for kind in output.get("data", ())
        ]


def test_notebook_is_small_fully_executed_and_contains_no_local_path() -> None:
    text = NOTEBOOK.read_text()
    assert len(text.encode()) < MAX_BYTES
    assert not re.search(r"/(home|root|tmp|usr|work)/", text)
    outputs = [output for cell in CODE_CELLS for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data"}
    counts = [cell["execution_count"] for cell in CODE_CELLS]
    assert counts == list(range(1, len(counts) + 1))


def test_headings_are_in_english_and_korean() -> None:
    prose = "\n".join("".join(cell["source"]) for cell in CELLS if cell not in CODE_CELLS)
    headings = re.findall(r"^#+ .*", prose, re.MULTILINE)
    assert len(headings) == 15
    for heading in headings:
        english, _, korean = heading.partition(" · ")
        assert re.search("[a-z]{3}", english)
        assert re.search("[가-힣]", korean)
