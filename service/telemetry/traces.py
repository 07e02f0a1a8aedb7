"""Exports what was observed as OpenTelemetry traces, over OTLP. Only imported if that is wanted."""

import os
import threading

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span as RecordingSpan
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from service.telemetry.record import Observation
from service.telemetry.tracing import TraceParent

_FIRST_SERVER_ERROR = 500
_FLUSH_SECONDS = 5


class SpanExporter:
    """Sends a span a request, with one inside for each of its phases, in the background.

    Where to, how many and under which name is set by OpenTelemetry's own environment variables.

    Args:
        version: Of the service.
    """

    def __init__(self, version: str) -> None:
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        attributes = {} if named else {"service.name": "fashion-mnist"}
        self._provider = TracerProvider(
            resource=Resource.create({**attributes, "service.version": version}),
            shutdown_on_exit=False,  # `close` does.
        )
        self._exporter = OTLPSpanExporter()
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("service", version)

    def start(self, parent: TraceParent | None, seen: Observation) -> Span:
        """Open the span of a request, inside the caller's if there is one."""
        context = None
        if parent is not None:
            caller = SpanContext(
                int(parent.trace_id, 16),
                int(parent.span_id, 16),
                is_remote=True,
                trace_flags=TraceFlags(parent.flags),
                trace_state=TraceState.from_header([parent.state]),
            )
            context = set_span_in_context(NonRecordingSpan(caller))
        span = self._tracer.start_span("request", context, SpanKind.SERVER)
        own = span.get_span_context()
        seen.trace_id = format_trace_id(own.trace_id)
        seen.span_id = format_span_id(own.span_id)
        seen.traceresponse = f"00-{seen.trace_id}-{seen.span_id}-{own.trace_flags:02x}"
        return span

    def finish(self, seen: Observation) -> None:
        """Close the span of a request that has been answered, with a span for each phase.

        A request of many pictures goes back and forth between decoding and preparing. Its spans
        say how long each took in all, one behind the other.
        """
        span = seen.span
        if not isinstance(span, RecordingSpan) or span.start_time is None:  # It is not sampled.
            return
        span.update_name(f"{seen.method} {seen.route}")
        span.set_attributes(_attributes(seen))
        if seen.status >= _FIRST_SERVER_ERROR:
            span.set_status(StatusCode.ERROR)
        context = set_span_in_context(span)
        at_ns = span.start_time
        for phase, ns in seen.phases.items():
            part = self._tracer.start_span(phase, context, start_time=at_ns)
            at_ns += ns
            part.end(at_ns)
        span.end(span.start_time + seen.elapsed_ns)

    def close(self) -> None:
        """Send what has not been sent, unless that takes longer than a few seconds."""
        give_up = threading.Timer(_FLUSH_SECONDS, self._exporter.shutdown)
        give_up.start()
        self._provider.shutdown()
        give_up.cancel()


def _attributes(seen: Observation) -> dict[str, str | int]:
    """Return what OpenTelemetry's conventions say of a server's span, and what is our own."""
    if seen.method == "gRPC":
        attributes: dict[str, str | int] = {"rpc.system": "grpc", "rpc.method": seen.route}
    else:
        attributes = {
            "http.request.method": seen.method,
            "http.route": seen.route,
            "http.response.status_code": seen.status,
        }
    attributes["request.id"] = seen.request_id
    if seen.rejected:
        attributes["error.type"] = seen.rejected
    if seen.images:
        attributes["fashion_mnist.images"] = seen.images
        attributes["fashion_mnist.model.version"] = seen.version
    return attributes
