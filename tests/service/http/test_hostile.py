"""Limits on what a connection costs: framing, fairness, unread responses."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from service.app import create_app
from service.capacity import scheduling
from service.http.middleware import PIECE_BYTES
from service.settings import Settings
from tests.service.conftest import (
    ARTIFACTS,
    Encode,
    samples_of,
    serve,
    serve_process,
    unused_port,
    wait_for,
    wait_until_ready,
)
from tests.service.http.connections import (
    connect,
    full_request,
    read_response,
    read_responses,
    read_responses_until_close,
    read_until_close,
    request_head,
    statuses,
)

HEALTH = request_head(None, method="GET", path="/livez")
VIA_APPLICATION = "Forwarded: for=192.0.2.1"
"""A header that the fast path leaves to the application."""

SEND_SECONDS = 4


@pytest.fixture(scope="module")
def app() -> FastAPI:
    settings = {"receive_seconds": 1.2, "send_seconds": SEND_SECONDS}
    return create_app(
        Settings.model_validate({"artifacts": ARTIFACTS, "engine": "litert", **settings})
    )


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[httpx.Client]:
    with serve(app.state.settings, app=app) as client:
        yield client


@pytest.fixture(scope="module")
def other_process() -> Iterator[httpx.Client]:
    """A service in its own process, so that the client does not wait for its GIL."""
    port = unused_port()
    address = f"http://127.0.0.1:{port}"
    with (
        serve_process("--log-level=warning", port=port),  # Its log is not read.
        httpx.Client(base_url=address) as client,
    ):
        wait_until_ready(client)
        yield client


@pytest.fixture(scope="module")
def photo(encode: Encode) -> bytes:
    return encode(Image.new("RGB", (2000, 2000), "white"), compress_level=9)


class TestHeaders:
    """The fast path and the application interpret headers alike."""

    SINGLE_VALUED = (
        "Content-Type: image/png",
        "Authorization: Bearer x",
        "X-API-Key: x",
        "X-Request-Timeout: 5",
        "Content-Encoding: identity",
        "Inference-Header-Content-Length: 10",
        "Host: localhost",
    )

    @pytest.mark.parametrize("line", SINGLE_VALUED, ids=lambda line: line.partition(":")[0])
    @pytest.mark.parametrize("path", ["/predict", "/v2/models/fashion_mnist/infer", "/nowhere"])
    def test_repeated_single_valued_header_is_a_400(
        self, client: httpx.Client, boot_png: bytes, line: str, path: str
    ) -> None:
        name, _, value = line.partition(": ")
        lines = [line] if name == "Host" else [line, f"{name.upper()}: {value}x"]
        with connect(client) as connection:
            for more in ([], [VIA_APPLICATION]):
                connection.sendall(full_request(boot_png, *lines, *more, path=path) + HEALTH)
                refused, health = read_responses(connection, 2)
                assert refused.status == 400
                assert name.lower().encode() in refused.body
                assert health.status == 200

    def test_content_length_with_a_second_length_or_transfer_encoding_is_a_400(
        self, client: httpx.Client, boot_png: bytes
    ) -> None:
        size = len(boot_png)
        for lines in (
            [f"Content-Length: {size}"],
            [f"Content-Length: {size + 1}"],
            ["Transfer-Encoding: chunked"],
        ):
            with connect(client) as connection:
                connection.sendall(full_request(boot_png, *lines) + HEALTH)
                [answer] = read_responses_until_close(connection)
                assert answer.status == 400

    def test_list_headers_may_be_repeated(self, client: httpx.Client, boot_png: bytes) -> None:
        lines = ["Accept: a/b", "Accept: */*", "Via: a", "Via: b", "Cookie: a", "Cookie: b"]
        with connect(client) as connection:
            connection.sendall(full_request(boot_png, *lines))
            assert read_response(connection).status == 200

    @pytest.mark.parametrize(
        ("hosts", "version", "status"),
        [
            ([], "1.1", 400),
            ([], "1.0", 200),
            (["localhost"], "1.0", 200),
            (["a", "b"], "1.0", 400),
            (["a", "a"], "1.1", 400),
            ([""], "1.1", 400),
            (["a/b"], "1.1", 400),
            (["a b"], "1.1", 400),
            (["user@a"], "1.1", 400),
            (["a:80:80"], "1.1", 400),
            (["a,b"], "1.1", 200),  # RFC 3986 allows commas in names.
            (["Example.org:8000"], "1.1", 200),
            (["127.0.0.1:80"], "1.1", 200),
            (["[::1]:8000"], "1.1", 200),
            (["my_service.namespace.svc"], "1.1", 200),
        ],
        ids=str,
    )
    def test_host_header_must_be_single_and_valid(
        self, client: httpx.Client, boot_png: bytes, hosts: list[str], version: str, status: int
    ) -> None:
        lines = [f"Host: {host}" for host in hosts]
        size = f"Content-Length: {len(boot_png)}"
        for first in ("POST /predict", "GET /livez", "GET /openapi.json"):
            body = boot_png if first.startswith("POST") else b""
            fields = [f"{first} HTTP/{version}", *lines, *([size] if body else []), "", ""]
            with connect(client) as connection:
                connection.sendall("\r\n".join(fields).encode() + body)
                assert read_response(connection).status == status, first

    def test_redirects_do_not_contain_the_host_of_the_request(self, client: httpx.Client) -> None:
        for path in ("/predict/", "/livez/", "/web", "/web/", "/docs/", "//evil.example/", "/v2/"):
            answer = client.get(path, headers={"Host": "evil.example"}, follow_redirects=False)
            assert "evil.example" not in answer.headers.get("Location", ""), path

    @pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "identity", "chunked; a=b"])
    @pytest.mark.parametrize("before", [b"", HEALTH])
    def test_unsupported_transfer_coding_is_a_501_and_its_body_is_not_parsed(
        self, client: httpx.Client, coding: str, before: bytes
    ) -> None:
        with connect(client) as connection:
            start = request_head(None, f"Transfer-Encoding: {coding}")
            connection.sendall(before + start + HEALTH)
            answers = read_responses_until_close(connection)
        assert statuses(answers) == [200] * bool(before) + [501]

    def test_transfer_coding_is_case_insensitive(
        self, client: httpx.Client, boot_png: bytes
    ) -> None:
        with connect(client) as connection:
            chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(boot_png), boot_png)
            connection.sendall(request_head(None, "Transfer-Encoding: Chunked") + chunks + HEALTH)
            assert statuses(read_responses(connection, 2)) == [200, 200]

    def test_100_continue_is_sent_only_over_http_1_1(
        self, client: httpx.Client, boot_png: bytes
    ) -> None:
        for version in ("1.1", "1.0"):
            with connect(client) as connection:
                start = request_head(len(boot_png), "Expect: 100-continue", version=version)
                connection.sendall(start)
                time.sleep(0.1)
                connection.sendall(boot_png)
                connection.shutdown(socket.SHUT_WR)
                received = read_until_close(connection)
            first = b"HTTP/1.1 100 " if version == "1.1" else b"HTTP/1.1 200 "
            assert received.startswith(first)


class TestFairness:
    """Connections that send much do not starve the others."""

    @pytest.mark.parametrize("kind", ["health", "bad image", "unknown path"])
    def test_health_is_answered_during_long_pipelines(
        self, other_process: httpx.Client, kind: str
    ) -> None:
        request = {
            "health": HEALTH,
            "bad image": full_request(b"x"),
            "unknown path": request_head(None, method="GET", path="/x"),
        }[kind]
        count = 300
        with ExitStack() as stack:
            other = stack.enter_context(connect(other_process))
            senders = [stack.enter_context(connect(other_process)) for _ in range(8)]
            for sender in senders:
                sender.sendall(request * count)
            other.sendall(HEALTH)
            assert read_response(other).status == 200
            answered = sum(peek(sender).count(b"HTTP/1.1 ") for sender in senders)
            assert answered < len(senders) * count * 0.7
            for sender in senders:
                assert len(read_responses(sender, count)) == count

    def test_body_in_tiny_chunks_is_accepted(self, client: httpx.Client, boot_png: bytes) -> None:
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in boot_png)
        with connect(client) as connection:
            connection.sendall(
                request_head(None, "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"
            )
            connection.sendall(HEALTH)
            assert statuses(read_responses(connection, 2)) == [200, 200]

    @pytest.mark.parametrize("path", ["/livez", "/readyz"])
    def test_health_on_the_fast_path_equals_that_of_the_application(
        self, client: httpx.Client, path: str
    ) -> None:
        start = ("X-Request-ID: same",)
        with connect(client) as connection:
            connection.sendall(request_head(None, *start, method="GET", path=path))
            fast = read_response(connection)
            connection.sendall(request_head(None, *start, VIA_APPLICATION, method="GET", path=path))
            assert fast.status == 200
            assert fast.without_date == read_response(connection).without_date


def peek(connection: socket.socket) -> bytes:
    """Return the received data without consuming it."""
    try:
        return connection.recv(1 << 20, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


class TestUnreadResponses:
    """Unread responses count as bytes in flight and have a send timeout."""

    def test_large_response_is_written_in_pieces_and_counts_until_received(
        self, app: FastAPI, client: httpx.Client
    ) -> None:
        whole_answer = client.post("/feature-maps", json=ONE_IMAGE).content
        assert len(whole_answer) > 2 * PIECE_BYTES
        admission = app.state.admission
        count = 30  # The system buffers some megabytes.
        with connect(client, receive_bytes=4096) as connection:
            connection.sendall(full_request(ONE_IMAGE_JSON, JSON, path="/feature-maps") * count)
            wait_for(lambda: admission.bytes == len(whole_answer))
            assert read_responses(connection, count)[-1].body == whole_answer
            wait_for(lambda: admission.bytes == 0)

    def test_response_over_capacity_is_a_503(
        self, app: FastAPI, client: httpx.Client, boot_png: bytes
    ) -> None:
        admission = app.state.admission
        with admission.hold(admission.max_bytes - 100_000):
            headers = {"Accept-Encoding": "identity"}
            answer = client.post("/feature-maps", json=ONE_IMAGE, headers=headers)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "overloaded"
            assert client.post("/predict", content=boot_png).status_code == 200
        assert client.post("/feature-maps", json=ONE_IMAGE).status_code == 200

    @pytest.mark.parametrize("kind", ["large", "small", "closing"])
    def test_client_that_does_not_read_is_disconnected(
        self, app: FastAPI, client: httpx.Client, kind: str
    ) -> None:
        request = {
            "large": full_request(ONE_IMAGE_JSON, JSON, path="/feature-maps") * 60,
            "small": request_head(None, method="GET", path="/openapi.json") * 400,
            "closing": request_head(None, method="GET", path="/openapi.json") * 400,
        }[kind]
        close = ["Connection: close"] * (kind == "closing")
        last = request_head(None, *close, method="GET", path="/openapi.json")
        with connect(client, receive_bytes=4096) as connection:
            connection.settimeout(0.3)
            start = time.monotonic()
            with suppress(TimeoutError):  # The server stops reading as well.
                connection.sendall(request + last)
            wait_for(lambda: time.monotonic() - start > SEND_SECONDS + 1)
            assert count_received_bytes(connection) < 7_000_000  # less than all responses
        wait_for(lambda: app.state.admission.bytes == 0)

    def test_client_that_reads_late_but_within_the_timeout_receives_all(
        self, client: httpx.Client
    ) -> None:
        with connect(client, receive_bytes=4096) as connection:
            connection.sendall(full_request(ONE_IMAGE_JSON, JSON, path="/feature-maps"))
            time.sleep(SEND_SECONDS / 2)
            assert read_response(connection).status == 200


JSON = "Content-Type: application/json"
ONE_IMAGE = {"instances": [[0] * 784]}
ONE_IMAGE_JSON = httpx.Request("POST", "http://x", json=ONE_IMAGE).content


def count_received_bytes(connection: socket.socket) -> int:
    """Return how many bytes are received before the connection is closed or reset."""
    count = 0
    connection.settimeout(5)
    try:
        while chunk := connection.recv(65536):
            count += len(chunk)
    except ConnectionError:
        pass
    return count


class TestHalfClosed:
    def test_complete_requests_are_answered(
        self, client: httpx.Client, boot_png: bytes, photo: bytes
    ) -> None:
        by_app = full_request(boot_png, VIA_APPLICATION)
        for sent, count in (
            (full_request(photo), 1),
            (by_app, 1),
            (full_request(boot_png) + full_request(photo) + by_app + HEALTH, 4),
            (full_request(photo) * 3, 3),
            (full_request(photo) + b"GET /livez HT", 1),
            (HEALTH * 50, 50),
        ):
            with connect(client) as connection:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                assert statuses(read_responses_until_close(connection)) == [200] * count

    def test_reset_cancels_the_request_and_close_is_treated_as_half_close(
        self, client: httpx.Client, encode: Encode
    ) -> None:
        slow = encode(Image.new("RGB", (5000, 4900), "white"))
        dropped = 'fashion_mnist_rejected_total{reason="client_disconnected"}'
        answered = 'requests_total{method="POST",route="/predict",status="200"}'

        def count(series: str) -> float:
            samples = samples_of(client.get("/metrics").text)
            return sum(value for name, value in samples.items() if name.endswith(series))

        def is_counted(series: str, expected: float) -> bool:
            return count(series) == expected

        for is_reset, series in ((True, dropped), (False, answered)):
            before = count(series)
            connection = connect(client)
            linger = struct.pack("ii", is_reset, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(full_request(slow, path="/predict?prepare=photo"))
            wait_for(partial(is_counted, "images_in_flight", 1))
            connection.close()
            wait_for(partial(is_counted, series, before + 1))

    def test_connection_is_closed_after_an_incomplete_request(
        self, client: httpx.Client, boot_png: bytes
    ) -> None:
        for sent in (b"", b"GET ", request_head(1000) + b"half", HEALTH + b"GET "):
            with connect(client) as connection:
                connection.sendall(sent)
                time.sleep(0.05)
                connection.shutdown(socket.SHUT_WR)
                answers = read_responses_until_close(connection)
                assert statuses(answers) == [200] * sent.startswith(HEALTH)


@pytest.mark.parametrize(
    "start",
    [
        request_head(10_000),
        request_head(100_000),
        request_head(10_000, VIA_APPLICATION),
        request_head(10_000, "Content-Type: text/plain"),
        request_head(10_000, path="/nowhere"),
        request_head(10_000, path="/v2/repository/index"),
        request_head(None, "Transfer-Encoding: chunked"),
    ],
    ids=["small", "large", "application", "text", "unknown path", "repository", "chunked"],
)
def test_receive_timeout_covers_a_slowly_sent_body_as_a_whole(
    client: httpx.Client, start: bytes
) -> None:
    piece = b"1\r\nx\r\n" if b"chunked" in start else b"x"
    with connect(client) as connection:
        connection.sendall(start)
        begun = time.monotonic()

        def send() -> None:
            try:
                while time.monotonic() - begun < 5:
                    connection.sendall(piece)
                    time.sleep(0.05)
            except OSError:
                pass

        thread = threading.Thread(target=send)
        thread.start()
        while not is_closed_after_answer(connection):
            pass
        assert time.monotonic() - begun < 1.2 + 0.8
        thread.join()


def is_closed_after_answer(connection: socket.socket) -> bool:
    try:
        return connection.recv(65536) == b""
    except ConnectionError:
        return True


class TestRejectedBodies:
    def test_rest_of_a_rejected_body_is_skipped_and_the_next_request_answered(
        self, app: FastAPI, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scheduling, "PARSING_SECONDS", 0.0001)  # Most data is deferred.
        admission = app.state.admission
        requests = full_request(bytes(1_000_000), "Content-Type: image/png") + HEALTH

        def send_requests(_: int) -> list[int]:
            with connect(client) as connection:
                connection.sendall(requests)
                return statuses(read_responses(connection, 2))

        admission.reserve(admission.max_images, 0)
        try:
            with ThreadPoolExecutor(32) as threads:
                assert list(threads.map(send_requests, range(128))) == [[503, 200]] * 128
        finally:
            admission.release(admission.max_images, 0)
