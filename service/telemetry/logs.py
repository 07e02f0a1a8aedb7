"""The log format: text, or one JSON object per line."""

import logging
import re
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from .record import RequestRecord

# The name of a secret parameter, from its first letter: matched at each, it would take seconds.
_SECRET = re.compile(r"([?&](?=[^?&=]*(?:key|token|secret|password|auth))[^?&=]*=)[^&]*", re.I)
_API_KEY = re.compile(r"fashion_[\w-]{20,}")

_PACKAGE = __name__.partition(".")[0]

access_logger = logging.getLogger(f"{_PACKAGE}.access")
# Load balancers and monitoring request these every few seconds.
_PROBES = {"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}

_MILLISECOND = 1e6


class JsonFormatter(logging.Formatter):
    """Writes a log record as a line of JSON, with the ids of the request in `extra["request"]`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        request = getattr(record, "request", None)
        if isinstance(request, RequestRecord):
            line["request_id"] = request.request_id
            line["trace_id"] = request.trace_id or None
            line["span_id"] = request.span_id or None
            if record.name == access_logger.name:
                line |= _access_fields(request)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps({name: v for name, v in line.items() if v is not None}).decode()


def without_secrets(target: str) -> str:
    """Mask what may be a secret in a path with its query."""
    return _API_KEY.sub("***", _SECRET.sub(r"\1***", target))


def log_access(record: RequestRecord) -> None:
    """Log an answered request; a probe at level debug."""
    level = logging.DEBUG if record.route in _PROBES else logging.INFO
    if access_logger.isEnabledFor(level):
        request = f'{record.client} {record.key or "-"} "{record.method} {record.target}"'
        answer = f"{record.status} {record.elapsed_ns / _MILLISECOND:.1f} ms {record.request_id}"
        access_logger.log(level, "%s %s", request, answer, extra={"request": record})


def log_config(log_format: Literal["text", "json"], level: str) -> dict[str, Any]:
    """Return the `logging` configuration; the level of other packages is at least `warning`."""
    formatters: dict[str, dict[str, Any]] = {
        "text": {"()": "uvicorn.logging.DefaultFormatter", "fmt": "%(levelprefix)s %(message)s"},
        "json": {"()": _json_formatter},
    }
    severity = level.upper()
    # OpenTelemetry's warnings about a trace quote the client's headers.
    levels = {_PACKAGE: severity, "uvicorn": severity, "opentelemetry.trace": "ERROR"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": formatters[log_format]},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "chosen"}},
        "root": {"handlers": ["stderr"], "level": "ERROR" if severity == "ERROR" else "WARNING"},
        "loggers": {name: {"level": level} for name, level in levels.items()},
    }


def _json_formatter() -> logging.Formatter:
    logging.captureWarnings(True)  # Python prints warnings as text otherwise.
    return JsonFormatter()


def _access_fields(record: RequestRecord) -> dict[str, Any]:
    return {
        "client": record.client,
        "method": record.method,
        "route": record.route,
        "target": record.target,
        "status": record.status,
        "duration_ms": round(record.elapsed_ns / _MILLISECOND, 3),
        "phases_ms": {phase: round(ns / _MILLISECOND, 3) for phase, ns in record.phases.items()},
        "key": record.key or None,
        "rejected": record.error_code or None,
        "images": record.images if record.version else None,
        "version": record.version or None,
    }
