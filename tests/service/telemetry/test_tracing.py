"""What counts as a caller's place in a trace (W3C Trace Context, section 3.2)."""

import pytest

from service.telemetry.tracing import TraceParent, read_traceparent

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (f"00-{TRACE_ID}-{SPAN_ID}-01", 1),
        (f" 00-{TRACE_ID}-{SPAN_ID}-00 ", 0),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like", 1),
    ],
)
def test_a_valid_header_is_read(header: str, flags: int) -> None:
    assert read_traceparent(header, "a=b") == TraceParent(TRACE_ID, SPAN_ID, flags, "a=b")


@pytest.mark.parametrize(
    "header",
    [
        None,
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
def test_anything_else_is_as_if_it_had_not_been_sent(header: str | None) -> None:
    assert read_traceparent(header) is None
