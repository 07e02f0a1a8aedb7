"""What the proofs ask a service that runs, and how they say what they see."""

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

PICTURE = (ROOT / "tests/data/png/0000-ankle-boot.png").read_bytes()
CLIENTS = 4
PAUSE_SECONDS = 0.02
"""Between two requests of a client: a load to lose something of, not one to be slow under."""
REQUESTS_OF_A_LOAD = 200
TIMEOUT_SECONDS = 30
PATIENCE_SECONDS = 60


def ask(url: str, picture: bytes | None = None) -> tuple[int | str, bytes]:
    """Get, or post a picture: return the status and the answer, or what went wrong and nothing."""
    request = urllib.request.Request(url, picture, {"Content-Type": "image/png"})  # noqa: S310 (http)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (OSError, HTTPException) as error:
        return repr(error), b""


def asked(url: str, picture: bytes | None = None) -> Any:
    """Return an answer's JSON; end with a sentence if there is none."""
    status, answer = ask(url, picture)
    check(status == 200, f"{url}: {status} {answer.decode()}")
    return json.loads(answer)


def wait_for(what: str, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Return once the condition holds; end with a sentence if that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"in {seconds:.0f} s it did not come to pass: {what}")
        time.sleep(0.2)


@contextmanager
def losing_nothing(url: str) -> Iterator[None]:
    """Keep posting pictures, before, in and after the block; each must be answered."""
    statuses: list[int | str] = []
    over = threading.Event()

    def client() -> None:
        while not over.is_set():
            statuses.append(ask(f"{url}/predict", PICTURE)[0])
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
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def say(step: str) -> None:
    """Announce a step."""
    print(f"\n== {step}", flush=True)


def check(condition: bool, complaint: str) -> None:
    """End with a sentence unless the condition holds."""
    if not condition:
        sys.exit(f"FAILED: {complaint}")
