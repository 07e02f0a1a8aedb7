"""Connections: packets, pipelines, unsupported protocols, limits on heads."""

import ast
import asyncio
import gc
import socket
import struct
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import httpx
import orjson
import pytest
import uvicorn
import uvloop
from PIL import Image
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.app import create_app
from service.capacity import scheduling
from service.capacity.scheduling import TASKS, FairScheduler
from service.http import protocol as protocol_module
from service.http.batcher import Batcher
from service.http.protocol import BODY_SECONDS, UVICORN_INTERNALS, ServiceProtocol
from service.settings import Settings
from tests.service.conftest import ARTIFACTS, Encode, serve
from tests.service.http.connections import (
    connect,
    full_request,
    is_closed,
    read_response,
    read_responses,
    read_responses_until_close,
    read_until_close,
    request_head,
    statuses,
)

FAST, SLOW = "/predict", "/predict?scale=255"
"""The same route, handled by the fast path and by the application."""

V2 = "/v2/models/fashion_mnist/infer"
HEALTH = request_head(None, method="GET", path="/livez")


@pytest.fixture(scope="module")
def served() -> Iterator[httpx.Client]:
    settings = Settings(artifacts=ARTIFACTS, engine="litert", receive_seconds=2)
    with serve(settings) as client:
        yield client


