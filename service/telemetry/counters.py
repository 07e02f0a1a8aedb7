"""The values of one worker's metrics, in memory-mapped files that all workers read.

A worker locks its files while it lives. The kernel releases the lock however the process ends, and
the next worker continues with the files, so counters survive a crash and there are never more files
than workers alive at once. `prometheus_client` keeps the files of every process that ever ran.
"""

import contextlib
import itertools
import mmap
import os
import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

Labels = tuple[str | int, ...]

Series = tuple[str, Labels]  # The name of a metric, and labels.
_Layout = dict[Series, slice]  # Where the values are.

_DOUBLE_BYTES = 8
_FILE_BYTES = 2**25  # Takes memory only where values are: every series of some 2000 versions.
_PID_SLOT = 0


class Shard(NamedTuple):
    """The values of one worker."""

    worker: int
    pid: int  # 0 if the process has ended.
    series: dict[Series, list[float]]  # A histogram's have several values.


class Storage:
    """The values of this worker, which change under `lock`, and read access to those of others."""

    def __init__(self, directory: Path | None = None) -> None:
        """Claim files in the directory that the workers share; None keeps the values in memory."""
        self.lock = threading.Lock()
        self.worker = 0
        self._directory = directory
        self.layout: _Layout = {}
        self._keys: BinaryIO | None = None
        if directory is None:
            mapped = mmap.mmap(-1, _FILE_BYTES)
        else:
            self._keys = self._claim(directory)
            with (directory / f"{self.worker}.values").open("a+b") as file:
                file.truncate(_FILE_BYTES)
                mapped = mmap.mmap(file.fileno(), _FILE_BYTES)
        self._used = _end(self.layout)
        self.values = memoryview(mapped).cast("d")
        self.values[_PID_SLOT] = os.getpid()

    def allocate(self, name: str, labels: Labels, width: int) -> int:
        """Return the first slot of a new series, whose values are zero."""
        start = self._used
        self._used += width
        self.layout[name, labels] = slice(start, self._used)
        if self._keys is not None:
            self._keys.write(orjson.dumps([name, labels, start, self._used]) + b"\n")
        return start

    def read(self) -> list[Shard]:
        """Return the values of every worker, this one included."""
        with self.lock:
            shards = [Shard(self.worker, os.getpid(), _series(self.layout, self.values))]
        if self._directory is not None:
            paths = self._directory.glob("*.keys")
            shards += [_read_shard(path) for path in paths if int(path.stem) != self.worker]
        return sorted(shards)

    def close(self) -> None:
        """Release the files for another worker."""
        with self.lock:
            if self._keys is not None:
                self._keys.close()
                self._keys = None

    def _claim(self, directory: Path) -> BinaryIO:
        """Lock the first files that no living worker has, and continue their series."""
        for self.worker in itertools.count():
            keys = (directory / f"{self.worker}.keys").open("a+b", buffering=0)
            if _lock(keys):
                break
            keys.close()
        keys.seek(0)
        content = keys.read()
        keys.truncate(content.rfind(b"\n") + 1)
        self.layout = _parse_layout(content)
        return keys


@dataclass(eq=False)
class Metric:
    """Series of values, one for each combination of labels. Callers hold the storage's lock.

    A gauge ends with its worker; the values of other kinds continue.
    """

    storage: Storage
    name: str
    description: str = ""
    labels: Sequence[str] = ()
    bounds: Sequence[float] = ()  # Of a histogram's buckets, rising; one more bucket has no bound.
    _: KW_ONLY
    kind: str = "counter"
    width: int = 1  # Values of one series.

    def __post_init__(self) -> None:
        if self.kind == "histogram":
            self.width = len(self.bounds) + 2  # The last value is the sum.
        self.slots: dict[Labels, int] = {
            labels: place.start
            for (name, labels), place in self.storage.layout.items()
            if name == self.name
        }
        if self.kind == "gauge":
            for labels in self.slots:  # Left by the previous worker.
                self.set(labels, 0)

    def slot(self, labels: Labels) -> int:
        """Return the first slot of a series, which is created if it does not exist."""
        if labels not in self.slots:
            self.slots[labels] = self.storage.allocate(self.name, labels, self.width)
        return self.slots[labels]

    def add(self, labels: Labels, *amounts: float) -> None:
        """Add to the values of a series."""
        values = self.storage.values
        for slot, amount in enumerate(amounts, self.slots.get(labels) or self.slot(labels)):
            values[slot] += amount

    def set(self, labels: Labels, value: float) -> None:
        self.storage.values[self.slot(labels)] = value

    def observe(self, labels: Labels, value: float) -> None:
        """Add a value to a histogram."""
        slot, values = self.slots.get(labels) or self.slot(labels), self.storage.values
        values[slot + bisect_left(self.bounds, value)] += 1
        values[slot + self.width - 1] += value


def total(shards: Iterable[Shard], name: str) -> dict[Labels, list[float]]:
    """Return the sums of the series of a metric."""
    sums: dict[Labels, list[float]] = {}
    for shard in shards:
        for (metric, labels), values in shard.series.items():
            if metric == name:
                before = sums.get(labels, [0.0] * len(values))
                sums[labels] = [a + b for a, b in zip(before, values, strict=True)]
    return sums


def _lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed; return whether it was free."""
    import fcntl  # noqa: PLC0415 (not on Windows, where there is one worker)

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_shard(path: Path) -> Shard:
    with path.open("rb") as keys:  # Closed at once: a new worker takes only files without a lock.
        is_alive = not _lock(keys)
    layout = _parse_layout(path.read_bytes())
    content = b""  # While a worker starts, there is no file, or an empty one.
    with contextlib.suppress(FileNotFoundError), path.with_suffix(".values").open("rb") as file:
        content = file.read(_end(layout) * _DOUBLE_BYTES)
    values = memoryview(content or bytes(_DOUBLE_BYTES)).cast("d")
    return Shard(int(path.stem), int(values[_PID_SLOT]) * is_alive, _series(layout, values))


def _parse_layout(content: bytes) -> _Layout:
    """Parse the complete lines; a writer that was killed or is not done may leave a partial one."""
    lines = map(orjson.loads, content[: content.rfind(b"\n") + 1].splitlines())
    return {(name, tuple(labels)): slice(start, end) for name, labels, start, end in lines}


def _end(layout: _Layout) -> int:
    """Return the first slot behind all series."""
    return max((place.stop for place in layout.values()), default=_PID_SLOT + 1)


def _series(layout: _Layout, values: "memoryview[float]") -> dict[Series, list[float]]:
    return {series: list(values[place]) for series, place in layout.items()}
