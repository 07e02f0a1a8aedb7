"""Joins requests to their callers' traces (W3C Trace Context) and exports spans over OTLP."""

import logging
import os
import threading
from collections.abc import Callable, Mapping

from opentelemetry.trace import (
    SpanKind,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .record import RequestRecord

logger = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FLUSH_SECONDS = 5
_HEADERS, _LENGTHS = ("traceparent", "tracestate"), range(1, 513)  # Older parsers are quadratic.
_W3C = TraceContextTextMapPropagator()


class RequestTracer:
    """Exports a span per request, if OpenTelemetry's environment variables set an endpoint."""

    def __init__(self, version: str) -> None:
        self._tracer: Tracer | None = None
        self._shut_down: Callable[[], None] | None = None
        is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        is_off |= os.environ.get("OTEL_TRACES_EXPORTER") == "none"
        if is_off or not any(os.environ.get(name) for name in _ENDPOINTS):
            return
        try:
            self._tracer, self._shut_down = _start_exporter(version)
        except ModuleNotFoundError:
            # Not an error: the endpoint may be set for all services of a machine.
            logger.warning("traces are not exported: that needs the extra `otel`")

    def begin(self, record: RequestRecord, headers: Mapping[str, str]) -> None:
        """Start the request's span in the caller's trace and set the ids of both."""
        sent = {name: headers[name] for name in _HEADERS if len(headers.get(name, "")) in _LENGTHS}
        context = _W3C.extract(sent) if "traceparent" in sent else None
        if self._tracer is not None:
            record.span = self._tracer.start_span("request", context, SpanKind.SERVER)
            own = record.span.get_span_context()
            record.trace_id = format_trace_id(own.trace_id)
            record.span_id = format_span_id(own.span_id)
            record.traceresponse = f"00-{record.trace_id}-{record.span_id}-{own.trace_flags:02x}"
        elif context is not None:
            caller = get_current_span(context).get_span_context()
            if caller.is_valid:
                record.trace_id = format_trace_id(caller.trace_id)

    def end(self, record: RequestRecord) -> None:
        """End the span of an answered request, with a child span for each phase."""
        span = record.span
        if self._tracer is None or span is None or not span.is_recording():
            return
        span.update_name(f"{record.method} {record.route}")
        span.set_attributes(_attributes(record))
        if record.status >= 500:
            span.set_status(StatusCode.ERROR)
        context = set_span_in_context(span)
        at_ns = span.start_time
        for phase, ns in record.phases.items():
            part = self._tracer.start_span(phase, context, start_time=at_ns)
            at_ns += ns
            part.end(at_ns)
        span.end(span.start_time + record.elapsed_ns)

    def close(self) -> None:
        """Send the remaining spans, within a few seconds."""
        if self._shut_down is not None:
            self._shut_down()


def _start_exporter(version: str) -> tuple[Tracer, Callable[[], None]]:
    """Return a tracer that exports in the background, and a function that stops it."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    defaults = Resource.create({"service.name": "fashion-mnist", "service.version": version})
    provider = TracerProvider(
        resource=defaults.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))

    def shut_down() -> None:
        give_up = threading.Timer(_FLUSH_SECONDS, exporter.shutdown)
        give_up.start()
        provider.shutdown()
        give_up.cancel()

    return provider.get_tracer("service", version), shut_down


def _attributes(record: RequestRecord) -> dict[str, str | int]:
    """Return the attributes of OpenTelemetry's conventions for a server span, and our own."""
    attributes: dict[str, str | int] = {"request.id": record.request_id}
    if record.method == "gRPC":
        attributes |= {"rpc.system": "grpc", "rpc.method": record.route}
    else:
        attributes["http.request.method"] = record.method
        attributes["http.route"] = record.route
        attributes["http.response.status_code"] = record.status
    if record.error_code:
        attributes["error.type"] = record.error_code
    if record.images:
        attributes["fashion_mnist.images"] = record.images
        attributes["fashion_mnist.model.version"] = record.version
    return attributes
