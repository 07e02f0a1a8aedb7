"""Creates a record for each request, and counts, logs and traces it at its end."""

import random
import re
from collections.abc import Mapping

from .logs import log_access
from .metrics import Metrics
from .record import RequestRecord
from .traces import RequestTracer

# Safe to echo into a header and a log line: no spaces, quotes or control characters.
_USABLE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class Instrumentation:
    """Observes the requests of one worker, over HTTP and gRPC alike."""

    def __init__(self, metrics: Metrics, version: str) -> None:
        self.metrics = metrics
        self._tracer = RequestTracer(version)

    def begin(self, headers: Mapping[str, str]) -> RequestRecord:
        """Return the record of a new request; `headers` have lower-case names."""
        sent = headers.get("x-request-id", "")
        request_id = sent if _USABLE_ID.fullmatch(sent) else f"{random.getrandbits(64):016x}"
        record = RequestRecord(request_id)
        self._tracer.begin(record, headers)
        return record

    def end(self, record: RequestRecord) -> None:
        """Count, log and export a request that has been answered."""
        record.end()
        self.metrics.count_request(record)
        log_access(record)
        self._tracer.end(record)

    def close(self) -> None:
        """Send the remaining traces, which blocks for up to some seconds."""
        self.metrics.close()
        self._tracer.close()
