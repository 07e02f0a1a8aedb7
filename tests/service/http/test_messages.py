"""What answers have in common."""

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
def test_the_offer_ranked_highest_is_chosen(accept: str | None, chosen: str) -> None:
    assert preferred(accept, OFFERS) == chosen


@pytest.mark.parametrize("accept", ["image/png", "*/*;q=0", "text/plain;q=0"])
def test_a_client_that_accepts_no_offer_is_told_what_there_is(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="application/json, text/plain"):
        preferred(accept, OFFERS)


def test_a_warning_names_inputs_of_any_script_in_ascii() -> None:
    record = RequestRecord("1", warning="画像: the largest number is 255")
    reply(record, b"{}").fields.decode("ascii")
    assert headers_of(record)["Warning"].endswith(': the largest number is 255"')


@pytest.mark.parametrize("part", [" ", ",", ", ", "gzip ", "gzip;q=0 ", ";q=0"])
def test_a_long_header_takes_no_time(part: str) -> None:
    start = time.perf_counter()
    weights(f"gzip{part * (65536 // len(part))}x")
    assert time.perf_counter() - start < 1  # It was fifteen.
