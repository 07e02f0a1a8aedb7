"""Watches every request, whatever carries it: counts it, logs it, and puts it into its trace."""

import logging
import os
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.telemetry.logs import log_access
from service.telemetry.metrics import Metrics
from service.telemetry.record import Observation, current
from service.telemetry.tracing import read_traceparent

if TYPE_CHECKING:
    from service.telemetry.traces import SpanExporter

logger = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

# What may be echoed into a header and a log line: no spaces, quotes, or control characters.
_USABLE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class Observer:
    """Watches the requests of one worker.

    Args:
        metrics: Where they are counted.
        version: Of the service.

    Attributes:
        metrics: As given.
    """

    def __init__(self, metrics: Metrics, version: str) -> None:
        self.metrics = metrics
        self._spans = _span_exporter(version)

    @contextmanager
    def observe(self, headers: Mapping[str, str]) -> Iterator[Observation]:
        """Make the request the current one until the block ends; an error in it counts as ours.

        Args:
            headers: As `begin` takes them.
        """
        seen = self.begin(headers)
        token = current.set(seen)
        try:
            yield seen
        except BaseException:
            seen.fail()
            raise
        finally:
            self.end(seen)
            current.reset(token)

    def begin(self, headers: Mapping[str, str]) -> Observation:
        """Return the observation of a request that has just come.

        Args:
            headers: `x-request-id`, `traceparent` and `tracestate`, where they were sent.
        """
        sent = headers.get("x-request-id", "")
        request_id = sent if _USABLE_ID.fullmatch(sent) else f"{random.getrandbits(64):016x}"
        parent = read_traceparent(headers.get("traceparent"), headers.get("tracestate"))
        seen = Observation(self.metrics, request_id)
        if parent is not None:
            seen.trace_id = parent.trace_id
        if self._spans is not None:
            seen.span = self._spans.start(parent, seen)
        return seen

    def end(self, seen: Observation) -> None:
        """Count the request, log it, and export it; it is the current one, and its answer out."""
        seen.end()
        log_access(seen)
        if self._spans is not None:
            self._spans.finish(seen)

    def close(self) -> None:
        """Send what traces there are. It may take some seconds and belongs in a thread."""
        self.metrics.close()
        if self._spans is not None:
            self._spans.close()


def _span_exporter(version: str) -> "SpanExporter | None":
    """Return what exports traces, if OpenTelemetry's environment variables say where to."""
    environment = os.environ
    if (
        not any(environment.get(name) for name in _ENDPOINTS)
        or environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or environment.get("OTEL_TRACES_EXPORTER") == "none"
    ):
        return None
    try:
        from service.telemetry.traces import SpanExporter
    except ModuleNotFoundError:
        # An operator may set the endpoint for all there is on a machine: no reason not to serve.
        logger.warning("traces are not exported: that needs the extra `otel`")
        return None
    return SpanExporter(version)
