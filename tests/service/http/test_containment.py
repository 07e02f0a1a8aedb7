"""Operations that no request may cause, recorded by Python's audit events."""

import base64
import json
import logging
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from PIL import Image

from service.capacity import memory
from service.settings import Settings
from tests.service.conftest import ARTIFACTS, Encode, serve

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
FORBIDDEN = {
    *("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"),
    *("pickle.find_class", "marshal.loads", "exec", "compile", "ctypes.dlopen"),
    *("subprocess.Popen", "os.exec", "os.system", "os.fork", "os.posix_spawn"),
    *("tempfile.mkstemp", "tempfile.mkdtemp", "os.mkdir", "os.rename", "os.remove", "os.symlink"),
}
NAME = "<script>evil.png"
URL = "http://127.0.0.1:9/image.png"

events: list[str] = []
_watched = threading.Event()


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if not _watched.is_set() or threading.current_thread() is threading.main_thread():
        return  # The client runs in the main thread.
    if event in FORBIDDEN:
        events.append(f"{event} {arguments!r}"[:200])
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        events.append(f"open {arguments[:2]!r}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """Record the forbidden operations of other threads inside the block."""
    if not events and not hasattr(_audit, "is_added"):
        sys.addaudithook(_audit)
        _audit.is_added = True  # type: ignore[attr-defined]  # an audit hook cannot be removed
    events.clear()
    _watched.set()
    try:
        yield events
    finally:
        _watched.clear()


class Exploit:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


@pytest.fixture(scope="module")
def own_client() -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "PAUSE_SECONDS", 0.01)  # So that memory is released meanwhile.
        with serve(Settings(artifacts=ARTIFACTS, engine="litert", poll_seconds=0)) as client:
            yield client


def test_audit_hook_records_forbidden_operations(tmp_path: object) -> None:
    def misbehave() -> None:
        with open(f"{tmp_path}/file", "w"):  # noqa: PTH123
            pass
        pickle.loads(pickle.dumps(Exploit()))  # noqa: S301

    with watched() as seen:
        thread = threading.Thread(target=misbehave)
        thread.start()
        thread.join()
    assert [event.split()[0] for event in seen[:2]] == ["open", "pickle.find_class"]
    assert any(event.startswith("os.system") for event in seen)


def test_no_request_writes_a_file_opens_a_connection_or_runs_code(
    own_client: httpx.Client,
    boot_png: bytes,
    encode: Encode,
    caplog: pytest.LogCaptureFixture,
) -> None:
    photograph = encode(Image.new("RGB", (900, 900), "white"), "JPEG")
    exploit = pickle.dumps(Exploit())
    text = base64.b64encode(exploit).decode()
    infer = "/v2/models/fashion_mnist/infer"
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    requests: list[tuple[str, dict[str, object]]] = [
        ("/predict", {"content": boot_png}),
        ("/predict", {"content": photograph}),
        ("/feature-maps?format=png", {"content": photograph}),
        ("/predict", {"files": [("files", (NAME, boot_png)), ("files", (NAME, photograph))]}),
        ("/predict", {"files": [("files", (NAME, b"no image"))]}),
        ("/predict", {"files": [("files", ("big.bmp", bytes(8_000_000)))]}),
        ("/predict", {"content": exploit}),
        ("/predict", {"content": b"\x93NUMPY" + exploit}),
        ("/predict", {"content": b"%!PS-Adobe-3.0 EPSF-3.0\n"}),
        ("/predict", {"content": f'<svg><image href="{URL}"/></svg>'.encode()}),
        ("/predict", {"json": {"instances": [{"url": URL}]}}),
        ("/predict", {"json": {"instances": [URL, {"b64": URL}, {"b64": text}]}}),
        ("/v1/models/fashion_mnist:predict", {"json": {"instances": [{"b64": text}]}}),
        (infer, {"json": {"inputs": [tensor]}}),
        (infer, {"json": {"inputs": [{**tensor, "parameters": {"url": URL}}]}}),
    ]
    for path, body in requests:  # Lazy imports read files once.
        own_client.post(path, **body)  # type: ignore[arg-type]
    answers = []
    with caplog.at_level(logging.DEBUG), watched() as seen:
        for path, body in requests:
            answers.append(own_client.post(path, **body))  # type: ignore[arg-type]
    assert seen == []
    assert [answer.status_code for answer in answers[:4]] == [200] * 4
    assert {answer.status_code for answer in answers[4:]} == {400}
    texts = json.dumps([answer.text for answer in answers]) + caplog.text
    assert "evil" not in texts
