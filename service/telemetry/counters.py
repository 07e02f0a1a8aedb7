"""Counters, gauges and histograms of one worker, in memory-mapped files that all workers read.

A worker locks its files while it lives. The kernel releases the lock however the process ends, and
the next worker continues with the files, so counters survive a crash and there are never more files
than workers alive at once. `prometheus_client` needs a call when a worker ends, which a killed one
cannot make.
"""

import itertools
import mmap
import os
import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

Labels = tuple[str | int, ...]

# For each metric: the width of a series, and the first slot of each series.
_Layout = dict[str, tuple[int, dict[Labels, int]]]

_DOUBLE_BYTES = 8
_INITIAL_CAPACITY = 4096
_PID_SLOT = 0


class Shard(NamedTuple):
    """The values of one worker."""

    worker: int
    pid: int  # 0 if the process has ended.
    series: dict[str, dict[Labels, list[float]]]  # By metric; a histogram's have several values.


class Storage:
    """The values of this worker, and read access to those of the others.

    Hold `lock` to call `allocate` and to change `values`, which is replaced when it grows.
    """

    def __init__(self, directory: Path | None = None) -> None:
        """Claim files in the directory that the workers share; None keeps the values in memory."""
        self.lock = threading.Lock()
        self.worker = 0
        self._directory = directory
        self._layout: _Layout = {}
        self._keys = None if directory is None else self._claim(directory)
        ends = (w + start for w, slots in self._layout.values() for start in slots.values())
        self._used = max(ends, default=_PID_SLOT + 1)
        self.values = self._map(max(_INITIAL_CAPACITY, self._used))
        self.values[_PID_SLOT] = os.getpid()

    def slots(self, name: str, width: int) -> dict[Labels, int]:
        """Return the first slot of each series of a metric, which `allocate` extends."""
        return self._layout.setdefault(name, (width, {}))[1]

    def allocate(self, name: str, labels: Labels) -> int:
        """Return the first slot of a new series, whose values are zero."""
        width, slots = self._layout[name]
        start = self._used
        self._used += width
        if self._used > len(self.values):
            self.values = self._map(2 * self._used, bytes(self.values))
        slots[labels] = start
        if self._keys is not None:
            self._keys.write(orjson.dumps([name, labels, start, width]) + b"\n")
        return start

    def read(self) -> list[Shard]:
        """Return the values of every worker, this one included."""
        with self.lock:
            shards = [Shard(self.worker, os.getpid(), _series(self._layout, self.values))]
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
        self._layout = _parse_layout(content)
        return keys

    def _map(self, capacity: int, content: bytes = b"") -> "memoryview[float]":
        """Return a buffer of so many values, with those of the file, or `content` without one."""
        size = capacity * _DOUBLE_BYTES
        if self._directory is None:
            return memoryview(bytearray(content.ljust(size, b"\0"))).cast("d")
        with (self._directory / f"{self.worker}.values").open("a+b") as file:
            file.truncate(max(size, file.tell()))
            return memoryview(mmap.mmap(file.fileno(), 0)).cast("d")


@dataclass(eq=False)
class Family:
    """A metric, with a series per combination of label values. Callers hold the storage's lock."""

    kind: ClassVar[str]

    storage: Storage
    name: str
    description: str
    label_names: Sequence[str] = ()
    width: int = 1  # Values of one series.
    slots: dict[Labels, int] = field(init=False)

    def __post_init__(self) -> None:
        self.slots = self.storage.slots(self.name, self.width)

    def slot(self, labels: Labels) -> int:
        """Return the first slot of a series, which is created if it does not exist."""
        return self.slots.get(labels) or self.storage.allocate(self.name, labels)


class Counter(Family):
    """A value that only grows."""

    kind = "counter"

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        slot = self.slots.get(labels) or self.slot(labels)
        self.storage.values[slot] += amount


class Gauge(Counter):
    """A value that rises and falls, and ends with its worker."""

    kind = "gauge"

    def __post_init__(self) -> None:
        super().__post_init__()
        for slot in self.slots.values():  # Left by the previous worker.
            self.storage.values[slot] = 0

    def set(self, labels: Labels, value: float) -> None:
        slot = self.slot(labels)
        self.storage.values[slot] = value


@dataclass(eq=False)
class Histogram(Family):
    """Counts of values in buckets with rising upper bounds, the last infinite, and their sum."""

    kind = "histogram"

    bounds: Sequence[float] = ()

    def __post_init__(self) -> None:
        self.width = len(self.bounds) + 2
        super().__post_init__()

    def observe(self, labels: Labels, value: float) -> None:
        slot = self.slots.get(labels) or self.slot(labels)
        values = self.storage.values
        values[slot + bisect_left(self.bounds, value)] += 1
        values[slot + self.width - 1] += value

    def observe_phases(self, phases: Iterable[tuple[str, int]]) -> None:
        """Observe nanoseconds by label, as seconds; twice as fast as `observe` in a loop."""
        for phase, ns in phases:
            slot = self.slots.get((phase,)) or self.slot((phase,))
            values = self.storage.values
            seconds = ns * 1e-9
            values[slot + bisect_left(self.bounds, seconds)] += 1
            values[slot + self.width - 1] += seconds

    def observe_all(self, labels: Labels, observed: NDArray[np.float32]) -> None:
        """Observe (n,) finite values."""
        slot = self.slot(labels)
        values = self.storage.values
        for bucket, count in enumerate(np.bincount(np.searchsorted(self.bounds, observed))):
            values[slot + bucket] += int(count)
        values[slot + self.width - 1] += float(observed.sum(dtype=np.float64))


def _lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed; return whether it was free."""
    import fcntl  # noqa: PLC0415 (not on Windows, where there is one worker)

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_shard(path: Path) -> Shard:
    with path.open("rb") as keys:
        is_alive = not _lock(keys)
        layout = _parse_layout(keys.read())
    numbers = path.with_suffix(".values")
    content = numbers.read_bytes() if numbers.exists() else b""
    values = memoryview(content or bytes(_DOUBLE_BYTES)).cast("d")  # Empty while a worker starts.
    return Shard(int(path.stem), int(values[_PID_SLOT]) * is_alive, _series(layout, values))


def _parse_layout(content: bytes) -> _Layout:
    """Parse the complete lines; a writer that was killed or is not done may leave a partial one."""
    layout: _Layout = {}
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        name, labels, start, width = orjson.loads(line)
        layout.setdefault(name, (width, {}))[1][tuple(labels)] = start
    return layout


def _series(layout: _Layout, values: "memoryview[float]") -> dict[str, dict[Labels, list[float]]]:
    return {
        name: {labels: list(values[start : start + width]) for labels, start in slots.items()}
        for name, (width, slots) in layout.items()
    }
