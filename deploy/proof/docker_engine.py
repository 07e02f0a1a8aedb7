"""A Docker engine of its own: with a storage, a socket and a network that nothing else sees."""

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
    """What is asked of the engine at `host`, which commands find as DOCKER_HOST."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"

    def __call__(self, *arguments: str | Path, check: bool = True) -> str:
        """Run one command of the client and return what it prints."""
        command = ["docker", f"--host={self.host}", *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=check)
        return done.stdout.strip()

    def inspect(self, container: str) -> dict[str, Any]:
        """Return all that the engine knows of a container."""
        known: list[dict[str, Any]] = json.loads(self("inspect", container))
        return known[0]


def enter_own_network() -> None:
    """Leave the machine's network for an empty one, which ends with this process.

    Whatever ports the containers publish and whatever rules the engine sets, the machine's stay as
    they are.

    Raises:
        OSError: The process may not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace of its own")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextmanager
def docker_engine(folder: Path) -> Iterator[DockerEngine]:
    """Run the engine for the length of a `with` block."""
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
