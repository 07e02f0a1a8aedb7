"""What the README shows is what happens."""

import io
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from service.model.artifact import published_versions, verify
from service.settings import Settings
from tests.conftest import ROOT
from tests.service.conftest import ARTIFACTS, serve, wait_until_ready

README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8000"

# A console block: commands behind "$ ", each followed by what it prints.
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*(?:\\\n.*)*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)

EXAMPLES = [
    (command, output)
    for block in CONSOLE.findall(README)
    for command, output in COMMAND.findall(block)
    if command.startswith("curl ")
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve(Settings(artifacts=ARTIFACTS)) as client:
        yield str(client.base_url).rstrip("/")


def test_the_readme_shows_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize(("command", "output"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_an_example_prints_what_the_readme_says(
    server: str, tmp_path: Path, command: str, output: str
) -> None:
    assert ADDRESS in command
    # Files it reads are named from the root of the repository, files it writes stay out of it.
    command = re.sub(r"-o (\S+\.png)", lambda match: f"-o {tmp_path / match[1]}", command)
    ran = subprocess.run(
        ["bash", "-c", command.replace(ADDRESS, server)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    if output.startswith("{"):
        assert close(json.loads(output), json.loads(ran.stdout))
    else:
        assert ran.stdout.strip() == output.strip()
    for written in tmp_path.iterdir():
        Image.open(written).verify()


def close(expected: object, actual: object) -> bool:
    """Whether two JSON documents are the same but for the last digits of numbers."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(
            close(expected[k], actual[k]) for k in actual
        )
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(close, expected, actual))
    if isinstance(expected, float) or isinstance(actual, float):
        return actual == pytest.approx(expected, abs=1e-4)
    return expected == actual


def test_the_picture_of_feature_maps_is_what_the_service_draws(
    server: str, boot_png: bytes
) -> None:
    [path] = re.findall(r"!\[[^]]*\]\((docs/feature-maps\S*\.png)\)", README)
    shown = Image.open(ROOT / path).convert("RGB")
    response = httpx.post(f"{server}/feature-maps?format=png", content=boot_png)
    drawn = Image.open(io.BytesIO(response.content)).convert("RGB")
    assert shown.size == drawn.size
    difference = np.abs(np.asarray(shown, np.int16) - np.asarray(drawn, np.int16))
    assert difference.mean() < 1


def test_the_serve_command_serves(free_port: int) -> None:
    assert "make serve" in README
    environment = {**os.environ, "FASHION_PORT": str(free_port)}
    with subprocess.Popen(
        ["make", "serve"], cwd=ROOT, env=environment, start_new_session=True
    ) as make:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client:
                wait_until_ready(client)
        finally:
            os.killpg(make.pid, 15)


def test_every_relative_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_every_setting_of_the_service_is_in_the_table() -> None:
    for name in Settings.model_fields:
        assert f"`--{name.replace('_', '-')}`" in README, name


def test_the_published_figures_are_those_of_the_default_model() -> None:
    newest = ARTIFACTS / str(published_versions(ARTIFACTS)[0])
    scores = verify(newest).manifest.scores
    text = " ".join(README.split())
    assert f"right on {scores['test']['accuracy']:.2%}".replace("%", " %") in text
    assert f"calibration error of {scores['calibration']['expected_calibration_error']:.3f}" in text
    photographs = scores["photographs"]
    assert f"On {photographs['images']} photographs" in text
    assert f"right on {photographs['macro_average']:.1%}".replace("%", " %") in text
    assert f"calibration error of {photographs['expected_calibration_error']:.3f}" in text
    *images, of_photographs = [
        f"{row['auroc']:.3f}" for row in scores["novelty"]["outliers"].values()
    ]
    assert f"an area under the ROC curve of {', '.join(images[:-1])} and {images[-1]}" in text
    assert f"from those of no class with {of_photographs}" in text
