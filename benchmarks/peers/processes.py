"""Starts a contender, waits for its first response, measures its memory and stops it."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.contenders import Contender, Request
from benchmarks.peers.environments import ROOT
from benchmarks.process_tree import cpu_seconds, process_tree, proportional_mib

STARTUP_SECONDS = 120
STOP_SECONDS = 20
_PORTS_PER_SERVER = 3


class DoesNotRunError(RuntimeError):
    """A contender does not respond on this machine."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running contender.

    Attributes:
        port: Port on loopback.
        pid: Id of the started process.
        first_answer_seconds: From the start of the process to its first prediction.
    """

    port: int
    pid: int
    first_answer_seconds: float

    def proportional_mib(self) -> float:
        """Return the PSS of the process and its descendants: shared pages count in proportion."""
        return proportional_mib(self.pid)

    def cpu_seconds(self) -> float:
        """Return the CPU time of the process and its descendants."""
        return cpu_seconds(self.pid)


@contextmanager
def running(contender: Contender, settings: Mapping[str, str], log: Path) -> Iterator[Running]:
    """Run a contender until the block ends; its output goes to `log`.

    Args:
        contender: The contender to start.
        settings: Environment variables.
        log: Overwritten.

    Raises:
        DoesNotRunError: It did not respond in time.
    """
    port = _free_port()
    arguments = contender.arguments(port)
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            _wait_for_answer(process, port, next(iter(contender.requests.values())), log)
            yield Running(port, process.pid, time.perf_counter() - start)
        finally:
            _stop(process)


def _free_port() -> int:
    """Return a free port with free neighbours, for servers that need several."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
            try:
                for offset in range(1, _PORTS_PER_SERVER):
                    socket.create_server(("127.0.0.1", port + offset)).close()
            except (OSError, OverflowError):
                continue
        return port


def _wait_for_answer(
    process: "subprocess.Popen[bytes]", port: int, request: Request, log: Path
) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    status = 0
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STARTUP_SECONDS)
        try:
            headers = {"Content-Type": request.media_type}
            connection.request("POST", request.path, request.body, headers)
            status = connection.getresponse().status
            if status == http.client.OK:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.01)
    raise DoesNotRunError(f"no answer (last status {status or 'none'}); see {log.name}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    pids = process_tree(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for pid in pids:  # Processes that outlive their parent.
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