@pytest.fixture(params=["only connection", "second connection"])
def server(served: httpx.Client, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A server without and with another connection, as a batch may wait for other requests."""
    with ExitStack() as stack:
        if request.param == "second connection":
            other = stack.enter_context(connect(served))
            other.sendall(HEALTH)
            assert read_response(other).status == 200
        yield served


@pytest.fixture(scope="module")
def photo(encode: Encode) -> bytes:
    """A file of a few kilobytes that takes a large part of a second to decode and prepare."""
    return encode(Image.new("RGB", (4000, 4000), "white"), compress_level=9)


def numbers(count: int) -> bytes:
    """Return a body of the Open Inference Protocol of about 4,706 bytes per image."""
    data = [[123.25] * 784] * count
    tensor = {"name": "images", "shape": [count, 784], "datatype": "FP32", "data": data}
    return orjson.dumps({"inputs": [tensor]})


class TestPackets:
    def test_body_may_arrive_after_its_head_and_in_pieces(
        self, server: httpx.Client, boot_png: bytes
    ) -> None:
        for pause in (0.0, 0.005, 2 * BODY_SECONDS):
            with connect(server) as connection:
                for _ in range(2):
                    for piece in (request_head(len(boot_png)), boot_png[:100], boot_png[100:]):
                        connection.sendall(piece)
                        time.sleep(pause)
                    answer = read_response(connection)
                    assert answer.status == 200
                    assert b"Ankle boot" in answer.body

    def test_request_may_arrive_byte_by_byte(self, server: httpx.Client, boot_png: bytes) -> None:
        with connect(server) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in full_request(boot_png) + HEALTH:
                connection.sendall(bytes([byte]))
            assert statuses(read_responses(connection, 2)) == [200, 200]

    def test_incomplete_body_is_a_408_and_closes_the_connection(
        self, server: httpx.Client, boot_png: bytes
    ) -> None:
        with connect(server) as connection:
            connection.sendall(
                full_request(boot_png) + request_head(len(boot_png)) + boot_png[:100]
            )
            assert statuses(read_responses(connection, 2)) == [200, 408]
            assert is_closed(connection)

    def test_half_closed_connection_still_receives_its_responses(
        self, server: httpx.Client, boot_png: bytes
    ) -> None:
        for count in (1, 3):
            with connect(server) as connection:
                connection.sendall(full_request(boot_png) * count)
                connection.shutdown(socket.SHUT_WR)
                assert statuses(read_responses(connection, count)) == [200] * count

    def test_connection_is_closed_if_the_client_requests_it(
        self, server: httpx.Client, boot_png: bytes
    ) -> None:
        for path in (FAST, SLOW):
            for version, lines in (("1.1", ["Connection: close"]), ("1.0", [])):
                with connect(server) as connection:
                    start = request_head(len(boot_png), *lines, path=path, version=version)
                    connection.sendall(start + boot_png)
                    answer = read_response(connection)
                    assert answer.status == 200
                    assert answer.headers["connection"] == "close"
                    assert is_closed(connection)

    @pytest.mark.parametrize("path", ["/nowhere", "/predict?unknown=1"])
    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    def test_body_of_a_last_request_is_received_after_an_early_response(
        self, server: httpx.Client, version: str, path: str
    ) -> None:
        """Otherwise proxies, which send `Connection: close` by default, would return a 502."""
        with connect(server) as connection:
            body = b"0" * 8_000_000
            connection.sendall(
                request_head(len(body), "Connection: close", path=path, version=version)
            )
            answer = read_response(connection)
            assert answer.status in (400, 404)
            assert answer.headers["connection"] == "close"
            connection.sendall(body[:-1])
            time.sleep(0.1)
            connection.sendall(body[-1:])  # A closed connection would reset it.
            assert is_closed(connection)
        with connect(server) as connection:
            connection.sendall(request_head(1000, "Connection: close", path=path, version=version))
            assert read_response(connection).status == answer.status
            assert is_closed(connection), "the connection was not closed at the timeout of the body"

    def test_connection_closes_with_the_response_if_the_body_awaits_100_continue(
        self, server: httpx.Client
    ) -> None:
        with connect(server) as connection:
            connection.sendall(
                request_head(1000, "Connection: close", "Expect: 100-continue", path="/nowhere")
            )
            start = time.monotonic()
            assert read_response(connection).status == 404
            assert is_closed(connection)
            assert time.monotonic() - start < 1, "it waited for the body"

    def test_disconnects_do_not_affect_other_connections(
        self, server: httpx.Client, boot_png: bytes
    ) -> None:
        for sent in (
            request_head(1000) + b"half",
            request_head(1000),
            full_request(boot_png),
            full_request(boot_png, path=SLOW),
        ):
            for option in (0, 1):
                connection = connect(server)
                # With option 1, closing sends a reset.
                linger = struct.pack("ii", option, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.sendall(sent)
                connection.close()
        with connect(server) as connection:
            connection.sendall(full_request(boot_png))
            assert read_response(connection).status == 200


class TestPipelines:
    def test_pipelined_requests_of_all_kinds_are_answered_in_order(
        self, server: httpx.Client, boot_png: bytes, photo: bytes
    ) -> None:
        kinds = [
            (FAST, boot_png, 200),
            (SLOW, photo, 200),
            (FAST, b"no image", 400),
            (V2, numbers(2), 200),
            (V2, numbers(20), 200),
            (SLOW, boot_png, 200),
            (FAST, boot_png, 200),
            ("/nowhere", b"x", 404),
            (V2, b"{", 400),
            (FAST, b"no image", 400),
            (FAST, boot_png, 200),
        ]
        requests = [
            full_request(body, f"X-Request-ID: {number}", path=path)
            for number, (path, body, _) in enumerate(kinds)
        ]
        with connect(server) as connection:
            for _ in range(2):
                connection.sendall(b"".join(requests))
                answers = read_responses(connection, len(kinds))
                assert statuses(answers) == [status for _, _, status in kinds]
                ids = [int(answer.headers["x-request-id"]) for answer in answers]
                assert ids == list(range(len(kinds)))

    def test_packet_may_end_anywhere_in_the_next_request(
        self, server: httpx.Client, boot_png: bytes
    ) -> None:
        first, second = full_request(boot_png), full_request(b"no image")
        with connect(server) as connection:
            for cut in range(0, len(second), 7):
                connection.sendall(first + second[:cut])
                if cut % 2:
                    time.sleep(0.002)
                connection.sendall(second[cut:])
                assert statuses(read_responses(connection, 2)) == [200, 400], cut

    @pytest.mark.parametrize("kind", ["V2", "V2 in the application", "form", "JSON"])
    def test_large_request_followed_by_part_of_the_next_head_is_answered(
        self, server: httpx.Client, boot_png: bytes, kind: str
    ) -> None:
        if kind.startswith("V2"):
            request = full_request(numbers(20), path=V2 if kind == "V2" else f"{V2}?unknown")
            assert 90_000 < len(request) < 110_000
        else:
            part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n%b\r\n'
            form = part % boot_png * (70_000 // (len(boot_png) + 60)) + b"--x--\r\n"
            json = orjson.dumps({"instances": [[123.25] * 784] * 14})
            body = form if kind == "form" else json
            media_type = "multipart/form-data; boundary=x" if kind == "form" else "application/json"
            request = full_request(body, f"Content-Type: {media_type}")
            assert 65_536 < len(body) < 80_000
        following = full_request(boot_png)
        with connect(server) as connection:
            for cut in (1, 30, following.index(b"\r\n\r\n") + 3):
                connection.sendall(request + following[:cut])
                assert read_response(connection).status == 200
                connection.sendall(following[cut:])
                assert read_response(connection).status == 200

    def test_client_that_reads_late_receives_all_responses_in_order(
        self, server: httpx.Client, boot_png: bytes
    ) -> None:
        count = 3000
        with connect(server, receive_bytes=4096) as connection:

            def send() -> None:
                for number in range(count):
                    path = SLOW if number % 50 == 7 else FAST
                    connection.sendall(full_request(boot_png, f"X-Request-ID: {number}", path=path))

            thread = threading.Thread(target=send)
            thread.start()
            time.sleep(0.5)
            answers = read_responses(connection, count)
            thread.join()
        assert [int(answer.headers["x-request-id"]) for answer in answers] == list(range(count))
        assert statuses(answers) == [200] * count


class TestOtherProtocols:
    UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAAA")

    @pytest.mark.parametrize("path", [FAST, SLOW, "/feature-maps?layer=conv2d_1", V2])
    @pytest.mark.parametrize("pause", [None, 0.0, 0.02])
    def test_upgrade_header_of_a_request_with_a_body_is_ignored(
        self, server: httpx.Client, boot_png: bytes, path: str, pause: float | None
    ) -> None:
        body = numbers(1) if path == V2 else boot_png
        same = "X-Request-ID: same"
        start = request_head(len(body), same, *self.UPGRADE, path=path)
        with connect(server) as connection:
            connection.sendall(full_request(body, same, path=path))
            plain = read_response(connection)
            assert plain.status == 200
            for _ in range(2):
                if pause is None:
                    connection.sendall(start + body)
                else:
                    connection.sendall(start)
                    time.sleep(pause)
                    connection.sendall(body[:50])
                    time.sleep(pause)
                    connection.sendall(body[50:])
                assert read_response(connection).without_date == plain.without_date
            connection.sendall(full_request(body, path=path))
            assert read_response(connection).status == 200

    def test_body_of_an_upgrade_request_is_not_parsed_as_requests(
        self, server: httpx.Client
    ) -> None:
        body = HEALTH + HEALTH
        for pause in (None, 0.02):
            with connect(server) as connection:
                connection.sendall(request_head(len(body), *self.UPGRADE))
                if pause:
                    time.sleep(pause)
                connection.sendall(body + HEALTH)
                answers = read_responses(connection, 2)
                assert statuses(answers) == [400, 200]
                assert b"invalid_image" in answers[0].body

    def test_pipelined_upgrade_requests_are_answered_in_order(
        self, server: httpx.Client, boot_png: bytes
    ) -> None:
        upgrade = request_head(None, *self.UPGRADE, method="GET", path="/readyz")
        with_body = full_request(b"no image", *self.UPGRADE, path=SLOW)
        with connect(server) as connection:
            sent = [
                full_request(boot_png),
                upgrade,
                full_request(boot_png, path=SLOW),
                with_body,
                HEALTH,
            ]
            connection.sendall(b"".join(sent))
            assert statuses(read_responses(connection, 5)) == [200, 200, 200, 400, 200]

    def test_upgrade_request_may_have_a_chunked_body(
        self, server: httpx.Client, boot_png: bytes
    ) -> None:
        chunked = request_head(None, "Transfer-Encoding: chunked", *self.UPGRADE)
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(boot_png), boot_png)
        with connect(server) as connection:
            connection.sendall(chunked + chunks + HEALTH)
            assert statuses(read_responses(connection, 2)) == [200, 200]

    def test_websocket_upgrade_is_ignored(self, server: httpx.Client) -> None:
        lines = (
            *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        with connect(server) as connection:
            connection.sendall(request_head(None, *lines, method="GET", path="/livez") + HEALTH)
            assert statuses(read_responses(connection, 2)) == [200, 200]

    @pytest.mark.parametrize("target", ["localhost:80", "/", "/predict", "http://localhost/"])
    def test_connect_request_is_rejected(self, server: httpx.Client, target: str) -> None:
        with connect(server) as connection:
            connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            answer = read_until_close_or_idle(connection)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 405 "))
        assert answer.count(b"HTTP/1.1 ") == 1

    def test_http_2_preface_is_a_400(self, server: httpx.Client) -> None:
        with connect(server) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert read_until_close(connection).startswith(b"HTTP/1.1 400 ")


def read_until_close_or_idle(connection: socket.socket) -> bytes:
    """Read until the server closes the connection, or sends nothing for a while."""
    connection.settimeout(0.5)
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except TimeoutError:
        pass
    return received


class TestGarbage:
    GARBAGE = (
        b"\x00\x01\x02\r\n\r\n",
        b"no request\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"PO\x80ST ",
    )

    def test_garbage_is_a_400_and_closes_the_connection(self, server: httpx.Client) -> None:
        for garbage in self.GARBAGE:
            with connect(server) as connection:
                connection.sendall(garbage)
                answer = read_response(connection)
                assert answer.status == 400
                assert answer.body == b"Invalid HTTP request received."
                assert is_closed(connection)

    @pytest.mark.parametrize("kind", ["fast", "slow", "large", "photo", "bad"])
    def test_request_followed_by_garbage_is_answered_and_the_connection_closed(
        self, server: httpx.Client, boot_png: bytes, photo: bytes, kind: str
    ) -> None:
        request, status = {
            "fast": (full_request(boot_png), 200),
            "slow": (full_request(boot_png, path=SLOW), 200),
            "large": (full_request(numbers(20), path=V2), 200),
            "photo": (full_request(photo), 200),
            "bad": (full_request(b"no image"), 400),
        }[kind]
        for garbage in self.GARBAGE:
            with connect(server) as connection:
                connection.sendall(request + garbage)
                first, *rest = statuses(read_responses_until_close(connection))
                # After the response, the garbage may get its own.
                assert (first, rest) in ((status, []), (status, [400])), garbage

    def test_all_requests_before_garbage_are_answered(
        self, server: httpx.Client, boot_png: bytes
    ) -> None:
        request, slow = full_request(boot_png), full_request(boot_png, path=SLOW)
        for requests in ([request] * 3, [slow, request], [request, slow, request, slow]):
            with connect(server) as connection:
                connection.sendall(b"".join(requests) + b"no request\r\n\r\n")
                given = statuses(read_responses_until_close(connection))
                assert given[: len(requests)] == [200] * len(requests)
                assert given[len(requests) :] in ([], [400])

    def test_malformed_chunk_gets_a_single_error_response(self, server: httpx.Client) -> None:
        for path in (FAST, SLOW, "/nowhere"):
            with connect(server) as connection:
                start = request_head(None, "Transfer-Encoding: chunked", path=path)
                connection.sendall(start + b"9\r\n123456789\r\nno chunk\r\n")
                answer = read_until_close(connection)
                assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))
                assert answer.count(b"HTTP/1.1 ") == 1


def send_slowly(connection: socket.socket) -> None:
    for _ in range(100):
        connection.sendall(b"x")
        time.sleep(0.02)


class TestHeadTimeout:
    @pytest.fixture(autouse=True)
    def _short_head_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol_module, "HEAD_SECONDS", 0.6)

    def test_incomplete_head_is_a_408_and_closes_the_connection(self, server: httpx.Client) -> None:
        for sent in (b"", b"POST /predict HTTP/1.1\r\nHost: a\r\n"):
            with connect(server) as connection:
                connection.sendall(sent)
                assert read_response(connection).status == 408
                assert is_closed(connection)

    def test_connection_is_closed_if_a_head_is_sent_too_slowly(self, server: httpx.Client) -> None:
        with connect(server) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nX: ")
            with pytest.raises(ConnectionError):
                send_slowly(connection)

    def test_head_timeout_restarts_with_every_request(
        self, server: httpx.Client, boot_png: bytes
    ) -> None:
        for first in (HEALTH, full_request(boot_png), full_request(boot_png, path=SLOW)):
            with connect(server) as connection:
                for _ in range(3):
                    connection.sendall(first[:30])
                    time.sleep(0.2)
                    connection.sendall(first[30:])
                    assert read_response(connection).status == 200
                connection.sendall(first + b"GET /li")
                assert statuses(read_responses(connection, 2)) == [200, 408]
                assert is_closed(connection)

    def test_head_timeout_does_not_include_the_body(
        self, server: httpx.Client, boot_png: bytes
    ) -> None:
        with connect(server) as connection:
            connection.sendall(request_head(len(boot_png)))
            time.sleep(0.9)
            connection.sendall(boot_png)
            assert read_response(connection).status == 200


class TestHeadSize:
    def test_endless_headers_are_a_431(self, server: httpx.Client, boot_png: bytes) -> None:
        for first in (b"", HEALTH, full_request(boot_png), full_request(boot_png, path=SLOW)):
            with connect(server) as connection:
                if first:
                    connection.sendall(first)
                    assert read_response(connection).status == 200
                connection.sendall(b"GET /livez HTTP/1.1\r\n")
                time.sleep(0.01)
                connection.sendall(b"X: " + b"a" * 70_000)
                assert read_response(connection).status == 431
                assert is_closed(connection)

    def test_head_size_is_counted_per_request(self, server: httpx.Client) -> None:
        long = request_head(
            None, *[f"X-{n}: {'a' * 1000}" for n in range(20)], method="GET", path="/livez"
        )
        with connect(server) as connection:
            for _ in range(6):
                connection.sendall(long[:10_000])
                time.sleep(0.005)
                connection.sendall(long[10_000:])
                assert read_response(connection).status == 200
            # Each packet includes a part of the next request.
            stream = long * 6
            cuts = [0, *range(5_000, len(stream), 15_000), len(stream)]
            for start, end in pairwise(cuts):
                connection.sendall(stream[start:end])
                time.sleep(0.005)
            assert statuses(read_responses(connection, 6)) == [200] * 6

    def test_bodies_do_not_count_towards_the_head_size(self, server: httpx.Client) -> None:
        body = bytes(200_000)
        with connect(server) as connection:
            for _ in range(3):
                connection.sendall(request_head(len(body))[:20])
                time.sleep(0.005)
                connection.sendall(request_head(len(body))[20:] + body)
                assert read_response(connection).status == 400


class TestTrailers:
    @pytest.mark.parametrize("filler", [b"X: a\r\n", b"a"], ids=["many", "long"])
    def test_endless_trailers_are_a_431(self, server: httpx.Client, filler: bytes) -> None:
        with connect(server) as connection:
            connection.sendall(
                request_head(None, "Transfer-Encoding: chunked") + b"1\r\n \r\n0\r\nX: "
            )
            connection.sendall(filler * (200_000 // len(filler)))
            assert read_response(connection).status == 431
            assert is_closed(connection)

    def test_chunks_do_not_count_towards_the_trailer_size(self, server: httpx.Client) -> None:
        with connect(server) as connection:
            chunks = b"1\r\n \r\n" * 20_000 + b"30d40\r\n" + b" " * 200_000 + b"\r\n"
            trailer = b"0\r\nX: " + b"a" * 50_000 + b"\r\n\r\n"
            connection.sendall(request_head(None, "Transfer-Encoding: chunked") + chunks + trailer)
            assert read_response(connection).status == 400

    def test_trailers_are_not_treated_as_headers(self, server: httpx.Client) -> None:
        with connect(server) as connection:
            for trailer in (b"", b"X-Request-ID: trailer\r\nHost: other\r\n"):
                sent = request_head(None, "Transfer-Encoding: chunked") + b"1\r\n \r\n0\r\n"
                connection.sendall(sent + trailer + b"\r\n")
                answer = read_response(connection)
                assert answer.status == 400
                assert b"the JSON" not in answer.body
                assert b"must not be repeated" not in answer.body
                assert b"trailer" not in answer.body


def test_pending_response_is_sent_before_the_error_of_the_next_head(
    server: httpx.Client, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rest, error in ((b"X: " + b"a" * 70_000, 431), (b"", 408)):
        with connect(server) as connection, monkeypatch.context() as patch:
            connection.sendall(HEALTH)
            assert read_response(connection).status == 200
            patch.setattr(protocol_module, "HEAD_SECONDS", 0.03)
            connection.sendall(full_request(photo) + b"GET /livez HTTP/1.1\r\n")
            time.sleep(0.01)
            connection.sendall(rest)
            assert statuses(read_responses_until_close(connection)) == [200, error]


class Sink(asyncio.Transport):
    """A transport that records what a connection writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""


@pytest.fixture(scope="module")
def config() -> uvicorn.Config:
    app = create_app(Settings(artifacts=ARTIFACTS, engine="litert"))
    app.state.repository.open()
    config = uvicorn.Config(app, http=ServiceProtocol, log_config=None, ws="none")
    config.load()
    config.lifespan_state = {"fast_path": Batcher(app.state)}  # type: ignore[attr-defined]
    return config


def open_connection(
    config: uvicorn.Config, sink: Sink, state: ServerState | None = None
) -> ServiceProtocol:
    app_state = config.lifespan_state  # type: ignore[attr-defined]
    connection = ServiceProtocol(config, state or ServerState(), app_state)
    connection.connection_made(sink)
    return connection


@pytest.mark.parametrize("is_known", [False, True])
def test_body_that_arrives_at_its_timeout_is_answered_once(
    config: uvicorn.Config, boot_png: bytes, is_known: bool
) -> None:
    """A busy event loop may process the body and its timeout in one pass."""

    async def exchange() -> bytes:
        sink = Sink()
        connection = open_connection(config, sink)
        if is_known:
            connection.data_received(full_request(boot_png))
            await asyncio.sleep(0)
            assert sink.written.count(b"HTTP/1.1 200") == 1
            sink.written = b""
        connection.data_received(request_head(len(boot_png)))
        time.sleep(1.5 * BODY_SECONDS)
        connection.data_received(boot_png)
        await asyncio.sleep(4 * BODY_SECONDS)
        connection.connection_lost(None)
        return sink.written

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        written = runner.run(exchange())
    assert written.count(b"HTTP/1.1 ") == 1
    assert written.startswith(b"HTTP/1.1 200")


def test_new_connection_may_send_its_first_request_during_shutdown(
    config: uvicorn.Config, boot_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol_module, "FIRST_REQUEST_SECONDS", 0.05)

    async def exchange() -> None:
        silent, sending, used = Sink(), Sink(), Sink()
        connections = [open_connection(config, sink) for sink in (silent, sending, used)]
        connections[2].data_received(full_request(boot_png))
        for connection in connections:
            connection.shutdown()
        assert used.is_closed
        await asyncio.sleep(0.01)  # Data of both may take more than one pass.
        connections[1].data_received(full_request(boot_png))
        assert sending.written.startswith(b"HTTP/1.1 200 ")
        assert not silent.is_closed
        await asyncio.sleep(0.1)
        assert silent.is_closed
        assert sending.is_closed
        for connection in connections:
            connection.connection_lost(None)

    asyncio.run(exchange())


def test_requests_waiting_for_a_batch_are_answered_during_shutdown(
    config: uvicorn.Config, boot_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "PARSING_SECONDS", 60)  # Both are parsed in one pass.

    async def exchange() -> None:
        state, sinks = ServerState(), [Sink(), Sink()]
        connections = [open_connection(config, sink, state) for sink in sinks]
        for connection in connections:
            connection.data_received(full_request(boot_png) + b"POST /pre")
        assert not sinks[0].written + sinks[1].written
        for connection in connections:
            connection.shutdown()
        await asyncio.sleep(0)
        for sink in sinks:
            assert sink.written.startswith(b"HTTP/1.1 200 ")
            assert b"\r\nconnection: close\r\n" in sink.written
            assert sink.is_closed
        for connection in connections:
            connection.connection_lost(None)

    asyncio.run(exchange())


@pytest.mark.parametrize("sent", [0, 100])
def test_body_that_the_fast_path_awaits_may_arrive_during_shutdown(
    config: uvicorn.Config, boot_png: bytes, sent: int
) -> None:
    async def exchange() -> None:
        sink = Sink()
        connection = open_connection(config, sink)
        connection.data_received(request_head(len(boot_png)) + boot_png[:sent])
        await asyncio.sleep(2 * BODY_SECONDS)
        connection.shutdown()
        connection.data_received(boot_png[sent:])
        async with asyncio.timeout(20):
            while not sink.is_closed:
                await asyncio.sleep(0.001)
        assert sink.written.startswith(b"HTTP/1.1 200 ")
        connection.connection_lost(None)

    asyncio.run(exchange())


def test_pipelined_request_is_parsed_only_after_the_previous_responses(
    config: uvicorn.Config,
) -> None:
    """A parsed request takes kilobytes more than its bytes."""

    async def exchange() -> None:
        for request, status in (
            (full_request(b"x"), b"400"),
            (full_request(b"x", path=SLOW), b"400"),
        ):
            sink = Sink()
            connection = open_connection(config, sink)
            connection.data_received(request * 100)
            while sink.written.count(b"HTTP/1.1 " + status) < 100:
                assert not connection.pipeline
                await asyncio.sleep(0.001)
            connection.connection_lost(None)

    asyncio.run(exchange())


def test_requests_of_many_connections_start_over_several_passes(
    config: uvicorn.Config, boot_png: bytes
) -> None:
    request = full_request(boot_png, "Forwarded: for=192.0.2.1")  # Handled by the application.

    async def exchange() -> None:
        sinks, health = [Sink() for _ in range(100)], Sink()
        connections = [open_connection(config, sink) for sink in (*sinks, health)]
        for connection in connections[:-1]:
            connection.data_received(request)
        connections[-1].data_received(HEALTH)
        passes, answered = 0, 0
        while answered < len(sinks):
            before = answered
            await asyncio.sleep(0)
            passes += 1
            answered = sum(b"HTTP/1.1 200 " in sink.written for sink in sinks)
            assert answered - before <= 3 * TASKS
            if before > len(sinks) // 2:
                assert health.written.startswith(b"HTTP/1.1 200 ")
        assert passes > len(sinks) / TASKS / 2
        for connection in connections:
            connection.connection_lost(None)

    asyncio.run(exchange())


@pytest.mark.parametrize("senders", [8, 400])
def test_request_does_not_wait_for_pipelines_of_other_connections(
    config: uvicorn.Config, senders: int
) -> None:
    async def exchange() -> None:
        sinks = [Sink() for _ in range(senders)]
        connections = [open_connection(config, sink) for sink in sinks]
        for connection in connections:
            connection.data_received(HEALTH * (8000 // senders))
        while not all(sink.written for sink in sinks):
            await asyncio.sleep(0)
        for _ in range(3):
            health = Sink()
            connections.append(open_connection(config, health))
            connections[-1].data_received(HEALTH)
            for _ in range(3):
                await asyncio.sleep(0)
            assert health.written.startswith(b"HTTP/1.1 200 ")
        # The pipelines also progress.
        before = sum(len(sink.written) for sink in sinks)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sum(len(sink.written) for sink in sinks) > before
        for connection in connections:
            connection.connection_lost(None)
        await asyncio.sleep(0.1)  # Other tests use the same scheduler.

    asyncio.run(exchange())


def test_simultaneous_disconnects_are_handled_over_several_passes(
    config: uvicorn.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[object] = []
    monkeypatch.setattr(HttpToolsProtocol, "connection_lost", lambda *_: ended.append(1))

    async def exchange() -> None:
        connections = [open_connection(config, Sink()) for _ in range(100)]
        for connection in connections:
            connection.data_received(request_head(100, "Forwarded: for=192.0.2.1") + b"half")
            connection.connection_lost(None)
        while len(ended) < len(connections):
            before = len(ended)
            await asyncio.sleep(0)
            assert len(ended) - before <= 2 * TASKS

    asyncio.run(exchange())


@pytest.mark.parametrize("path", [FAST, SLOW])
@pytest.mark.parametrize("sent", ["answered", "in the body", "pipelined"])
def test_closed_connection_leaves_no_reference_cycle(
    config: uvicorn.Config, boot_png: bytes, path: str, sent: str
) -> None:
    request = full_request(boot_png, path=path)

    async def exchange() -> weakref.ref[ServiceProtocol]:
        transport = Sink()
        connection = open_connection(config, transport)
        connection.data_received(request[:-1] if sent == "in the body" else request)
        if sent == "answered":
            while not connection.cycle.response_complete:
                await asyncio.sleep(0.01)
        elif sent == "pipelined":
            for _ in range(3):
                connection.data_received(request)
        await asyncio.sleep(2 * BODY_SECONDS)
        connection.connection_lost(None)
        reference = weakref.ref(connection)
        del connection, transport
        async with asyncio.timeout(20):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        return reference

    gc.disable()
    try:
        assert asyncio.run(exchange())() is None
    finally:
        gc.enable()


def test_deferred_requests_of_a_half_closed_connection_are_answered(
    config: uvicorn.Config, boot_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FairScheduler, "may_parse", lambda _: False)
    by_app = full_request(boot_png, "Forwarded: for=192.0.2.1")

    async def exchange(requests: list[bytes]) -> bytes:
        sink = Sink()
        connection = open_connection(config, sink)
        connection.data_received(b"".join(requests))
        connection.eof_received()
        while not sink.is_closed:
            await asyncio.sleep(0.001)
        connection.connection_lost(None)
        return sink.written

    for requests in (
        [HEALTH] * 5,
        [full_request(boot_png), HEALTH],
        [full_request(boot_png), by_app, HEALTH],
    ):
        written = asyncio.run(exchange(requests))
        assert written.count(b"HTTP/1.1 200 ") == len(requests)


@pytest.mark.parametrize("excess", [0, 1])
def test_reading_stays_paused_while_a_deferred_body_exceeds_the_high_water_mark(
    config: uvicorn.Config, excess: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FairScheduler, "may_parse", lambda _: False)
    body = bytes(HIGH_WATER_LIMIT + excess)

    async def exchange() -> None:
        connection = open_connection(config, Sink())
        connection.data_received(request_head(len(body) + 1, "Forwarded: for=192.0.2.1") + body)
        assert connection.flow.read_paused
        await asyncio.sleep(0)
        assert len(connection.cycle.body) == len(body)
        assert connection.flow.read_paused == bool(excess)
        connection.connection_lost(None)
        await asyncio.sleep(0.01)

    asyncio.run(exchange())


def test_only_listed_private_names_of_uvicorn_are_used() -> None:
    tree = ast.parse(Path(protocol_module.__file__).read_text())
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    own = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            used.add(node.attr)
            if isinstance(node.ctx, ast.Store):
                own.add(node.attr)
    private = {name for name in used if name.startswith("_") and not name.startswith("__")}
    inherited = set(dir(HttpToolsProtocol))
    overridden = own & inherited & {name for name in own if name.startswith("_")} - {"__init__"}
    assert private - own | overridden == set(UVICORN_INTERNALS)
    imports = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("uvicorn")
    ]
    assert [node.module for node in imports] == [
        "uvicorn.protocols.http.flow_control",
        "uvicorn.protocols.http.httptools_impl",
    ]
    assert not [name for node in imports for name in node.names if name.name.startswith("_")]
