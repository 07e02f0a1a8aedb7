"""Counts the inferences of one version and where their time went, as Triton reports it."""

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.observation import Observation, Phase

# Waiting for a thread; bytes to tensor; the network; tensor to bytes.
_PARTS: dict[str, tuple["Phase", ...]] = {
    "queue": ("queue",),
    "compute_input": ("decode", "prepare"),
    "compute_infer": ("infer",),
    "compute_output": ("encode",),
}
_PART_OF = {phase: part for part, phases in _PARTS.items() for phase in phases}


@dataclass(slots=True)
class Duration:
    """How often something was done and the nanoseconds it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Count one more."""
        self.count += 1
        self.ns += ns


def _no_durations() -> dict[str, Duration]:
    return {name: Duration() for name in ("success", "fail", *_PARTS)}


@dataclass(slots=True)
class Snapshot:
    """What was counted up to a moment.

    Attributes:
        last_inference_ms: When the last request was answered, in ms since 1970; 0 if none was.
        images: Pictures that went through the network.
        executions: Runs of the network; a request that wants maps as well runs it twice.
        durations: Of requests that were answered or refused, and of the phases of the former.
    """

    last_inference_ms: int = 0
    images: int = 0
    executions: int = 0
    durations: dict[str, Duration] = field(default_factory=_no_durations)


class Statistics:
    """The counters of one loaded version. Its methods may be called from several threads."""

    def __init__(self) -> None:
        self._totals = Snapshot()
        self._lock = threading.Lock()

    def count(self, seen: "Observation") -> None:
        """Count a request that this version was asked for; its time counts from its last byte."""
        ns = seen.elapsed_ns - seen.phases.get("receive", 0)
        with self._lock:
            totals = self._totals
            if seen.failed:
                totals.durations["fail"].add(ns)
                return
            totals.last_inference_ms = time.time_ns() // 1_000_000
            totals.images += seen.images
            totals.executions += seen.executions
            totals.durations["success"].add(ns)
            for part in _PARTS:
                totals.durations[part].count += 1
            for phase, spent in seen.phases.items():
                if part_of := _PART_OF.get(phase):
                    totals.durations[part_of].ns += spent

    def snapshot(self) -> Snapshot:
        """Return a copy of the counters that belong together."""
        with self._lock:
            totals = self._totals
            return Snapshot(
                totals.last_inference_ms,
                totals.images,
                totals.executions,
                {name: Duration(d.count, d.ns) for name, d in totals.durations.items()},
            )
