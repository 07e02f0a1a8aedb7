"""The requests and checks that the proofs share."""

import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

from deploy.proof.buildah import ROOT

IMAGE = (ROOT / "tests/data/png/0000-ankle-boot.png").read_bytes()
CLIENTS = 4
PAUSE_SECONDS = 0.02
"""Pause between two requests of a client: the load shows lost requests, not speed."""
REQUESTS_OF_A_LOAD = 200
TIMEOUT_SECONDS = 30
PATIENCE_SECONDS = 60


def ask(url: str, image: bytes | None = None) -> tuple[int | str, bytes]:
    """Get, or post an image; return status and body, or the error and an empty body."""
    request = urllib.request.Request(url, image, {"Content-Type": "image/png"})  # noqa: S310 (http)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (OSError, HTTPException) as error:
        return repr(error), b""


def asked(url: str, image: bytes | None = None) -> Any:
    """Return the JSON of a response; exit with a message if there is none."""
    status, answer = ask(url, image)
    check(status == 200, f"{url}: {status} {answer.decode()}")
    return json.loads(answer)


def wait_for(what: str, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition; exit with a message if that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"in {seconds:.0f} s it did not come to pass: {what}")
        time.sleep(0.2)


@contextmanager
def losing_nothing(url: str) -> Iterator[None]:
    """Post images continuously before, during and after the block; all must succeed."""
    statuses: list[int | str] = []
    over = threading.Event()

    def client() -> None:
        while not over.is_set():
            statuses.append(ask(f"{url}/predict", IMAGE)[0])
            time.sleep(PAUSE_SECONDS)

    def some_more() -> None:
        enough = len(statuses) + REQUESTS_OF_A_LOAD
        wait_for("answers", lambda: len(statuses) > enough)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        some_more()
        yield
        some_more()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    lost = [status for status in statuses if status != 200]
    print(f"{len(statuses)} requests, {len(lost)} of them lost {set(lost) or ''}")
    check(not lost, "requests were lost")


def free_port() -> int:
    """Return a free port on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def say(step: str) -> None:
    """Print a step."""
    print(f"\n== {step}", flush=True)


def check(condition: bool, complaint: str) -> None:
    """Exit with a message unless the condition holds."""
    if not condition:
        sys.exit(f"FAILED: {complaint}")
