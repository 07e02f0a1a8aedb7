"""A Docker engine with its own storage, socket and network, separate from the machine's."""

import ctypes
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
START_SECONDS = 60


class DockerEngine:
    """A client of the engine at `host`, which commands read from DOCKER_HOST."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"

    def __call__(self, *arguments: str | Path, check: bool = True) -> str:
        """Run one command of the client and return its output."""
        command = ["docker", f"--host={self.host}", *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=check)
        return done.stdout.strip()

    def inspect(self, container: str) -> dict[str, Any]:
        """Return the output of `docker inspect` for a container."""
        known: list[dict[str, Any]] = json.loads(self("inspect", container))
        return known[0]


def enter_own_network() -> None:
    """Move this process to an empty network namespace, which ends with it.

    Published ports and firewall rules of the engine do not affect the machine.

    Raises:
        OSError: The process lacks the permission.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace of its own")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextmanager
def docker_engine(folder: Path) -> Iterator[DockerEngine]:
    """Run the engine until the block ends."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = DockerEngine(folder)
    options = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
    command = ["dockerd", f"--host={engine.host}", "--bridge=none"]
    command += [f"--{option}={folder / name}" for option, name in options.items()]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not engine("version", "--format={{.Server.Version}}", check=False):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no Docker engine; {folder / 'log'} says why")
            time.sleep(0.5)
        yield engine
    finally:
        process.terminate()
        process.wait()
