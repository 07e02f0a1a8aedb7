"""Under overload long work is refused on seeing its head, as the application would refuse it."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import httpx
import pytest

from service.capacity.admission import Ticket
from service.http.discarding import Discarding
from service.http.refusal import LongRequest, Refusal
from service.app import create_app
from service.errors import Overloaded
from service.keys import make_key
from service.capacity.pools import Lanes
from service.settings import Settings
from tests.service.http.test_predict import error_of
from tests.service.http.test_turns import answers, connect
from tests.service.conftest import ARTIFACTS, samples_of, serve

LONG = bytes(100_000)
"""No picture; long enough to be refused unread."""

Headers = Sequence[tuple[bytes, bytes]]
Read = tuple[LongRequest, int] | None

drops_unread = pytest.mark.skipif(
    not Discarding.is_possible, reason="elsewhere the parser sees every head"
)

SECRET, KEY = make_key("shop", ["predict", "observe"])


@contextmanager
def overloaded(**options: object) -> Iterator[httpx.Client]:
    """A client of a server that has all the long work it can take."""
    settings = Settings.model_validate({"artifacts": ARTIFACTS, "engine": "litert", **options})
    app = create_app(settings)
    with serve(settings, app=app) as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lanes, "has_long_jobs", True)
        patch.setattr(Lanes, "announce_long_job", _refuse)
        patch.setattr(Lanes, "expect_long_job", _refuse)
        yield client


def _refuse(_: Lanes, seconds: float, *_ticket: Ticket) -> None:
    raise Overloaded(f"nothing is done within {seconds:g} seconds")


@pytest.mark.parametrize("path", ["/predict", "/predict?prepare=photo", "/feature-maps"])
@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_it_is_the_answer_the_application_would_have_given(path: str, verb: str) -> None:
    asked = {"X-Request-ID": "mine", "X-Request-Timeout": "3"}
    with overloaded() as client:
        early = client.request(verb, path, content=LONG, headers=asked)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Refusal, "answer", lambda *_: None)
            late = client.request(verb, path, content=LONG, headers=asked)
        assert error_of(early, 503) == ("overloaded", "nothing is done within 3 seconds")
        assert early.json() == late.json()
        assert {**early.headers, "date": ""} == {**late.headers, "date": ""}
        route = path.partition("?")[0]
        counted = samples_of(client.get("/metrics").text)
    series = f'route="{route}",method="{verb}",status="503"'
    assert counted[f"fashion_mnist_requests_total{{{series}}}"] == 2
    assert counted['fashion_mnist_rejected_total{reason="overloaded"}'] == 2


@pytest.mark.parametrize("is_possible", {Discarding.is_possible, False})
def test_the_body_is_not_kept_and_the_connection_goes_on(
    boot_png: bytes, is_possible: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.http.pictures.read_body", None)  # Nobody reads it.
    monkeypatch.setattr(Discarding, "is_possible", is_possible)
    with overloaded() as client:
        connection = connect(client)
        head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        for _ in range(3):
            connection.sendall(head % len(LONG))
            refused = answers(connection, 1)[0]  # Before the body is sent.
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b'"overloaded"' in refused
            connection.sendall(LONG + head % len(boot_png) + boot_png)
            assert answers(connection, 1)[0].startswith(b"HTTP/1.1 200 ")
        connection.close()


def test_whoever_sends_a_part_of_it_and_no_more_is_hung_up_on() -> None:
    with overloaded() as client:
        connection = connect(client)
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 503 ")
        connection.sendall(bytes(50_000))
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(20)
        assert connection.recv(1) == b""
        connection.close()


def test_the_last_request_of_a_connection_is_read_to_its_end() -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    with overloaded() as client:
        connection = connect(client)
        connection.sendall(head % len(LONG))
        with connection.makefile("rb") as file:
            lines = list(iter(file.readline, b"\r\n"))
            assert lines[0].startswith(b"HTTP/1.1 503 ")
            assert b"Connection: close\r\n" in lines
            connection.sendall(LONG)  # A server that had hung up would answer this with a reset.
            assert b'"overloaded"' in file.read()
        connection.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Encoding": "br"}, 415),
        ({"X-Request-Timeout": "soon"}, 400),
        ({"Expect": "100-continue"}, 503),
    ],
)
def test_what_is_wrong_with_a_request_is_said_before(headers: dict[str, str], status: int) -> None:
    with overloaded() as client:
        assert client.post("/predict", content=LONG, headers=headers).status_code == status


def test_what_is_too_large_or_has_no_key_is_told_so() -> None:
    with overloaded(max_body_bytes=90_000) as client:
        assert client.post("/predict", content=LONG[:80_000]).status_code == 503
        assert client.post("/predict", content=LONG).status_code == 413
        assert client.post("/feature-maps", content=LONG).status_code == 413
    with overloaded(api_keys=KEY.line()) as client:
        assert client.post("/predict", content=LONG).status_code == 401
        key = {"X-API-Key": SECRET}
        assert client.post("/predict", content=LONG, headers=key).status_code == 503
        counted = samples_of(client.get("/metrics", headers=key).text)
    assert counted['fashion_mnist_key_requests_total{key="shop",status="503"}'] == 1


def test_other_requests_are_not_refused(boot_png: bytes) -> None:
    with overloaded() as client:
        assert client.post("/predict", content=boot_png).status_code == 200
        assert client.post("/predict", files=[("files", boot_png)]).status_code == 200
        many = {"instances": [[0] * 784] * 50}
        assert client.post("/v1/models/fashion_mnist:predict", json=many).status_code == 200


def test_when_the_service_drains_it_says_so_and_closes() -> None:
    settings = Settings(artifacts=ARTIFACTS, engine="litert")
    app = create_app(settings)
    with serve(settings, app=app) as client:
        app.state.admission.close()
        response = client.post("/predict", content=LONG)
        assert error_of(response, 503)[0] == "draining"
        assert response.headers["Connection"] == "close"


def send_slowly(connection: socket.socket) -> None:
    for _ in range(1000):
        connection.sendall(b"x")
        time.sleep(0.02)


@pytest.mark.parametrize("is_early", [True, False])
def test_a_body_that_nobody_reads_has_its_time_too(is_early: bool) -> None:
    with overloaded(receive_seconds=0.3) as client, pytest.MonkeyPatch.context() as patch:
        if not is_early:
            patch.setattr(Refusal, "answer", lambda *_: None)
        connection = connect(client)
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 503 ")
        with pytest.raises(ConnectionError):
            send_slowly(connection)
        connection.close()


@pytest.mark.parametrize("is_early", [True, False])
def test_a_connection_that_is_idle_after_it_is_closed(is_early: bool) -> None:
    with overloaded() as client, pytest.MonkeyPatch.context() as patch:
        if not is_early:
            patch.setattr(Refusal, "answer", lambda *_: None)
        connection = connect(client)
        connection.settimeout(20)
        head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
        connection.sendall(head)
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 503 ")
        connection.sendall(LONG)
        assert connection.recv(1) == b""
        connection.close()


HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


def refused_once(client: httpx.Client) -> socket.socket:
    """A connection on which a request with HEAD was refused, and its body thrown away."""
    connection = connect(client)
    connection.sendall(HEAD % len(LONG))
    assert answers(connection, 1)[0].startswith(b"HTTP/1.1 503 ")
    connection.sendall(LONG)
    return connection


@pytest.fixture
def heads_read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets of the heads that were read rather than recognised."""
    targets: list[bytes] = []
    read = Refusal.read

    def count(refusal: Refusal, method: bytes, target: bytes, headers: Headers) -> Read:
        targets.append(target)
        return read(refusal, method, target, headers)

    monkeypatch.setattr(Refusal, "read", count)
    return targets


