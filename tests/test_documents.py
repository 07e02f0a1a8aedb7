"""Commands, programs, error codes, links and scores in the documents are correct."""

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

# In a console block, each command follows "$ " and is followed by its output.
COMMAND = re.compile(r"^\$ (curl .*|printf .*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
PROGRAMS = {
    "python": (sys.executable, "example.py", "# "),
    "js": ("node", "example.mjs", "// "),
    "java": ("java", "Predict.java", "// "),
}


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the code blocks in a language, each with the name of its document."""
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
    """The URL of a service in a separate process, which gRPC clients require."""
    port, grpc_port = unused_port(), grpc_address.rpartition(":")[2]
    with (
        serve_process(f"--grpc-port={grpc_port}", port=port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        wait_until_ready(client)
        yield str(client.base_url).rstrip("/")


def test_each_readme_is_short_and_has_python_and_javascript_examples() -> None:
    for name in READMES:
        assert len(DOCUMENTS[name].split()) <= MAX_README_WORDS
        assert {"python", "js"} <= {language for language, where, _ in CODE if where == name}


@pytest.mark.parametrize("command", EXAMPLES)
def test_console_command_prints_the_documented_output(
    server: str, tmp_path: Path, command: str
) -> None:
    assert ADDRESS in command
    output = EXAMPLES[command]
    # Input paths are relative to the repository; output files go to a temporary folder.
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
        assert is_close(json.loads(output), json.loads(ran.stdout))
    else:
        assert not output or ran.stdout.strip() == output.strip()
    for written in tmp_path.iterdir():
        Image.open(written).verify()


def is_close(expected: object, actual: object) -> bool:
    """Return whether two JSON documents are equal except for the last digits of numbers."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(
            is_close(expected[k], actual[k]) for k in actual
        )
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(is_close, expected, actual))
    if isinstance(expected, float) or isinstance(actual, float):
        return actual == pytest.approx(expected, abs=1e-4)
    return expected == actual


@pytest.mark.parametrize(
    ("language", "code"),
    [(language, code) for language, _, code in CODE],
    ids=[f"{language}-{name}-{index}" for index, (language, name, _) in enumerate(CODE)],
)
def test_example_program_prints_the_output_in_its_comments(
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


def test_every_error_code_is_documented() -> None:
    rows = re.findall(r"^\| (`.*?) \| \d", DOCUMENTS["docs/errors.md"], re.MULTILINE)
    of_any_server = {"internal_error", "method_not_allowed", "not_found"}
    explained = {code for row in rows for code in re.findall(r"`(\w+)`", row)}
    assert explained == {*error_codes(), *of_any_server}


def test_documented_feature_map_image_matches_the_rendered_one(
    server: str, boot_png: bytes
) -> None:
    shown = Image.open(ROOT / "docs/feature-maps.png").convert("RGB")
    response = httpx.post(f"{server}/feature-maps?format=png", content=boot_png)
    drawn = Image.open(io.BytesIO(response.content)).convert("RGB")
    assert shown.size == drawn.size
    difference = np.abs(np.asarray(shown, np.int16) - np.asarray(drawn, np.int16))
    assert difference.mean() < 1


def test_make_serve_starts_the_service(free_port: int) -> None:
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


def test_readme_commands_publish_and_serve_a_custom_network(tmp_path: Path, free_port: int) -> None:
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


def test_relative_links_point_to_existing_files() -> None:
    for name, text in DOCUMENTS.items():
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (ROOT / name).parent.joinpath(target).exists(), (name, target)


def test_documented_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name, text in DOCUMENTS.items():
        assert set(re.findall(r"^make ([\w-]+)", text, re.MULTILINE)) <= targets, name


def test_documented_scores_match_the_manifest() -> None:
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
