"""Log lines in JSON, with the ids of their request and without keys."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.settings import Settings
from service.telemetry.logs import JsonFormatter, access_logger, log_config, without_secrets
from service.telemetry.record import RequestRecord
from tests.conftest import ROOT
from tests.service.conftest import (
    ARTIFACTS,
    DEFAULT_VERSION,
    serve,
    serve_process,
    wait_until_ready,
)

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


class LineHandler(logging.Handler):
    """Records the JSON of each log record."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    handler = LineHandler()
    level = access_logger.level
    access_logger.addHandler(handler)
    access_logger.setLevel(logging.INFO)
    yield handler.lines
    access_logger.setLevel(level)
    access_logger.removeHandler(handler)


def test_request_is_logged_in_one_line_with_its_ids_and_phases(
    lines: list[dict[str, Any]], boot_png: bytes
) -> None:
    with serve(Settings(artifacts=ARTIFACTS, engine="litert")) as client:
        headers = {"X-Request-ID": "mine", "traceparent": TRACEPARENT}
        client.put("/predict?top_k=2", content=boot_png, headers=headers)
    [line] = lines
    assert (line["request_id"], line["trace_id"]) == ("mine", TRACE_ID)
    assert (line["method"], line["route"], line["target"]) == (
        "PUT",
        "/predict",
        "/predict?top_k=2",
    )
    assert (line["status"], line["images"], line["version"]) == (200, 1, int(DEFAULT_VERSION))
    assert set(line["phases_ms"]) == {"receive", "queue", "decode", "prepare", "infer", "encode"}
    assert 0 < sum(line["phases_ms"].values()) <= line["duration_ms"]
    assert (line["level"], line["logger"]) == ("info", "service.access")
    assert line["client"].startswith("127.0.0.1:")


def test_error_is_logged_with_its_code_and_probes_are_not_logged(
    lines: list[dict[str, Any]],
) -> None:
    with serve(Settings(artifacts=ARTIFACTS, engine="litert")) as client:
        client.post("/predict", content=b"no image")
        for probe in ("/livez", "/readyz", "/metrics"):
            client.get(probe)
    [line] = lines
    assert (line["status"], line["rejected"]) == (400, "invalid_image")


def test_exception_is_part_of_its_log_line() -> None:
    error = RuntimeError("broken\nin two")
    record = logging.LogRecord(
        "service.x", logging.ERROR, "x.py", 1, "cannot %s", ("go on",), (type(error), error, None)
    )
    text = JsonFormatter().format(record)
    line = json.loads(text)
    assert "\n" not in text
    assert (line["level"], line["message"]) == ("error", "cannot go on")
    assert "RuntimeError: broken\nin two" in line["exception"]
    assert "request_id" not in line


def test_other_lines_about_a_request_have_its_ids_but_not_its_status() -> None:
    record = logging.makeLogRecord({"name": "service.x", "msg": "broken"})
    record.request = RequestRecord("mine", trace_id=TRACE_ID, span_id="b7ad6b7169203331")
    line = json.loads(JsonFormatter().format(record))
    assert (line["request_id"], line["trace_id"]) == ("mine", TRACE_ID)
    assert line["span_id"] == "b7ad6b7169203331"
    assert "status" not in line


def test_uvicorn_and_the_service_write_the_same_json(free_port: int, boot_png: bytes) -> None:
    with serve_process("--log-format=json", port=free_port) as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client:
            wait_until_ready(client)
            client.put("/predict", content=boot_png, headers={"X-Request-ID": "mine"})
        process.terminate()
        _, log = process.communicate(timeout=30)
    written = log.splitlines()
    # LiteRT's native code writes this line itself, without Python's logging.
    written.remove("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.")
    lines = [json.loads(line) for line in written]
    assert {"uvicorn.error", "service.model.workers", "service.access"} <= {
        line["logger"] for line in lines
    }
    assert all({"time", "level", "message", "pid"} <= line.keys() for line in lines)
    [access] = [line for line in lines if line["logger"] == "service.access"]
    assert access["request_id"] == "mine"


@pytest.mark.parametrize(
    ("target", "logged"),
    [
        ("/predict?top_k=2&version=1", "/predict?top_k=2&version=1"),
        ("/predict?api_key=abc", "/predict?api_key=***"),
        ("/predict?top_k=2&X-API-Key=abc&a=b", "/predict?top_k=2&X-API-Key=***&a=b"),
        ("/predict?access_token=a%20b", "/predict?access_token=***"),
        (f"/predict?k=fashion_{'a' * 43}&top_k=1", "/predict?k=***&top_k=1"),
    ],
)
def test_keys_in_a_query_are_masked_in_the_log(target: str, logged: str) -> None:
    assert without_secrets(target) == logged


@pytest.mark.parametrize("part", ["key", "key=&", "fashion_", "?key", "&token"])
def test_long_target_is_masked_within_a_second(part: str) -> None:
    start = time.perf_counter()
    without_secrets("/?" + part * (65536 // len(part)))
    assert time.perf_counter() - start < 1  # It once took 10 s.


def test_python_warnings_are_logged_as_json() -> None:
    code = (
        "import logging.config, warnings; from service.telemetry.logs import log_config;"
        "logging.config.dictConfig(log_config('json', 'info')); warnings.warn('beware')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    [line] = map(json.loads, run.stderr.splitlines())
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "beware" in line["message"]


def test_log_level_of_other_packages_is_at_least_warning() -> None:
    assert log_config("text", "debug")["root"]["level"] == "WARNING"
    assert log_config("json", "error")["root"]["level"] == "ERROR"