@drops_unread
def test_a_head_that_was_refused_is_recognised(heads_read: list[bytes]) -> None:
    with overloaded() as client:
        connection = refused_once(client)
        for size in (len(LONG), 70_000, 123_456, 3_000_000):
            connection.sendall(HEAD % size + bytes(size))
            refused = answers(connection, 1)[0]
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"nothing is done within 10 seconds" in refused
        assert heads_read == [b"/predict"]
        counted = samples_of(client.get("/metrics").text)
        connection.close()
    series = 'route="/predict",method="POST",status="503"'
    assert counted[f"fashion_mnist_requests_total{{{series}}}"] == 5
    assert counted['fashion_mnist_rejected_total{reason="overloaded"}'] == 5


def test_another_head_is_read(heads_read: list[bytes]) -> None:
    hurried = HEAD.replace(b"\r\n\r\n", b"\r\nX-Request-Timeout: 3\r\n\r\n")
    with overloaded() as client:
        connection = refused_once(client)
        for head, seconds in ((hurried, b"3"), (HEAD, b"10")):
            connection.sendall(head % len(LONG) + LONG)
            assert b"within %b seconds" % seconds in answers(connection, 1)[0]
        connection.close()
    assert len(heads_read) >= 2


def test_what_comes_in_pieces_or_together_is_answered_in_order(boot_png: bytes) -> None:
    short = HEAD % len(boot_png) + boot_png
    long = HEAD % len(LONG) + LONG
    with overloaded() as client:
        connection = refused_once(client)
        connection.sendall(long[:20])
        time.sleep(0.05)
        connection.sendall(long[20:] + short + long + long + short)
        statuses = [answer[9:12] for answer in answers(connection, 5)]
        connection.close()
    assert statuses == [b"503", b"200", b"503", b"503", b"200"]


@pytest.mark.parametrize("is_still_likely", [True, False])
def test_a_known_head_is_not_refused_once_there_is_room(is_still_likely: bool) -> None:
    with overloaded() as client:
        connection = refused_once(client)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Lanes, "has_long_jobs", is_still_likely)
            patch.setattr(Lanes, "announce_long_job", lambda *_: None)
            patch.setattr(Lanes, "expect_long_job", lambda *_: nullcontext())
            connection.sendall(HEAD % len(LONG) + LONG)
            answer = answers(connection, 1)[0]
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"invalid_image"' in answer
        connection.sendall(HEAD % len(LONG) + LONG)
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 503 ")
        connection.close()


def test_a_known_head_with_a_body_that_is_too_long_is_told_so() -> None:
    with overloaded() as client:
        connection = refused_once(client)
        connection.sendall(HEAD % (1 << 40))
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 413 ")
        connection.close()


@drops_unread
def test_a_known_head_is_told_of_the_end_and_the_connection_is_closed() -> None:
    settings = Settings(artifacts=ARTIFACTS, engine="litert")
    app = create_app(settings)
    with serve(settings, app=app) as client:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Lanes, "has_long_jobs", True)
            patch.setattr(Lanes, "announce_long_job", _refuse)
            connection = refused_once(client)
        app.state.admission.close()
        connection.sendall(HEAD % len(LONG))
        with connection.makefile("rb") as file:
            lines = list(iter(file.readline, b"\r\n"))
            assert b"Connection: close\r\n" in lines
            connection.sendall(LONG)
            assert b'"draining"' in file.read()
        connection.close()
