"""Counters, gauges and histograms. Whoever changes one holds the lock of its storage."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from service.arrays import Tensor
from service.telemetry.storage import Storage

LabelValues = tuple[object, ...]


class Family:
    """A metric with one series for each combination of the values of its labels.

    Args:
        storage: Where its numbers are.
        name: As Prometheus shows it, with the unit.
        description: One sentence.
        label_names: In the order in which values are given.
    """

    kind: ClassVar[Literal["counter", "gauge", "histogram"]]

    def __init__(
        self, storage: Storage, name: str, description: str, label_names: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.description = description
        self.label_names = label_names
        self.width = 1
        self._storage = storage
        self._slots: dict[LabelValues, int] = {}

    def slot(self, labels: LabelValues) -> int:
        """Return where the numbers of a series begin; it appears, with zeros, if it is new."""
        slot = self._slots.get(labels)
        if slot is None:
            slot = self._storage.allocate(self.name, tuple(map(str, labels)), self.width)
            self._slots[labels] = slot
        return slot


class Counter(Family):
    """Something that only grows."""

    kind = "counter"

    def add(self, labels: LabelValues = (), amount: float = 1) -> None:
        """Count `amount` more."""
        slot = self._slots.get(labels) or self.slot(labels)
        self._storage.values[slot] += amount


class Gauge(Family):
    """Something that comes and goes; what a worker had is gone with it."""

    kind = "gauge"

    def __init__(
        self, storage: Storage, name: str, description: str, label_names: Sequence[str] = ()
    ) -> None:
        super().__init__(storage, name, description, label_names)
        storage.clear(name)

    def add(self, labels: LabelValues = (), amount: float = 1) -> None:
        """Let it rise, or fall if `amount` is negative."""
        slot = self.slot(labels)
        self._storage.values[slot] += amount

    def set(self, labels: LabelValues, value: float) -> None:
        """Let it be `value`."""
        slot = self.slot(labels)
        self._storage.values[slot] = value


class Histogram(Family):
    """How often something was at most each of some bounds; kept as counts between them, and a sum.

    Args:
        storage: Where its numbers are.
        name: As Prometheus shows it, with the unit.
        description: One sentence.
        bounds: Upper ends of the buckets, rising; one without an end is added.
        label_names: In the order in which values are given.
    """

    kind = "histogram"

    def __init__(
        self,
        storage: Storage,
        name: str,
        description: str,
        bounds: Sequence[float],
        label_names: Sequence[str] = (),
    ) -> None:
        super().__init__(storage, name, description, label_names)
        self.bounds = bounds
        self.width = len(bounds) + 2

    def observe(self, labels: LabelValues, value: float) -> None:
        """Count one more, which was `value`."""
        slot = self._slots.get(labels) or self.slot(labels)
        values = self._storage.values
        values[slot + bisect_left(self.bounds, value)] += 1
        values[slot + self.width - 1] += value

    def observe_each(self, observed: Mapping[Any, int], unit: float) -> None:
        """Count one more for each value of the only label, of so many units each."""
        values, bounds, end = self._storage.values, self.bounds, self.width - 1
        for label, count in observed.items():
            slot = self._slots.get((label,))
            if slot is None:
                slot = self.slot((label,))
                values = self._storage.values
            value = count * unit
            values[slot + bisect_left(bounds, value)] += 1
            values[slot + end] += value

    def observe_all(self, labels: LabelValues, observed: Tensor) -> None:
        """Count each of (n,) finite numbers."""
        slot = self.slot(labels)
        values = self._storage.values
        counts = np.bincount(np.searchsorted(self.bounds, observed)).tolist()
        for place, count in enumerate(counts, start=slot):
            values[place] += count
        values[slot + self.width - 1] += float(observed.sum(dtype=np.float64))
