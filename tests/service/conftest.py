"""The real application, with the shipped model, behind a real server on loopback."""

import io
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from numpy.typing import ArrayLike
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from service.model.artifact import FLATBUFFER, MANIFEST, Artifact, verify
from service.model.classifier import Classifier
from service.model.repository import load_engine
from service.model.store import Directory
from service.settings import EngineChoice, Settings
from tests.conftest import ROOT

ARTIFACTS = ROOT / "artifacts" / "fashion_mnist"
DEFAULT_VERSION = str(Directory(ARTIFACTS).versions()[0])
ENGINES: list[EngineChoice] = ["litert", "tensorflow"]
STARTUP_SECONDS = 60


@pytest.fixture(scope="session")
def artifact() -> Artifact:
    return verify(ARTIFACTS / DEFAULT_VERSION)


@pytest.fixture(scope="session", params=ENGINES)
def engine_choice(request: pytest.FixtureRequest) -> EngineChoice:
    choice: EngineChoice = request.param
    return choice


@pytest.fixture(scope="session")
def classifier(artifact: Artifact, engine_choice: EngineChoice) -> Classifier:
    return Classifier(artifact, load_engine(artifact, engine_choice))


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """A client of a server with default limits; `http/test_engines.py` compares the engines."""
    with serve(Settings(artifacts=ARTIFACTS, engine="litert")) as client:
        yield client


@pytest.fixture(scope="session")
def strict_client() -> Iterator[httpx.Client]:
    """A client of a server with low limits."""
    settings = Settings(
        artifacts=ARTIFACTS,
        engine="litert",
        max_body_bytes=200_000,
        max_pixels=10_000,
        max_images=3,
    )
    with serve(settings) as client:
        yield client


@contextmanager
def serve(
    settings: Settings, *, app: FastAPI | None = None, wait: bool = True
) -> Iterator[httpx.Client]:
    """Serve in a thread of this process, where coverage sees it, until the block ends."""
    from service.app import create_app  # noqa: PLC0415 (most tests of this folder need no server)
    from service.http.protocol import ServiceProtocol  # noqa: PLC0415

    listener = socket.create_server(("127.0.0.1", 0))
    app = app or create_app(settings)
    config = uvicorn.Config(app, log_config=None, ws="none", http=ServiceProtocol)
    # uvicorn's default is the 5 s of httpx: both would close a connection at the same time.
    config.timeout_keep_alive = settings.keep_alive_seconds
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if wait:
            with httpx.Client(base_url=url) as waiting:  # So that its connection is closed.
                wait_until_ready(waiting)
        with httpx.Client(base_url=url, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def wait_until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail(f"not ready within {STARTUP_SECONDS} seconds")


@contextmanager
def serve_process(*arguments: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """Run `python -m service` until the block ends."""
    process = subprocess.Popen(
        service_command(*arguments, "--port", str(port)),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=STARTUP_SECONDS)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = []
    for pid in children:
        with suppress(FileNotFoundError, ProcessLookupError):  # It has ended meanwhile.
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                workers.append(int(pid))
    return workers


def unused_port() -> int:
    """Return a free port of loopback outside of the ephemeral range.

    One of the tests' many outgoing connections could take an ephemeral port before the service.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def run_service(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m service` until it exits."""
    return subprocess.run(
        service_command(*arguments),
        cwd=ROOT,
        env={**os.environ, "FASHION_PORT": str(unused_port()), **environment},
        capture_output=True,
        text=True,
        timeout=STARTUP_SECONDS,
        check=False,
    )


def service_command(*arguments: str) -> Sequence[str]:
    return [sys.executable, "-m", "service", *arguments]


@pytest.fixture
def copied_artifacts(tmp_path: Path) -> Path:
    """A copy of the default model as version 1, which a test may modify."""
    copy = tmp_path / "fashion_mnist"
    copy_default(copy, 1)
    return copy


def copy_default(root: Path, version: int) -> None:
    """Copy the default model into `root` as this version."""
    shutil.copytree(ARTIFACTS / DEFAULT_VERSION, root / str(version))
    edit_manifest(root / str(version), lambda manifest: manifest.update(version=version))


def edit_manifest(version: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = version / MANIFEST
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def publish(root: Path, version: int, *, good: bool = True) -> None:
    """Publish a copy of the lowest version as training does: written elsewhere, then renamed.

    Unless it is `good`, one of its files does not match its manifest.
    """
    source = root / str(Directory(root).versions()[-1])
    aside = root / f".{version}.tmp"
    shutil.copytree(source, aside)
    edit_manifest(aside, lambda manifest: manifest.update(version=version))
    if not good:
        (aside / FLATBUFFER).write_bytes(b"")
    aside.rename(root / str(version))


def withdraw(root: Path, version: int) -> None:
    """Remove a version atomically, by renaming it first."""
    aside = root / f".{version}.old"
    (root / str(version)).rename(aside)
    shutil.rmtree(aside)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


def samples_of(exposition: str) -> dict[str, float]:
    """Parse metrics with Prometheus' own client: the value of each `name{label="value",…}`."""
    samples = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """A function that encodes an array or a Pillow image, with Pillow's own options."""

    def encode_image(
        source: ArrayLike | Image.Image, file_format: str = "PNG", **options: object
    ) -> bytes:
        image = source if isinstance(source, Image.Image) else Image.fromarray(source)  # type: ignore[arg-type]  # Pillow's own annotation asks for less than it checks
        buffer = io.BytesIO()
        image.save(buffer, file_format, **options)
        return buffer.getvalue()

    return encode_image
