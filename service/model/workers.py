"""Has all workers of a service load and unload the model, whichever of them is told to."""

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Literal

from service.errors import ArtifactError, DeadlineExceeded
from service.model.repository import Repository

FOLLOW_SECONDS = 0.2
"""Between two looks for an order; it is a question to the file system, answered in microseconds."""

_ORDERS = "orders"

Order = Literal["load", "unload"]


class Workers:
    """Gives orders to the other workers, by a file that is replaced, and follows theirs.

    Its methods take their time and belong in a thread.

    Args:
        repository: Of this worker.
        directory: Where the workers of one service meet; None for a lone worker.
    """

    def __init__(self, repository: Repository, directory: Path | None = None) -> None:
        self._repository = repository
        self._directory = directory
        self._seen: tuple[int, int] | None = None

    def load(self, seconds: float) -> None:
        """Load the model in every worker, or have each look for new versions.

        Args:
            seconds: How long the others may take.

        Raises:
            ArtifactError: There is nothing to serve.
            DeadlineExceeded: Not all of them serve the same after that time.
        """
        self._tell("load")
        self._repository.load()
        self._wait(seconds)

    def unload(self, seconds: float) -> None:
        """Have every worker serve nothing until `load`; so does one that starts meanwhile.

        Raises:
            DeadlineExceeded: Not all of them have followed in so many seconds.
        """
        self._tell("unload")
        self._repository.unload()
        self._wait(seconds)

    def follow(self) -> None:
        """Do what the last order says, unless that was done."""
        order = self._new_order()
        if order == "unload":
            self._repository.unload()
        elif order == "load":
            with contextlib.suppress(ArtifactError):  # It is logged where it is found.
                self._repository.load()

    def _tell(self, order: Order) -> None:
        if self._directory is None:
            return
        with tempfile.NamedTemporaryFile("w", dir=self._directory, delete=False) as file:
            file.write(order)
        Path(file.name).replace(self._directory / _ORDERS)

    def _new_order(self) -> str:
        """Return the last order if this worker has not seen it, or nothing."""
        if self._directory is None:
            return ""
        try:
            with (self._directory / _ORDERS).open() as file:
                stat = os.fstat(file.fileno())
                identity = (stat.st_ino, stat.st_mtime_ns)
                if identity == self._seen:
                    return ""
                self._seen = identity
                return file.read()
        except FileNotFoundError:
            return ""

    def _wait(self, seconds: float) -> None:
        """Return when every living worker serves what this one does."""
        deadline = time.monotonic() + seconds
        while any(
            versions != set(self._repository.serving)
            for versions in self._repository.metrics.versions_of_workers()
        ):
            if time.monotonic() > deadline:
                raise DeadlineExceeded("not every worker has followed yet")
            time.sleep(FOLLOW_SECONDS / 4)
