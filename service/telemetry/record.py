"""What is known of the request that is being worked on: its id, its trace, where its time goes.

Whoever works for a request finds it in the context, which follows the work into threads: no
function takes it as an argument, and what runs for no request (a warm-up, a script) is not counted.
"""

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal

from service.arrays import Tensor

if TYPE_CHECKING:
    from service.model.classifier import Classifier
    from service.telemetry.metrics import Metrics

Phase = Literal["receive", "queue", "decode", "prepare", "infer", "encode"]
"""Reading the body; waiting for a thread; bytes to pixels or numbers; those to the network's
tensor; the network; its answer to bytes."""

_INTERNAL_ERROR = 500
_FIRST_ERROR = 400


class Observation:
    """One request, from its head to the end of its answer.

    Attributes:
        metrics: Where it is counted.
        request_id: In the answer, and in every line of the log about it.
        trace_id: 32 hexadecimal digits, or empty if the request belongs to no trace.
        span_id: 16 hexadecimal digits, or empty if traces are not exported.
        traceresponse: The header that tells a client both; empty as well.
        method: HTTP's, or `gRPC`.
        route: Template of the path, so that there are only so many; `other` if none matches.
        target: Path and query as sent; only for the log.
        client: Address and port.
        status: HTTP's; gRPC has that of the same error.
        key: Name of the API key it was sent with, or empty.
        rejected: Code of the error that was answered, or empty.
        images: Pictures that went through the network.
        executions: Runs of the network.
        version: Of the model; 0 if the request needed none.
        phases: Nanoseconds of each phase, in the order in which they were first entered.
        elapsed_ns: Nanoseconds it took in all; 0 before the end.
        span: What its trace is exported with; None if it is not.
    """

    __slots__ = (
        "_last_ns",
        "_started_ns",
        "client",
        "elapsed_ns",
        "executions",
        "images",
        "key",
        "method",
        "metrics",
        "phases",
        "rejected",
        "request_id",
        "route",
        "span",
        "span_id",
        "status",
        "target",
        "trace_id",
        "traceresponse",
        "version",
    )

    def __init__(self, metrics: "Metrics", request_id: str) -> None:
        self.metrics = metrics
        self.request_id = request_id
        self.trace_id = self.span_id = self.traceresponse = ""
        self.method = self.target = self.client = self.key = self.rejected = ""
        self.span: object = None
        self.route = "other"
        self.status = _INTERNAL_ERROR  # Until somebody says otherwise.
        self.images = self.executions = self.version = self.elapsed_ns = 0
        self.phases: dict[Phase, int] = {}
        self._started_ns = self._last_ns = time.perf_counter_ns()

    @property
    def failed(self) -> bool:
        """Whether the answer is an error."""
        return self.status >= _FIRST_ERROR

    def finish(self, phase: Phase) -> None:
        """Attribute the time since the phase before to `phase`."""
        now = time.perf_counter_ns()
        self.phases[phase] = self.phases.get(phase, 0) + now - self._last_ns
        self._last_ns = now

    def leave_network(self, images: int) -> None:
        """Note that the network has run with so many pictures of the request."""
        self.finish("infer")
        self.executions += 1
        if not self.images:  # The network may run again, for the maps of the same pictures.
            self.images = images

    def fail(self) -> None:
        """Note that the request ended in an error nobody foresaw."""
        self.status, self.rejected = _INTERNAL_ERROR, "internal_error"

    def end(self) -> None:
        """Note that the answer is out, and count the request."""
        self.elapsed_ns = time.perf_counter_ns() - self._started_ns
        self.metrics.count_request(self)


current: ContextVar[Observation | None] = ContextVar("observation", default=None)
"""The request that is being worked on, if any."""


def finish(phase: Phase) -> None:
    """Attribute the time since the phase before to `phase`."""
    seen = current.get()
    if seen is not None:
        seen.finish(phase)


def begin(classifier: "Classifier") -> None:
    """Note that a thread is free for the request, and which version is to answer it."""
    seen = current.get()
    if seen is not None:
        seen.finish("queue")
        seen.version = classifier.manifest.version


def leave_network(images: int) -> None:
    """Note that the network has run with so many pictures."""
    seen = current.get()
    if seen is not None:
        seen.leave_network(images)


def count_predictions(
    classifier: "Classifier", probabilities: Tensor, novelty: Tensor | None
) -> None:
    """Count what pictures were taken for, (n, classes) float32, and how strange each is, (n,)."""
    seen = current.get()
    if seen is not None:
        manifest = classifier.manifest
        seen.metrics.count_predictions(
            manifest.version, manifest.class_names, probabilities, novelty
        )
