"""Numbers of one worker, kept where the other workers can read them.

Prometheus' own client keeps them in files as well, but looks after a worker's end only if it is
told of it, which a killed worker cannot do. Here a worker holds a lock on its files for as long as
it lives: the kernel lets go of it however the process ends, so that who is alive is never in
doubt, and the worker that takes the dead one's place goes on with its numbers. Counters never
fall, and there are never more files than workers have been alive at once.

A number is written by storing a double in mapped memory, which costs nothing to speak of.
"""

import itertools
import mmap
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

Labels = tuple[str, ...]
Series = tuple[str, Labels]
"""The name of a metric and the values of its labels."""

_DOUBLE_BYTES = 8
_INITIAL_CAPACITY = 4096
_PID_SLOT = 0


@dataclass(frozen=True, slots=True)
class Shard:
    """What one worker counted.

    Attributes:
        worker: Its number, from 0.
        pid: Its process; 0 if it has ended.
        series: Its numbers: one of a counter or gauge, several of a histogram.
    """

    worker: int
    pid: int
    series: dict[Series, list[float]]


class Storage:
    """The numbers of this worker, and a view of all others'.

    Attributes:
        values: Every number of this worker. It is replaced when it grows.
        lock: Whoever changes a number holds it, and so does whoever calls `allocate`.
        worker: Which worker this is, from 0.
    """

    def __init__(self, directory: Path | None = None) -> None:
        """Take a place among the workers.

        Args:
            directory: Shared by all workers and nobody else; None if there is only this one.
        """
        self.lock = threading.Lock()
        self.worker = 0
        self._directory = directory
        self._slots: dict[Series, slice] = {}
        self._used = _PID_SLOT + 1
        self._keys: BinaryIO | None = None
        if directory is not None:
            self._keys = self._claim(directory)
        self.values = self._map(max(_INITIAL_CAPACITY, self._used))
        self.values[_PID_SLOT] = os.getpid()

    def allocate(self, name: str, labels: Labels, width: int) -> int:
        """Return where in `values` the numbers of a series begin; new ones are zero."""
        series = (name, labels)
        if series not in self._slots:
            start = self._used
            if start + width > len(self.values):
                self.values = self._map(2 * (start + width), bytes(self.values))
            self._add(series, width)
            if self._keys is not None:
                self._keys.write(orjson.dumps([name, labels, width]) + b"\n")
        first: int = self._slots[series].start
        return first

    def clear(self, name: str) -> None:
        """Set all numbers of a metric to zero: those of a gauge died with the worker before."""
        for (of, _), slots in self._slots.items():
            if of == name:
                for slot in range(slots.start, slots.stop):
                    self.values[slot] = 0

    def read(self) -> list[Shard]:
        """Return what every worker counted so far, this one's included."""
        with self.lock:
            own = Shard(self.worker, os.getpid(), _numbers(self._slots, self.values))
        if self._directory is None:
            return [own]
        paths = sorted(self._directory.glob("*.keys"))
        others = [_read_shard(path) for path in paths if int(path.stem) != self.worker]
        return sorted([own, *others], key=lambda shard: shard.worker)

    def close(self) -> None:
        """Leave the place to another worker."""
        with self.lock:
            if self._keys is not None:
                self._keys.close()
                self._keys = None

    def _claim(self, directory: Path) -> BinaryIO:
        """Lock the first place that no living worker has, and take up what is written there."""
        for worker in itertools.count():
            keys = (directory / f"{worker}.keys").open("a+b", buffering=0)
            if _lock(keys):
                break
            keys.close()
        self.worker = worker
        keys.seek(0)
        content = keys.read()
        # The last line may be half of one: its writer was killed.
        keys.truncate(content.rfind(b"\n") + 1)
        for series, width in _series(content):
            self._add(series, width)
        return keys

    def _add(self, series: Series, width: int) -> None:
        self._slots[series] = slice(self._used, self._used + width)
        self._used += width

    def _map(self, capacity: int, content: bytes = b"") -> "memoryview[float]":
        """Return room for so many numbers, with those there are; `content` if there is no file."""
        size = capacity * _DOUBLE_BYTES
        if self._directory is None:
            return memoryview(bytearray(content.ljust(size, b"\0"))).cast("d")
        with _values_path(self._directory, self.worker).open("ab") as file:
            file.truncate(max(size, file.tell()))
        with _values_path(self._directory, self.worker).open("r+b") as file:
            return memoryview(mmap.mmap(file.fileno(), 0)).cast("d")


def _values_path(directory: Path, worker: int) -> Path:
    return directory / f"{worker}.values"


def _lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed; return whether nobody else had."""
    import fcntl  # noqa: PLC0415 (not on Windows, where one worker does without)

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_shard(path: Path) -> Shard:
    with path.open("rb") as keys:
        alive = not _lock(keys)
        content = keys.read()
    worker = int(path.stem)
    try:
        numbers = _values_path(path.parent, worker).read_bytes()
    except FileNotFoundError:  # It is only just starting.
        return Shard(worker, 0, {})
    slots = {}
    used = _PID_SLOT + 1
    for series, width in _series(content):
        slots[series] = slice(used, used + width)
        used += width
    values: memoryview[float] = memoryview(numbers).cast("d")
    return Shard(worker, int(values[_PID_SLOT]) if alive else 0, _numbers(slots, values))


def _series(content: bytes) -> Iterable[tuple[Series, int]]:
    """Return each series and its width from the lines of a file, but for an unfinished last one."""
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        name, labels, width = orjson.loads(line)
        yield (name, tuple(labels)), width


def _numbers(slots: dict[Series, slice], values: "memoryview[float]") -> dict[Series, list[float]]:
    return {series: list(values[place]) for series, place in slots.items()}
