"""Starts the service as users do, and observes its processes from outside."""

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STARTUP_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Server:
    """A running service: its port and the id of its main process."""

    port: int
    pid: int

    def resident_mib(self) -> float:
        """Return the resident memory of the main process, in MiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the kernel does not say how much memory is resident")


@contextmanager
def service(*options: str, processors: set[int] | None = None) -> Iterator[Server]:
    """Run the service with default settings, except for `options`, until the block ends.

    Args:
        options: Command-line options.
        processors: The processors it may use; by default those of this process.
    """
    port = free_port()
    command = [sys.executable, "-m", "service", f"--port={port}", "--log-level=error", *options]
    if processors:
        command = ["taskset", "--cpu-list", ",".join(map(str, processors)), *command]
    process = subprocess.Popen(command)
    try:
        wait_until_ready(port)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """Return a free port on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def wait_until_ready(port: int) -> None:
    """Wait until the service at this port is ready.

    Raises:
        TimeoutError: It is not ready after `STARTUP_SECONDS`.
    """
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.01)
    raise TimeoutError(f"the service is not ready after {STARTUP_SECONDS} s")
