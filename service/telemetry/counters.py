"""Counters, gauges and histograms of one worker, kept in files that the other workers read.

A worker locks its files for as long as it lives. The kernel releases the lock however the process
ends, so a killed worker loses no count: its successor takes the files and goes on with their
numbers. Counters never fall, and there are never more files than workers were alive at once.
Prometheus' own client must be told that a worker has ended, which a killed one cannot do.
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

Labels = tuple[str, ...]
Series = tuple[str, Labels]
"""The name of a metric and the values of its labels."""

LabelValues = tuple[object, ...]

_DOUBLE_BYTES = 8
_INITIAL_CAPACITY = 4096
_PID_SLOT = 0


class Shard(NamedTuple):
    """What one worker counted."""

    worker: int
    """From 0."""
    pid: int
    """0 if the process has ended."""
    series: dict[Series, list[float]]
    """One number of a counter or gauge, several of a histogram."""


class Storage:
    """The numbers of this worker, and a view of all others'.

    Attributes:
        lock: Must be held to change `values` and to call `allocate`.
        values: Every number of this worker. It is replaced when it grows.
        worker: Which worker this is, from 0.
    """

    def __init__(self, directory: Path | None = None) -> None:
        """Claim a place in a directory of the service's workers; None if there is only this one."""
        self.lock = threading.Lock()
        self.worker = 0
        self._directory = directory
        self._slots: dict[Series, slice] = {}
        self._keys: BinaryIO | None = None
        if directory is not None:
            self._keys = self._claim(directory)
        self._used = max((slots.stop for slots in self._slots.values()), default=_PID_SLOT + 1)
        self.values = self._map(max(_INITIAL_CAPACITY, self._used))
        self.values[_PID_SLOT] = os.getpid()

    def allocate(self, name: str, labels: Labels, width: int) -> int:
        """Return where in `values` the numbers of a series begin; new ones are zero."""
        start = self._used
        if (known := self._slots.get((name, labels))) is not None:
            return int(known.start)
        self._used += width
        if self._used > len(self.values):
            self.values = self._map(2 * self._used, bytes(self.values))
        self._slots[name, labels] = slice(start, self._used)
        if self._keys is not None:
            self._keys.write(orjson.dumps([name, labels, start, self._used]) + b"\n")
        return start

    def read(self) -> list[Shard]:
        """Return what every worker counted so far, this one included."""
        with self.lock:
            shards = [Shard(self.worker, os.getpid(), _series(self._slots, self.values))]
        if self._directory is not None:
            paths = self._directory.glob("*.keys")
            shards += [_read_shard(path) for path in paths if int(path.stem) != self.worker]
        return sorted(shards)

    def clear(self, name: str) -> None:
        """Set all numbers of a metric to zero."""
        for series, slots in self._slots.items():
            if series[0] == name:
                for slot in range(slots.start, slots.stop):
                    self.values[slot] = 0

    def close(self) -> None:
        """Leave the files to another worker."""
        with self.lock:
            if self._keys is not None:
                self._keys.close()
                self._keys = None

    def _claim(self, directory: Path) -> BinaryIO:
        """Lock the first keys that no living worker has, and go on with their series."""
        for self.worker in itertools.count():
            keys = (directory / f"{self.worker}.keys").open("a+b", buffering=0)
            if _lock(keys):
                break
            keys.close()
        keys.seek(0)
        content = _complete_lines(keys.read())
        keys.truncate(len(content))
        self._slots = _parse_slots(content)
        return keys

    def _map(self, capacity: int, content: bytes = b"") -> "memoryview[float]":
        """Return room for so many numbers; those in it are the file's, or `content` without one."""
        size = capacity * _DOUBLE_BYTES
        if self._directory is None:
            return memoryview(bytearray(content.ljust(size, b"\0"))).cast("d")
        with (self._directory / f"{self.worker}.values").open("a+b") as file:
            file.truncate(max(size, file.tell()))
            return memoryview(mmap.mmap(file.fileno(), 0)).cast("d")


@dataclass(eq=False)
class Family:
    """A metric: a series for each combination of label values. Callers hold the storage's lock."""

    kind: ClassVar[str]

    storage: Storage
    name: str
    """As Prometheus shows it, with the unit."""
    description: str
    label_names: Sequence[str] = ()
    width: int = 1
    """Numbers of one series."""
    slots: dict[LabelValues, int] = field(default_factory=dict, init=False)

    def slot(self, labels: LabelValues) -> int:
        """Return where the numbers of a series begin; it appears, with zeros, if it is new."""
        slot = self.slots.get(labels)
        if slot is None:
            slot = self.storage.allocate(self.name, tuple(map(str, labels)), self.width)
            self.slots[labels] = slot
        return slot


class Counter(Family):
    """A number that only grows."""

    kind = "counter"

    def add(self, labels: LabelValues = (), amount: float = 1) -> None:
        """Count `amount` more."""
        slot = self.slots.get(labels) or self.slot(labels)
        self.storage.values[slot] += amount


@dataclass(eq=False)
class Gauge(Counter):
    """A number that rises and falls, and is gone with its worker."""

    kind = "gauge"

    def __post_init__(self) -> None:
        self.storage.clear(self.name)  # They may be those of a worker that has ended.

    def set(self, labels: LabelValues, value: float) -> None:
        """Replace the number."""
        slot = self.slot(labels)
        self.storage.values[slot] = value


@dataclass(eq=False)
class Histogram(Family):
    """Counts of values between rising bounds, the last without an end, and their sum."""

    kind = "histogram"

    bounds: Sequence[float] = ()

    def __post_init__(self) -> None:
        self.width = len(self.bounds) + 2

    def observe(self, labels: LabelValues, value: float) -> None:
        """Count one value."""
        slot = self.slots.get(labels) or self.slot(labels)
        values = self.storage.values
        values[slot + bisect_left(self.bounds, value)] += 1
        values[slot + self.width - 1] += value

    def observe_phases(self, phases: Iterable[tuple[str, int]]) -> None:
        """Count nanoseconds by label as seconds; `observe` in a loop would take twice as long."""
        for phase, ns in phases:
            slot = self.slots.get((phase,)) or self.slot((phase,))
            values = self.storage.values
            seconds = ns * 1e-9
            values[slot + bisect_left(self.bounds, seconds)] += 1
            values[slot + self.width - 1] += seconds

    def observe_all(self, labels: LabelValues, observed: NDArray[np.float32]) -> None:
        """Count each of (n,) finite values."""
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
        slots = _parse_slots(_complete_lines(keys.read()))
    numbers = path.with_suffix(".values")
    values = memoryview(numbers.read_bytes() if numbers.exists() else b"").cast("d")
    if not values:  # It is only just starting.
        return Shard(int(path.stem), 0, {})
    return Shard(int(path.stem), int(values[_PID_SLOT]) * is_alive, _series(slots, values))


def _complete_lines(content: bytes) -> bytes:
    """Leave out half a last line: its writer was killed, or has not done yet."""
    return content[: content.rfind(b"\n") + 1]


def _parse_slots(content: bytes) -> dict[Series, slice]:
    parsed = map(orjson.loads, content.splitlines())
    return {(name, tuple(labels)): slice(start, stop) for name, labels, start, stop in parsed}


def _series(slots: dict[Series, slice], values: "memoryview[float]") -> dict[Series, list[float]]:
    return {series: list(values[place]) for series, place in slots.items()}
