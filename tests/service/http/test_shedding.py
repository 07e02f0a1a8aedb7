"""Under overload large requests are rejected by their heads, as the application rejects them."""

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
    head,
    read_answer,
    read_answers,
    read_last_answers,
    statuses,
    whole,
)
from tests.service.http.test_predict import error_of

LARGE = bytes(100_000)
"""No image; long enough to be rejected unread."""

ROUTES = ("/predict", "/predict?prepare=photo", "/feature-maps", "/preparation")


@contextmanager
def overloaded(**options: object) -> Iterator[httpx.Client]:
    """A client of a server that has all the large jobs it can take."""
    fixed = {"artifacts": ARTIFACTS, "engine": "litert", "keep_alive_seconds": 4}
    settings = Settings.model_validate(fixed | options)
    app = create_app(settings)
    with serve(settings, app=app) as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pools, "has_large_jobs", True)
        patch.setattr(Pools, "check_large_job", _reject)
        yield client


def _reject(_: Pools, seconds: float) -> None:
    raise Overloaded(f"nothing is done within {seconds:g} seconds")


@contextmanager
def by_the_application() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batcher, "reject", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def full() -> Iterator[httpx.Client]:
    with overloaded(receive_seconds=0.5) as client:
        yield client


def test_it_is_the_answer_of_the_application_to_the_byte(full: httpx.Client) -> None:
    asked = ["X-Request-ID: mine", "X-Request-Timeout: 3", "traceparent: 00-" + "1" * 32]
    for path in ROUTES:
        for method in ("POST", "PUT"):
            before = samples_of(full.get("/metrics").text)
            with connect(full) as connection:
                request = whole(LARGE, *asked, method=method, path=path)
                connection.sendall(request)
                early = read_answer(connection)
                with by_the_application():
                    connection.sendall(request)
                    late = read_answer(connection)
            assert early.status == 503
            assert b"nothing is done within 3 seconds" in early.body
            assert early.headers["retry-after"] == "1"
            assert early.undated == late.undated
            after = samples_of(full.get("/metrics").text)
            series = f'method="{method}",route="{path.partition("?")[0]}",status="503"'
            for name in (
                f"fashion_mnist_requests_total{{{series}}}",
                'fashion_mnist_rejected_total{reason="overloaded"}',
            ):
                assert after[name] - before.get(name, 0) == 2, (path, method)


def test_the_body_is_not_kept_and_the_connection_goes_on(
    full: httpx.Client, boot_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_module, "read_body", None)  # Nobody reads it.
    with connect(full) as connection:
        for size in (len(LARGE), 70_000, 3_000_000):
            connection.sendall(head(size))
            rejected = read_answer(connection)  # Before the body is sent.
            assert rejected.status == 503
            assert b'"overloaded"' in rejected.body
            connection.sendall(bytes(size) + whole(boot_png))
            assert read_answer(connection).status == 200


def test_requests_in_pieces_or_together_are_answered_in_order(
    full: httpx.Client, boot_png: bytes
) -> None:
    small, large = whole(boot_png), whole(LARGE)
    with connect(full) as connection:
        connection.sendall(large[:20])
        time.sleep(0.05)
        connection.sendall(large[20:] + small + large + large + small)
        assert statuses(read_answers(connection, 5)) == [503, 200, 503, 503, 200]


def test_a_client_that_sends_a_part_of_it_and_no_more_is_hung_up_on(full: httpx.Client) -> None:
    with connect(full) as connection:
        connection.sendall(head(100_000))
        assert read_answer(connection).status == 503
        connection.sendall(bytes(50_000))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def test_the_last_request_of_a_connection_is_read_to_its_end(full: httpx.Client) -> None:
    for lines in (["Connection: close"], []):
        with connect(full) as connection:
            connection.sendall(head(len(LARGE), *lines, version="1.1" if lines else "1.0"))
            with connection.makefile("rb") as file:
                fields = list(iter(file.readline, b"\r\n"))
                assert fields[0].startswith(b"HTTP/1.1 503 ")
                assert b"connection: close\r\n" in fields
                connection.sendall(LARGE)  # After a close this would be answered with a reset.
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
def test_what_is_wrong_with_a_request_is_said_before(
    full: httpx.Client, headers: dict[str, str], status: int
) -> None:
    assert full.post("/predict", content=LARGE, headers=headers).status_code == status


