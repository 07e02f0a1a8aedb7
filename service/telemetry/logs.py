"""How the log looks: lines for people, or one JSON object a line for machines."""

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

from service.telemetry.record import Observation, current
from service.settings import LogFormat

access_logger = logging.getLogger("service.access")

# Asked for every few seconds by whoever looks after the service.
_PROBES = {"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}

_MILLISECOND = 1e6


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON, with the request it is about."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        seen = current.get()
        if seen is not None:
            line["request_id"] = seen.request_id
            if seen.trace_id:
                line["trace_id"] = seen.trace_id
            if seen.span_id:
                line["span_id"] = seen.span_id
            if record.name == access_logger.name:
                line |= _fields(seen)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def log_access(seen: Observation) -> None:
    """Write the line about a request that has been answered; of a probe only when debugging."""
    level = logging.DEBUG if seen.route in _PROBES else logging.INFO
    if access_logger.isEnabledFor(level):
        access_logger.log(
            level,
            '%s %s "%s %s" %d %.1f ms %s',
            seen.client,
            seen.key or "-",
            seen.method,
            seen.target,
            seen.status,
            seen.elapsed_ns / _MILLISECOND,
            seen.request_id,
        )


def log_config(log_format: LogFormat, level: str) -> dict[str, Any]:
    """Return the configuration of `logging` for the service, uvicorn, and whatever they use.

    Args:
        log_format: Of every line, whoever writes it.
        level: The least severe that is written; of other packages it is never below `warning`.
    """
    formatters: dict[LogFormat, dict[str, Any]] = {
        "text": {"()": "uvicorn.logging.DefaultFormatter", "fmt": "%(levelprefix)s %(message)s"},
        "json": {"()": "service.telemetry.logs.JsonFormatter"},
    }
    severity = level.upper()
    others = "ERROR" if severity == "ERROR" else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": formatters[log_format]},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "chosen"}},
        "root": {"handlers": ["stderr"], "level": others},
        "loggers": {"service": {"level": severity}, "uvicorn": {"level": severity}},
    }


def _fields(seen: Observation) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "client": seen.client,
        "method": seen.method,
        "route": seen.route,
        "target": seen.target,
        "status": seen.status,
        "duration_ms": round(seen.elapsed_ns / _MILLISECOND, 3),
        "phases_ms": {phase: round(ns / _MILLISECOND, 3) for phase, ns in seen.phases.items()},
    }
    if seen.key:
        fields["key"] = seen.key
    if seen.rejected:
        fields["rejected"] = seen.rejected
    if seen.version:
        fields |= {"images": seen.images, "version": seen.version}
    return fields
