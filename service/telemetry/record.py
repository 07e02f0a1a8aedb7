"""The record of one request: client, target, outcome and timings."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Phase = Literal["receive", "queue", "decode", "prepare", "infer", "encode"]
"""Reading the body; waiting for a thread; parsing to pixels or numbers; preparing the input tensor;
running the network; serialising the answer."""

_INTERNAL_ERROR = 500


class Predictions(NamedTuple):
    """The network's answer to n images."""

    version: int
    class_names: Sequence[str]
    probabilities: NDArray[np.float32]  # (n, classes); a row may be NaN.
    novelty: NDArray[np.float32] | None  # (n,); None if the model has no such score.


@dataclass(slots=True, eq=False)
class RequestRecord:
    """One request, from the first bytes to the end of the answer; empty strings mean none."""

    request_id: str
    trace_id: str = ""  # 32 hexadecimal digits.
    span_id: str = ""  # 16 hexadecimal digits, if traces are exported.
    traceresponse: str = ""  # Header with both ids.
    warning: str = ""  # For the client, beside the answer.
    span: Any = None
    method: str = ""  # HTTP's, or `gRPC`.
    route: str = "other"  # Template of the path, which bounds the cardinality of metrics.
    target: str = ""  # Path and query as sent, for the log.
    client: str = ""
    key: str = ""  # Name of the API key.
    status: int = _INTERNAL_ERROR  # Until an answer is sent; over gRPC, HTTP's for the same error.
    error_code: str = ""
    version: int = 0  # Of the model; 0 if the request needed none.
    images: int = 0  # Images that went through the network.
    batch: int = 0  # Images of all requests in the same run; 0 if counted with another request.
    predictions: Predictions | None = None
    phases: dict[Phase, int] = field(default_factory=dict)  # Nanoseconds, in order of first entry.
    elapsed_ns: int = 0
    _started_ns: int = field(default_factory=time.perf_counter_ns, init=False)
    _last_ns: int = field(default_factory=time.perf_counter_ns, init=False)

    def record_phase(self, phase: Phase) -> None:
        """Attribute the time since the previous call to `phase`."""
        now = time.perf_counter_ns()
        self.phases[phase] = self.phases.get(phase, 0) + now - self._last_ns
        self._last_ns = now

    def record_start(self, version: int) -> None:
        """Record that a thread starts to work on the request, for this version of the model."""
        self.record_phase("queue")
        self.version = version

    def record_run(self, images: int, predictions: Predictions | None = None) -> None:
        """Record a run of the network."""
        self.record_phase("infer")
        self.images = self.batch = images  # Not a sum: a run for feature maps has the same images.
        self.predictions = predictions or self.predictions

    def fail(self) -> None:
        self.status, self.error_code = _INTERNAL_ERROR, "internal_error"

    def end(self) -> None:
        self.elapsed_ns = time.perf_counter_ns() - self._started_ns