def test_a_request_that_is_too_large_or_has_no_key_is_told_so() -> None:
    secret, key = make_key("shop", ["predict", "observe"])
    with overloaded(max_body_bytes=90_000) as client:
        assert client.post("/predict", content=LARGE[:80_000]).status_code == 503
        assert client.post("/predict", content=LARGE).status_code == 413
        assert client.post("/feature-maps", content=LARGE).status_code == 413
        with connect(client) as connection:
            connection.sendall(head(1 << 40))
            assert read_answer(connection).status == 413
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


def test_once_there_is_room_nothing_is_rejected(full: httpx.Client) -> None:
    for is_still_likely in (True, False):
        with connect(full) as connection:
            connection.sendall(whole(LARGE))
            assert read_answer(connection).status == 503
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Pools, "has_large_jobs", is_still_likely)
                patch.setattr(Pools, "check_large_job", lambda *_: None)
                connection.sendall(whole(LARGE))
                answer = read_answer(connection)
            assert answer.status == 400
            assert b'"invalid_image"' in answer.body
            connection.sendall(whole(LARGE))
            assert read_answer(connection).status == 503


def test_when_the_service_drains_it_says_so_and_closes() -> None:
    settings = Settings(artifacts=ARTIFACTS, engine="litert")
    app = create_app(settings)
    with serve(settings, app=app) as client:
        with connect(client) as known:
            known.sendall(whole(b"no image"))
            assert read_answer(known).status == 400
            app.state.admission.close()
            known.sendall(head(len(LARGE)))
            time.sleep(0.1)
            known.sendall(LARGE)
            [answer] = read_last_answers(known)
        assert answer.headers["connection"] == "close"
        assert b'"draining"' in answer.body
        response = client.post("/predict", content=LARGE)
        assert error_of(response, 503)[0] == "draining"
        assert response.headers["Connection"] == "close"


def send_slowly(connection: socket.socket, pieces: Sequence[bytes] = (b"x",) * 1000) -> None:
    for piece in pieces:
        connection.sendall(piece)
        time.sleep(0.02)


@pytest.mark.parametrize("is_early", [True, False])
def test_the_rest_of_a_body_that_nobody_reads_has_its_time_too(
    full: httpx.Client, is_early: bool
) -> None:
    with nullcontext() if is_early else by_the_application(), connect(full) as connection:
        connection.sendall(head(100_000))
        assert read_answer(connection).status == 503
        start = time.monotonic()
        with pytest.raises(ConnectionError):
            send_slowly(connection)
        assert 0.3 < time.monotonic() - start < 5


@pytest.mark.parametrize("is_early", [True, False])
def test_a_connection_that_is_idle_after_it_is_closed(full: httpx.Client, is_early: bool) -> None:
    with nullcontext() if is_early else by_the_application(), connect(full) as connection:
        connection.sendall(head(len(LARGE)))
        assert read_answer(connection).status == 503
        connection.sendall(LARGE)
        start = time.monotonic()
        assert connection.recv(1) == b""
        assert 3 < time.monotonic() - start < 10, "the time that idle connections have"


def test_a_body_is_not_cut_off_by_the_time_that_idle_connections_have() -> None:
    with overloaded(receive_seconds=30) as client, connect(client) as connection:
        connection.sendall(head(100_000))
        assert read_answer(connection).status == 503
        for _ in range(13):
            time.sleep(0.5)
            connection.sendall(bytes(5_000))
        connection.sendall(bytes(35_000) + head(None, method="GET", path="/livez"))
        assert read_answer(connection).status == 200
