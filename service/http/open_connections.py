"""How many connections each worker has open, where every worker can see it."""

import mmap
import time
from pathlib import Path

OPEN_CONNECTIONS = "open_connections"
"""Under which the application's lifespan hands it to the server's connections."""

_FILE = "connections"
_COUNT_BYTES = 4
_MOST_WORKERS = 128
"""Twice as many as may be set: those that end are still there while others take their place."""

_FREE_SHARE = 8
"""One connection in so many, more than the others have, is not too many."""

BRIEF_SECONDS = 0.05
"""A connection that was not open for longer carried one request. Those that come next will do so as
well: they spread by themselves, and would be kept waiting for nothing."""


class OpenConnections:
    """This worker's connections and those of the others.

    A worker that was killed seems to have those it had until another takes its place.

    Args:
        directory: Shared by all workers and nobody else.
        worker: Which of them this is, from 0.
    """

    def __init__(self, directory: Path, worker: int) -> None:
        path = directory / _FILE
        with path.open("ab") as file:
            file.truncate(_MOST_WORKERS * _COUNT_BYTES)
        with path.open("r+b") as file:
            # One more than there are, so that a worker that takes none has 0.
            self._counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("I")
        self._worker = worker % _MOST_WORKERS
        self._served = self._accepted = 0
        self._brief_until = 0.0
        self._is_closed = False
        self._counts[self._worker] = 0

    def serve(self, count: int) -> None:
        """Say how many this worker has; from the first time on, others leave it its share."""
        self._served = count
        self._tell()

    def lose(self, seconds: float) -> None:
        """Say that one is closed that was open for so long."""
        if seconds < BRIEF_SECONDS:
            self._brief_until = time.monotonic() + BRIEF_SECONDS

    def accept(self, count: int) -> None:
        """Say how many more it has accepted that are not open yet: TLS takes its time."""
        self._accepted = count
        self._tell()

    def close(self) -> None:
        """Say that this worker takes no more, whatever it still has."""
        self._is_closed = True
        self._counts[self._worker] = 0

    def are_more_than_others(self) -> bool:
        """Say whether another worker should take the next connection."""
        if time.monotonic() < self._brief_until:
            return False
        own = self._counts[self._worker]
        most = own - own // _FREE_SHARE
        return any(0 < count < most for count in self._counts)

    def _tell(self) -> None:
        if not self._is_closed:
            self._counts[self._worker] = 1 + self._served + self._accepted
