"""W3C Trace Context: https://www.w3.org/TR/trace-context/."""

import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class TraceParent:
    """The caller's place in a trace.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits: of the caller's span.
        flags: Bit 0: the caller keeps what it records.
        state: The `tracestate` header.
    """

    trace_id: str
    span_id: str
    flags: int
    state: str = ""


def read_traceparent(header: str | None, state: str | None = None) -> TraceParent | None:
    """Return what a `traceparent` header says, or None if there is none that can be used."""
    match = _TRACEPARENT.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    # Versions to come may say more, the first does not; ff is none, and neither id may be zero.
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) * int(span_id, 16):
        return None
    return TraceParent(trace_id, span_id, int(flags, 16), state or "")
