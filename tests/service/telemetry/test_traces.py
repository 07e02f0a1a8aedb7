"""Requests join the traces of their callers (W3C Trace Context) and reach a collector as OTLP."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.settings import Settings
from service.telemetry.record import RequestRecord
from service.telemetry.traces import RequestTracer
from tests.conftest import ROOT
from tests.service.conftest import ARTIFACTS, DEFAULT_VERSION, serve
from tests.service.telemetry.test_logs import TRACE_ID, TRACEPARENT

SPAN_ID = "b7ad6b7169203331"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def test_invalid_tracestate_is_not_logged() -> None:
    code = (
        "import logging.config, sys\n"
        "from service.telemetry.logs import log_config\n"
        "from service.telemetry.record import RequestRecord\n"
        "from service.telemetry.traces import RequestTracer\n"
        "logging.config.dictConfig(log_config('text', 'debug'))\n"
        "headers = {'traceparent': sys.argv[1], 'tracestate': 'INFO: served ' + 'a' * 9}\n"
        "RequestTracer('').begin(RequestRecord(''), headers)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, TRACEPARENT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_long_trace_headers_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Mapping[str, str]] = []
    monkeypatch.setattr(
        TraceContextTextMapPropagator, "extract", lambda _, carrier: parsed.append(carrier)
    )
    tracer = RequestTracer("")
    for state in ("shop=7", "a=b" + " " * 60_000 + "c", ""):
        tracer.begin(RequestRecord(""), {"traceparent": TRACEPARENT, "tracestate": state})
    tracer.begin(RequestRecord(""), {"traceparent": "0" * 60_000, "tracestate": "shop=7"})
    only = {"traceparent": TRACEPARENT}
    assert parsed == [{**only, "tracestate": "shop=7"}, only, only]


class Collector(ThreadingHTTPServer):
    """A collector that stores received traces."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[ExportTraceServiceRequest] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert (self.path, self.headers["Content-Type"]) == (
            "/v1/traces",
            "application/x-protobuf",
        )
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv(ENDPOINT, server.address)
        yield server
        server.shutdown()
        thread.join()


def attributes(given: Any) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in given.attributes}


def test_request_is_exported_as_a_span_with_a_child_span_per_phase(
    collector: Collector, boot_png: bytes
) -> None:
    with serve(Settings(artifacts=ARTIFACTS, engine="litert")) as client:
        headers = {"traceparent": TRACEPARENT, "tracestate": "shop=7", "X-Request-ID": "mine"}
        response = client.put("/predict", content=boot_png, headers=headers)
    [span] = [span for span in collector.spans if span.name == "PUT /predict"]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert span.trace_state == "shop=7"
    assert response.headers["traceresponse"] == f"00-{TRACE_ID}-{span.span_id.hex()}-01"
    assert attributes(span) == {
        "http.request.method": "PUT",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "request.id": "mine",
        "fashion_mnist.images": 1,
        "fashion_mnist.model.version": int(DEFAULT_VERSION),
    }
    phases = [inner for inner in collector.spans if inner.parent_span_id == span.span_id]
    assert {phase.name for phase in phases} == {
        *("receive", "queue", "decode", "prepare", "infer", "encode")
    }
    assert all(phase.trace_id == span.trace_id for phase in phases)
    assert phases[0].start_time_unix_nano == span.start_time_unix_nano
    assert phases[-1].end_time_unix_nano <= span.end_time_unix_nano
    resource = attributes(collector.received[0].resource_spans[0].resource)
    assert resource["service.name"] == "fashion-mnist"


@pytest.mark.parametrize(
    "environment",
    [{"OTEL_SERVICE_NAME": "ours"}, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=ours,zone=a"}],
)
def test_environment_sets_the_service_name(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tracer = RequestTracer("1.2.3")
    record = RequestRecord("mine")
    tracer.begin(record, {})
    tracer.end(record)
    tracer.close()
    resource = attributes(collector.received[0].resource_spans[0].resource)
    assert (resource["service.name"], resource["service.version"]) == ("ours", "1.2.3")


def test_client_error_does_not_set_the_span_status_to_error(collector: Collector) -> None:
    with serve(Settings(artifacts=ARTIFACTS, engine="litert")) as client:
        client.post("/predict", content=b"no image")
    [span] = [span for span in collector.spans if span.name == "POST /predict"]
    assert attributes(span)["error.type"] == "invalid_image"
    assert span.status.code == 0


def test_unsampled_trace_is_not_exported(collector: Collector) -> None:
    unsampled = f"{TRACEPARENT[:-2]}00"
    with serve(Settings(artifacts=ARTIFACTS, engine="litert")) as client:
        response = client.get("/model/summary", headers={"traceparent": unsampled})
    assert response.headers["traceresponse"].startswith(f"00-{TRACE_ID}-")
    assert not [span for span in collector.spans if span.name == "GET /model/summary"]


def test_requests_are_answered_if_the_collector_is_unreachable(
    monkeypatch: pytest.MonkeyPatch, free_port: int, boot_png: bytes
) -> None:
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{free_port}")
    with serve(Settings(artifacts=ARTIFACTS, engine="litert")) as client:
        assert client.put("/predict", content=boot_png).status_code == 200


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE_ID}-{SPAN_ID}-01", True),
        (f" 00-{TRACE_ID}-{SPAN_ID}-00 ", False),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like", True),
    ],
)
def test_valid_traceparent_is_continued(
    monkeypatch: pytest.MonkeyPatch, free_port: int, header: str, sampled: bool
) -> None:
    assert begin_request(header, RequestTracer("0")).trace_id == TRACE_ID
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{free_port}")
    tracer = RequestTracer("0")
    record = begin_request(header, tracer)
    assert record.traceresponse == f"00-{TRACE_ID}-{record.span_id}-{sampled:02x}"
    tracer.close()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
    ],
)
def test_invalid_traceparent_is_ignored(
    monkeypatch: pytest.MonkeyPatch, free_port: int, header: str
) -> None:
    assert begin_request(header, RequestTracer("0")).trace_id == ""
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{free_port}")
    tracer = RequestTracer("0")
    assert begin_request(header, tracer).trace_id not in {"", "0" * 32, TRACE_ID}
    tracer.close()


def begin_request(traceparent: str, tracer: RequestTracer) -> RequestRecord:
    record = RequestRecord("mine")
    tracer.begin(record, {"traceparent": traceparent})
    return record


@pytest.mark.parametrize(
    "off", [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}]
)
def test_sdk_is_not_imported_unless_traces_are_exported(
    monkeypatch: pytest.MonkeyPatch, off: dict[str, str]
) -> None:
    if off:
        monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    for name, value in off.items():
        monkeypatch.setenv(name, value)
    code = "import sys; from service.app import create_app; create_app();"
    code += "assert 'opentelemetry.sdk' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_endpoint_without_the_otel_extra_is_logged_as_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with serve(Settings(artifacts=ARTIFACTS, engine="litert")) as client:
        assert "traceresponse" not in client.get("/livez").headers
    assert "that needs the extra `otel`" in caplog.text
