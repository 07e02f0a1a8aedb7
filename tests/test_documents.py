"""What the documents show is what happens."""

import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from service.errors import error_codes
from service.model.artifact import verify
from service.model.store import Directory
from tests.conftest import ROOT
from tests.service.conftest import ARTIFACTS, serve_process, unused_port, wait_until_ready

ADDRESS, GRPC_ADDRESS = "http://127.0.0.1:8000", "127.0.0.1:8001"
MAX_README_WORDS = 900

READMES = {"README.md", "README.ko.md"}
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")))
}

# A console block: commands behind "$ ", each followed by what it prints.
COMMAND = re.compile(r"^\$ (curl .*|printf .*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
PROGRAMS = {
    "python": (sys.executable, "example.py", "# "),
    "js": ("node", "example.mjs", "// "),
    "java": ("java", "Predict.java", "// "),
}


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the code of a language, each with the name of its document."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(name, code) for name, text in DOCUMENTS.items() for code in pattern.findall(text)]


EXAMPLES = {
    command: output for _, block in blocks("console") for command, output in COMMAND.findall(block)
}
CODE = [(language, name, code) for language in PROGRAMS for name, code in blocks(language)]


@pytest.fixture(scope="module")
def grpc_address() -> str:
    return f"127.0.0.1:{unused_port()}"


@pytest.fixture(scope="module")
def server(grpc_address: str) -> Iterator[str]:
    """The address of a service in a process of its own, as gRPC's clients need."""
    port, grpc_port = unused_port(), grpc_address.rpartition(":")[2]
    with (
        serve_process(f"--grpc-port={grpc_port}", port=port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        wait_until_ready(client)
        yield str(client.base_url).rstrip("/")


def test_each_readme_shows_how_to_ask_and_is_short() -> None:
    for name in READMES:
        assert len(DOCUMENTS[name].split()) <= MAX_README_WORDS
        assert {"python", "js"} <= {language for language, where, _ in CODE if where == name}


@pytest.mark.parametrize("command", EXAMPLES)
def test_a_command_prints_what_the_document_says(server: str, tmp_path: Path, command: str) -> None:
    assert ADDRESS in command
    output = EXAMPLES[command]
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
        assert not output or ran.stdout.strip() == output.strip()
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


@pytest.mark.parametrize(
    ("language", "code"),
    [(language, code) for language, _, code in CODE],
    ids=[f"{language}-{name}-{index}" for index, (language, name, _) in enumerate(CODE)],
)
def test_a_program_prints_what_its_comments_say(
    server: str, grpc_address: str, tmp_path: Path, language: str, code: str
) -> None:
    command, file, comment = PROGRAMS[language]
    if shutil.which(command) is None:
        pytest.skip(f"needs {command}")
    code = code.replace(ADDRESS, server).replace(GRPC_ADDRESS, grpc_address)
    (tmp_path / file).write_text(code)
    ran = subprocess.run(
        [command, tmp_path / file], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    printed = [
        line.split(comment, 1)[1]
        for line in code.splitlines()
        if re.search(r"print|console\.log", line)
    ]
    assert printed
    assert all(text in ran.stdout for text in printed), ran.stdout


def test_every_error_is_explained() -> None:
    rows = re.findall(r"^\| (`.*?) \| \d", DOCUMENTS["docs/errors.md"], re.MULTILINE)
    of_any_server = {"internal_error", "method_not_allowed", "not_found"}
    explained = {code for row in rows for code in re.findall(r"`(\w+)`", row)}
    assert explained == {*error_codes(), *of_any_server}


def test_the_image_of_feature_maps_is_what_the_service_draws(server: str, boot_png: bytes) -> None:
    shown = Image.open(ROOT / "docs/feature-maps.png").convert("RGB")
    response = httpx.post(f"{server}/feature-maps?format=png", content=boot_png)
    drawn = Image.open(io.BytesIO(response.content)).convert("RGB")
    assert shown.size == drawn.size
    difference = np.abs(np.asarray(shown, np.int16) - np.asarray(drawn, np.int16))
    assert difference.mean() < 1


def test_the_serve_command_serves(free_port: int) -> None:
    for name in READMES:
        assert "make serve" in DOCUMENTS[name]
    environment = {**os.environ, "FASHION_PORT": str(free_port)}
    with subprocess.Popen(
        ["make", "serve"], cwd=ROOT, env=environment, start_new_session=True
    ) as make:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client:
                wait_until_ready(client)
        finally:
            os.killpg(make.pid, 15)


def test_a_network_of_ones_own_is_published_and_served_by_two_commands(
    tmp_path: Path, free_port: int
) -> None:
    import keras  # noqa: PLC0415 (takes seconds, and only this test needs it)

    (commands,) = {code for name, code in blocks("sh") if name in READMES and "MODEL" in code}
    image = keras.Input((20, 20, 1))  # Another size than the data set's, so nothing is scored.
    answer = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(image))
    keras.Model(image, answer).save(tmp_path / "best-cnn-model.keras")
    commands = commands.replace("MODEL=", f"MODEL={tmp_path}/")
    publish, serve_it = commands.replace("exported/", f"{tmp_path}/exported/").splitlines()
    subprocess.run(["bash", "-c", publish], cwd=ROOT, check=True)
    environment = {**os.environ, "FASHION_PORT": str(free_port)}
    with subprocess.Popen(serve_it.split(), cwd=ROOT, env=environment) as service:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client:
                wait_until_ready(client)
                image = (ROOT / "tests/data/png/0000-ankle-boot.png").read_bytes()
                assert client.post("/predict", content=image).status_code == 200
        finally:
            service.terminate()


def test_every_relative_link_leads_somewhere() -> None:
    for name, text in DOCUMENTS.items():
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (ROOT / name).parent.joinpath(target).exists(), (name, target)


def test_every_make_target_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name, text in DOCUMENTS.items():
        assert set(re.findall(r"^make ([\w-]+)", text, re.MULTILINE)) <= targets, name


def test_the_published_figures_are_those_of_the_model() -> None:
    scores = verify(ARTIFACTS / str(Directory(ARTIFACTS).versions()[0])).manifest.scores
    for name in READMES:
        text = DOCUMENTS[name]
        assert f"{scores['test']['accuracy']:.1%}".replace("%", " %") in text, name
        assert f"{scores['photographs']['macro_average']:.1%}".replace("%", " %") in text, name
    int8 = scores["parity"]["int8"]
    for name in (*READMES, "docs/protocols.md"):
        assert f"{int8['label_agreement']:.1%}".replace("%", " %") in DOCUMENTS[name], name
    highest = math.ceil(100 * int8["max_probability_difference"]) / 100
    assert f"more than {highest:.2f}" in " ".join(DOCUMENTS["docs/protocols.md"].split())
