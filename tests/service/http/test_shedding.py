"""Under overload, large requests are rejected after their head, as by the application."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import httpx
import pytest

from service.app import create_app
from service.capacity.pools import Pools
from service.errors import Overloaded
from service.http import uploads as uploads_module
from service.http.batcher import Batcher
from service.keys import make_key
from service.settings import Settings
from tests.service.conftest import ARTIFACTS, samples_of, serve
from tests.service.http.connections import (
    connect,
    full_request,
    read_response,
    read_responses,
    read_responses_until_close,
    request_head,
    statuses,
)
from tests.service.http.test_predict import parse_error

LARGE = bytes(100_000)
"""Not an image; large enough to be rejected before it is read."""

ROUTES = ("/predict", "/predict?prepare=photo", "/feature-maps", "/preparation")


@contextmanager
def overloaded(**options: object) -> Iterator[httpx.Client]:
    """A client of a server without capacity for large jobs."""
    fixed = {"artifacts": ARTIFACTS, "engine": "litert", "keep_alive_seconds": 4}
    settings = Settings.model_validate(fixed | options)
    app = create_app(settings)
    with serve(settings, app=app) as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pools, "check_large_job", _reject)
        yield client


def _reject(_: Pools, seconds: float) -> None:
    raise Overloaded(f"nothing is done within {seconds:g} seconds")


@contextmanager
def without_early_rejection() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batcher, "reject", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def full() -> Iterator[httpx.Client]:
    with overloaded(receive_seconds=0.5) as client:
        yield client


def test_early_rejection_equals_that_of_the_application_byte_for_byte(full: httpx.Client) -> None:
    lines = ["X-Request-ID: mine", "X-Request-Timeout: 3", "traceparent: 00-" + "1" * 32]
    for path in ROUTES:
        for method in ("POST", "PUT"):
            before = samples_of(full.get("/metrics").text)
            with connect(full) as connection:
                request = full_request(LARGE, *lines, method=method, path=path)
                connection.sendall(request)
                early = read_response(connection)
                with without_early_rejection():
                    connection.sendall(request)
                    late = read_response(connection)
            assert early.status == 503
            assert b"nothing is done within 3 seconds" in early.body
            assert early.headers["retry-after"] == "1"
            assert early.without_date == late.without_date
            after = samples_of(full.get("/metrics").text)
            series = f'method="{method}",route="{path.partition("?")[0]}",status="503"'
            for name in (
                f"fashion_mnist_requests_total{{{series}}}",
                'fashion_mnist_rejected_total{reason="overloaded"}',
            ):
                assert after[name] - before.get(name, 0) == 2, (path, method)


def test_rejected_body_is_discarded_and_the_connection_stays_open(
    full: httpx.Client, boot_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_module, "read_body", None)  # It is not called.
    with connect(full) as connection:
        for size in (len(LARGE), 70_000, 3_000_000):
            connection.sendall(request_head(size))
            rejected = read_response(connection)  # Before the body is sent.
            assert rejected.status == 503
            assert b'"overloaded"' in rejected.body
            connection.sendall(bytes(size) + full_request(boot_png))
            assert read_response(connection).status == 200


def test_split_and_pipelined_requests_are_answered_in_order(
    full: httpx.Client, boot_png: bytes
) -> None:
    small, large = full_request(boot_png), full_request(LARGE)
    with connect(full) as connection:
        connection.sendall(large[:20])
        time.sleep(0.05)
        connection.sendall(large[20:] + small + large + large + small)
        assert statuses(read_responses(connection, 5)) == [503, 200, 503, 503, 200]


def test_half_closed_connection_with_an_incomplete_body_is_closed(full: httpx.Client) -> None:
    with connect(full) as connection:
        connection.sendall(request_head(100_000))
        assert read_response(connection).status == 503
        connection.sendall(bytes(50_000))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def test_rejected_body_of_a_last_request_is_received_to_its_end(full: httpx.Client) -> None:
    for lines in (["Connection: close"], []):
        with connect(full) as connection:
            connection.sendall(request_head(len(LARGE), *lines, version="1.1" if lines else "1.0"))
            with connection.makefile("rb") as file:
                fields = list(iter(file.readline, b"\r\n"))
                assert fields[0].startswith(b"HTTP/1.1 503 ")
                assert b"connection: close\r\n" in fields
                connection.sendall(LARGE)  # A closed connection would reset it.
                assert b'"overloaded"' in file.read()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Encoding": "br"}, 415),
        ({"X-Request-Timeout": "soon"}, 400),
        ({"Expect": "100-continue"}, 503),
        ({"Origin": "https://shop.example"}, 503),
    ],
)
def test_invalid_headers_take_precedence_over_overload(
    full: httpx.Client, headers: dict[str, str], status: int
) -> None:
    assert full.post("/predict", content=LARGE, headers=headers).status_code == status


def test_too_large_body_and_missing_key_take_precedence_over_overload() -> None:
    secret, key = make_key("shop", ["predict", "observe"])
    with overloaded(max_body_bytes=90_000) as client:
        assert client.post("/predict", content=LARGE[:80_000]).status_code == 503
        assert client.post("/predict", content=LARGE).status_code == 413
        assert client.post("/feature-maps", content=LARGE).status_code == 413
        with connect(client) as connection:
            connection.sendall(request_head(1 << 40))
            assert read_response(connection).status == 413
    with overloaded(api_keys=key.line()) as client:
        assert client.post("/predict", content=LARGE).status_code == 401
        sent = {"X-API-Key": secret}
        assert client.post("/predict", content=LARGE, headers=sent).status_code == 503
        counted = samples_of(client.get("/metrics", headers=sent).text)
    assert counted['fashion_mnist_key_requests_total{key="shop",status="503"}'] == 1


def test_other_requests_are_not_rejected(full: httpx.Client, boot_png: bytes) -> None:
    assert full.post("/predict", content=boot_png).status_code == 200
    assert full.post("/predict", files=[("files", boot_png)]).status_code == 200
    many = {"instances": [[0] * 784] * 50}
    assert full.post("/v1/models/fashion_mnist:predict", json=many).status_code == 200
    assert full.get("/livez").status_code == 200


def test_requests_are_accepted_once_there_is_capacity(full: httpx.Client) -> None:
    with connect(full) as connection:
        connection.sendall(full_request(LARGE))
        assert read_response(connection).status == 503
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Pools, "check_large_job", lambda *_: None)
            connection.sendall(full_request(LARGE))
            answer = read_response(connection)
        assert answer.status == 400
        assert b'"invalid_image"' in answer.body
        connection.sendall(full_request(LARGE))
        assert read_response(connection).status == 503


def test_draining_service_returns_503_and_closes_the_connection() -> None:
    settings = Settings(artifacts=ARTIFACTS, engine="litert")
    app = create_app(settings)
    with serve(settings, app=app) as client:
        with connect(client) as known:
            known.sendall(full_request(b"no image"))
            assert read_response(known).status == 400
            app.state.admission.close()
            known.sendall(request_head(len(LARGE)))
            time.sleep(0.1)
            known.sendall(LARGE)
            [answer] = read_responses_until_close(known)
        assert answer.headers["connection"] == "close"
        assert b'"draining"' in answer.body
        response = client.post("/predict", content=LARGE)
        assert parse_error(response, 503)[0] == "draining"
        assert response.headers["Connection"] == "close"


def send_slowly(connection: socket.socket, pieces: Sequence[bytes] = (b"x",) * 1000) -> None:
    for piece in pieces:
        connection.sendall(piece)
        time.sleep(0.02)


@pytest.mark.parametrize("is_early", [True, False])
def test_discarded_body_has_a_receive_timeout(full: httpx.Client, is_early: bool) -> None:
    with nullcontext() if is_early else without_early_rejection(), connect(full) as connection:
        connection.sendall(request_head(100_000))
        assert read_response(connection).status == 503
        start = time.monotonic()
        with pytest.raises(ConnectionError):
            send_slowly(connection)
        assert 0.3 < time.monotonic() - start < 5


@pytest.mark.parametrize("is_early", [True, False])
def test_idle_connection_is_closed_after_a_discarded_body(
    full: httpx.Client, is_early: bool
) -> None:
    with nullcontext() if is_early else without_early_rejection(), connect(full) as connection:
        connection.sendall(request_head(len(LARGE)))
        assert read_response(connection).status == 503
        connection.sendall(LARGE)
        start = time.monotonic()
        assert connection.recv(1) == b""
        assert 3 < time.monotonic() - start < 10, "not after the keep-alive time"


def test_keep_alive_timeout_does_not_apply_to_a_discarded_body() -> None:
    with overloaded(receive_seconds=30) as client, connect(client) as connection:
        connection.sendall(request_head(100_000))
        assert read_response(connection).status == 503
        for _ in range(13):
            time.sleep(0.5)
            connection.sendall(bytes(5_000))
        connection.sendall(bytes(35_000) + request_head(None, method="GET", path="/livez"))
        assert read_response(connection).status == 200
