"""Content negotiation, warnings, and weights in headers."""

import time

import pytest

from service.errors import NotAcceptable
from service.http.messages import headers_of, preferred, reply, weights
from service.telemetry.record import RequestRecord

OFFERS = ["application/json", "text/plain"]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/plain", "text/plain"),
        ("TEXT/PLAIN ; q=0.5", "text/plain"),
        ("text/*", "text/plain"),
        ("text/html, text/plain;q=0.9, */*;q=0.8", "text/plain"),
        ("text/plain;q=0.1, application/json;q=0.2", "application/json"),
        ("application/json;q=0, */*", "text/plain"),
        ("application/json;q=wrong, text/plain;q=0.1", "text/plain"),
    ],
)
def test_media_type_with_the_highest_weight_is_preferred(accept: str | None, chosen: str) -> None:
    assert preferred(accept, OFFERS) == chosen


@pytest.mark.parametrize("accept", ["image/png", "*/*;q=0", "text/plain;q=0"])
def test_unacceptable_accept_header_is_rejected_with_the_available_types(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="application/json, text/plain"):
        preferred(accept, OFFERS)


def test_warning_about_a_non_ascii_input_name_is_an_ascii_header() -> None:
    record = RequestRecord("1", warning="画像: the largest number is 255")
    reply(record, b"{}").fields.decode("ascii")
    assert headers_of(record)["Warning"].endswith(': the largest number is 255"')


@pytest.mark.parametrize("part", [" ", ",", ", ", "gzip ", "gzip;q=0 ", ";q=0"])
def test_long_header_is_parsed_within_a_second(part: str) -> None:
    start = time.perf_counter()
    weights(f"gzip{part * (65536 // len(part))}x")
    assert time.perf_counter() - start < 1  # It once took 15 s.
