"""What is known of one request: who asked for what, how it was answered, where its time went."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Phase = Literal["receive", "queue", "decode", "prepare", "infer", "encode"]
"""Reading the body; waiting for a thread; bytes to pixels or numbers; those to the network's
tensor; the network; its answer to bytes."""

_INTERNAL_ERROR = 500


class Predictions(NamedTuple):
    """What n images were taken for."""

    version: int
    class_names: Sequence[str]
    probabilities: NDArray[np.float32]
    """(n, classes); a row may be NaN."""
    novelty: NDArray[np.float32] | None
    """(n,); None if the model has no such score."""


@dataclass(slots=True, eq=False)
class RequestRecord:
    """One request, from its head to the end of its answer; passed to all that work on it.

    Attributes:
        trace_id: 32 hexadecimal digits, or empty if the request belongs to no trace.
        span_id: 16 hexadecimal digits, or empty if traces are not exported.
        traceresponse: The header that tells a client both, or empty.
        method: HTTP's, or `gRPC`.
        route: Template of the path, so that there are only so many; `other` if none matches.
        warning: What the client should know beside the answer, in ASCII; or empty.
        target: Path and query as sent; only for the log.
        key: Name of the API key it was sent with, or empty.
        status: HTTP's; gRPC has that of the same error.
        version: Of the model; 0 if the request needed none.
        images: That went through the network.
        batch: Images of all requests that shared its run; 0 if it was counted for another.
        phases: Nanoseconds of each phase, in the order in which they were first entered.
    """

    request_id: str
    trace_id: str = ""
    span_id: str = ""
    traceresponse: str = ""
    warning: str = ""
    span: Any = None
    method: str = ""
    route: str = "other"
    target: str = ""
    client: str = ""
    key: str = ""
    status: int = _INTERNAL_ERROR  # Until an answer says otherwise.
    error_code: str = ""
    version: int = 0
    images: int = 0
    batch: int = 0
    predictions: Predictions | None = None
    phases: dict[Phase, int] = field(default_factory=dict)
    elapsed_ns: int = 0
    _started_ns: int = field(default_factory=time.perf_counter_ns, init=False)
    _last_ns: int = field(default_factory=time.perf_counter_ns, init=False)

    def record_phase(self, phase: Phase) -> None:
        """Attribute the time since the phase before to `phase`."""
        now = time.perf_counter_ns()
        self.phases[phase] = self.phases.get(phase, 0) + now - self._last_ns
        self._last_ns = now

    def record_start(self, version: int) -> None:
        """Note that a thread works on the request now, for that version of the model."""
        self.record_phase("queue")
        self.version = version

    def record_run(self, images: int, predictions: Predictions | None = None) -> None:
        """Note that the network has run for so many images of the request."""
        self.record_phase("infer")
        self.images = self.batch = images  # It may run again, for the maps of the same images.
        self.predictions = predictions or self.predictions

    def fail(self) -> None:
        self.status, self.error_code = _INTERNAL_ERROR, "internal_error"

    def end(self) -> None:
        self.elapsed_ns = time.perf_counter_ns() - self._started_ns
