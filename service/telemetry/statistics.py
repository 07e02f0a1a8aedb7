"""Counts the inferences of each version and where their time went, as Triton reports it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from service.telemetry.counters import Family, Storage
from service.telemetry.record import Phase, RequestRecord

_FAILED = "failed"
"""In place of the number of images, in the series of requests that were answered with an error."""

# What a series is made of; its nanoseconds in each of `_PARTS` follow.
_REQUESTS, _NS, _EXECUTIONS, _LAST_MS, _FIRST_PART = range(5)

_PARTS = ("queue", "compute_input", "compute_infer", "compute_output")
_PLACES: dict[Phase, int] = {
    "queue": _FIRST_PART,
    "decode": _FIRST_PART + 1,
    "prepare": _FIRST_PART + 1,
    "infer": _FIRST_PART + 2,
    "encode": _FIRST_PART + 3,
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


def _parts() -> dict[str, Duration]:
    return {part: Duration() for part in _PARTS}


@dataclass(slots=True)
class Totals:
    """What all workers counted of one version since the service started."""

    last_inference_ms: int = 0
    """When the last request was answered, in ms since 1970; 0 if none was."""
    images: int = 0
    executions: int = 0
    """Runs of the network; a request that wants maps as well runs it twice."""
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    parts: dict[str, Duration] = field(default_factory=_parts)
    """Where the time of successful requests went."""
    batches: dict[int, dict[str, Duration]] = field(default_factory=dict)
    """The same for each number of images in a request."""


class Statistics:
    """Counts by version and number of images, next to the metrics; Prometheus does not get them."""

    def __init__(self, storage: Storage) -> None:
        width = _FIRST_PART + len(_PARTS)
        self._family = Family(storage, "statistics", "", ("version", "images"), width)

    def count(self, record: RequestRecord) -> None:
        """Count a request to a version, its time from its last byte; needs the storage's lock."""
        failed = record.failed
        slot = self._family.slot((record.version, _FAILED if failed else record.images))
        values = self._family.storage.values
        values[slot + _REQUESTS] += 1
        values[slot + _NS] += record.elapsed_ns - record.phases.get("receive", 0)
        if failed:
            return
        values[slot + _EXECUTIONS] += record.executions
        values[slot + _LAST_MS] = time.time_ns() // 1_000_000
        for phase, ns in record.phases.items():
            if place := _PLACES.get(phase):
                values[slot + place] += ns

    def totals(self, version: int) -> Totals:
        """Return what all workers counted, those that have ended included."""
        totals = Totals()
        for shard in self._family.storage.read():
            for (name, labels), values in shard.series.items():
                if name == self._family.name and labels[0] == str(version):
                    _add(totals, labels[1], map(int, values))
        totals.batches = dict(sorted(totals.batches.items()))
        return totals


def _add(totals: Totals, label: str, values: Iterable[int]) -> None:
    requests, ns, executions, last_ms, *parts = values
    if label == _FAILED:
        totals.fail.add(requests, ns)
        return
    images = int(label)
    totals.success.add(requests, ns)
    totals.images += requests * images
    totals.executions += executions
    totals.last_inference_ms = max(totals.last_inference_ms, last_ms)
    batch = totals.batches.setdefault(images, _parts())
    for part, part_ns in zip(_PARTS, parts, strict=True):
        totals.parts[part].add(requests, part_ns)
        batch[part].add(requests, part_ns)
