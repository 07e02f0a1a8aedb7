"""Counts the requests of the inference protocols and where their time went."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["queue", "compute_input", "compute_infer", "compute_output"]
"""Waiting for a thread; bytes to tensor; the network; tensor to bytes."""


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
    return {
        name: Duration()
        for name in (
            "success",
            "fail",
            "queue",
            "compute_input",
            "compute_infer",
            "compute_output",
        )
    }


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


class Request:
    """The stopwatch of one request."""

    def __init__(self, received_ns: int) -> None:
        self.images = 0
        self.executions = 0
        self.phases: dict[Phase, int] = {}
        self._last = received_ns
        self.finish("queue")

    def finish(self, phase: Phase) -> None:
        """Attribute the time since the phase before to `phase`."""
        now = time.perf_counter_ns()
        self.phases[phase] = self.phases.get(phase, 0) + now - self._last
        self._last = now


class Statistics:
    """The counters of one loaded version. Its methods may be called from several threads."""

    def __init__(self) -> None:
        self._totals = Snapshot()
        self._lock = threading.Lock()

    @contextmanager
    def request(self, received_ns: int) -> Iterator[Request]:
        """Count what happens in the block as one request, failed if it raises.

        Args:
            received_ns: `time.perf_counter_ns()` when its last byte had arrived.
        """
        request = Request(received_ns)
        try:
            yield request
        except Exception:
            with self._lock:
                self._totals.durations["fail"].add(time.perf_counter_ns() - received_ns)
            raise
        with self._lock:
            totals = self._totals
            totals.last_inference_ms = time.time_ns() // 1_000_000
            totals.images += request.images
            totals.executions += request.executions
            totals.durations["success"].add(time.perf_counter_ns() - received_ns)
            for phase, ns in request.phases.items():
                totals.durations[phase].add(ns)

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
