"""Counts the inferences of each version and where their time went, as Triton reports it."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.telemetry.storage import Shard, Storage

if TYPE_CHECKING:
    from service.telemetry.record import Observation, Phase

_NAME = "statistics"
"""Of the series in the storage. It is no metric: Prometheus gets the same under other names."""

_FAILED = "failed"
"""Stands for the number of images in the series of requests that were refused."""

# Waiting for a thread; bytes to tensor; the network; tensor to bytes.
_PARTS: dict[str, tuple["Phase", ...]] = {
    "queue": ("queue",),
    "compute_input": ("decode", "prepare"),
    "compute_infer": ("infer",),
    "compute_output": ("encode",),
}

# What a series is made of; its nanoseconds in each of `_PARTS` follow.
_REQUESTS, _NS, _EXECUTIONS, _LAST_MS, _FIRST_PART = range(5)
_WIDTH = _FIRST_PART + len(_PARTS)
_PLACE_OF = {
    phase: _FIRST_PART + place for place, phases in enumerate(_PARTS.values()) for phase in phases
}


@dataclass(slots=True)
class Duration:
    """How often something was done and the nanoseconds it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, count: int, ns: int) -> None:
        """Count more of it."""
        self.count += count
        self.ns += ns


def _no_parts() -> dict[str, Duration]:
    return {part: Duration() for part in _PARTS}


@dataclass(slots=True)
class Totals:
    """What all workers counted of one version since the service started.

    Attributes:
        last_inference_ms: When the last request was answered, in ms since 1970; 0 if none was.
        images: Pictures that went through the network.
        executions: Runs of the network; a request that wants maps as well runs it twice.
        success: Requests that were answered.
        fail: Requests that were refused.
        parts: Where the time of the former went.
        batches: The same for each number of pictures in a request.
    """

    last_inference_ms: int = 0
    images: int = 0
    executions: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    parts: dict[str, Duration] = field(default_factory=_no_parts)
    batches: dict[int, dict[str, Duration]] = field(default_factory=dict)


class Statistics:
    """Counts by version and number of images. Whoever counts holds the lock of the storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._slots: dict[tuple[int, int | str], int] = {}

    def count(self, seen: "Observation") -> None:
        """Count a request that a version was asked for; its time counts from its last byte."""
        key = (seen.version, _FAILED if seen.failed else seen.images)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._storage.allocate(_NAME, (str(key[0]), str(key[1])), _WIDTH)
            self._slots[key] = slot
        values = self._storage.values
        values[slot + _REQUESTS] += 1
        values[slot + _NS] += seen.elapsed_ns - seen.phases.get("receive", 0)
        if seen.failed:
            return
        values[slot + _EXECUTIONS] += seen.executions
        values[slot + _LAST_MS] = time.time_ns() // 1_000_000
        for phase, ns in seen.phases.items():
            if (place := _PLACE_OF.get(phase)) is not None:
                values[slot + place] += ns

    def totals(self, version: int) -> Totals:
        """Return what all workers counted, those that have ended included."""
        totals = Totals()
        for shard in self._storage.read():
            _add(totals, shard, str(version))
        totals.batches = dict(sorted(totals.batches.items()))
        return totals


def _add(totals: Totals, shard: Shard, version: str) -> None:
    for (name, labels), values in shard.series.items():
        if name != _NAME or labels[0] != version:
            continue
        requests, ns, executions, last_ms, *parts = map(int, values)
        if labels[1] == _FAILED:
            totals.fail.add(requests, ns)
            continue
        images = int(labels[1])
        totals.success.add(requests, ns)
        totals.images += requests * images
        totals.executions += executions
        totals.last_inference_ms = max(totals.last_inference_ms, last_ms)
        batch = totals.batches.setdefault(images, _no_parts())
        for part, part_ns in zip(_PARTS, parts, strict=True):
            totals.parts[part].add(requests, part_ns)
            batch[part].add(requests, part_ns)
