"""Limits on what one client costs, and isolation of the other clients."""

import gzip
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import accumulate, pairwise

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from service.app import create_app
from service.capacity.admission import Admission
from service.http.inference import LARGE_BODY_BYTES, MAX_ITEMS, MAX_PATH
from service.settings import Settings
from tests.service.conftest import ARTIFACTS, Encode, serve, wait_for
from tests.service.http.connections import request_head
from tests.service.http.test_predict import parse_error


def test_too_large_content_length_is_rejected_before_the_body_is_read(
    strict_client: httpx.Client,
) -> None:
    url = strict_client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
        )
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer


@pytest.mark.parametrize("kind", ["announced", "in chunks", "compressed"])
def test_body_of_exactly_the_limit_is_accepted(
    strict_client: httpx.Client, boot_png: bytes, kind: str
) -> None:
    headers = {"Content-Encoding": "gzip"} if kind == "compressed" else {}
    for size, status in ((200_000, 200), (200_001, 413)):
        body = boot_png.ljust(size, b"\0")  # Bytes after a PNG are ignored.
        sent: dict[str, bytes | Iterator[bytes]] = {
            "announced": body,
            "in chunks": iter([body]),
            "compressed": gzip.compress(body),
        }
        response = strict_client.post("/predict", content=sent[kind], headers=headers)
        assert response.status_code == status, response.text


def test_disconnect_within_a_body_does_not_affect_other_clients(
    strict_client: httpx.Client, boot_png: bytes
) -> None:
    url = strict_client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf"
        )
        time.sleep(0.05)
    assert strict_client.post("/predict", content=boot_png).status_code == 200


def test_number_of_headers_and_parameters_and_path_length_are_limited(client: httpx.Client) -> None:
    some = [(f"X-{number}", "a") for number in range(MAX_ITEMS - 10)]
    assert client.get("/model/summary", headers=some).status_code == 200
    path = "/v2/models/" + "a" * (MAX_PATH - len("/v2/models/"))
    assert client.put(path).status_code == 405
    limits = f"{MAX_ITEMS} headers or query parameters, or {MAX_PATH} bytes of path"
    message = f"the request has more than {limits}"
    for response in (
        client.get("/model/summary", headers=[*some, *some]),
        client.get("/livez", headers=[*some, *some]),  # Otherwise handled by the fast path.
        client.get("/model/summary?" + "&".join(f"a{n}" for n in range(2 * MAX_ITEMS))),
        client.get("/web/" + "a/" * MAX_PATH),
        client.get("/swagger/" + "a/" * MAX_PATH),
    ):
        assert parse_error(response, 400) == ("invalid_request", message)
    assert client.put(path + "a").json() == {"error": message}


INFER = "/v2/models/fashion_mnist/infer"
SERVABLE = "/v1/models/fashion_mnist:predict"

VIA_APPLICATION = {"Forwarded": "for=192.0.2.1"}
"""A header that the fast path leaves to the application."""


@contextmanager
def serving(**limits: float) -> Iterator[tuple[FastAPI, httpx.Client]]:
    settings = Settings.model_validate({"artifacts": ARTIFACTS, "engine": "litert", **limits})
    app = create_app(settings)
    with serve(settings, app=app) as client:
        yield app, client


@pytest.fixture(scope="module")
def slow_image(encode: Encode) -> bytes:
    """A file of a few kilobytes that takes a second to decode and prepare."""
    return encode(Image.new("RGB", (5000, 4900), "white"), compress_level=9)


@contextmanager
def slow_request(
    app: FastAPI, client: httpx.Client, image: bytes, **headers: str
) -> Iterator[list[httpx.Response]]:
    """Keep a request in flight inside the block; its response is available after it."""
    answers: list[httpx.Response] = []
    admission: Admission = app.state.admission

    def send() -> None:
        answers.append(client.post("/predict", content=image, headers=headers))

    thread = threading.Thread(target=send)
    thread.start()
    wait_for(lambda: admission.bytes == len(image))
    yield answers
    thread.join()


@contextmanager
def raw_connection(client: httpx.Client) -> Iterator[socket.socket]:
    url = client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    return answer


class TestOverload:
    def test_request_over_capacity_is_a_503_with_retry_after(
        self, slow_image: bytes, boot_png: bytes
    ) -> None:
        with serving(max_images=1, max_images_in_flight=1) as (app, client):
            with slow_request(app, client, slow_image) as answers:
                refused = client.post("/predict", content=boot_png)
                protocol = client.post(INFER, json={"inputs": []})
                assert not answers
                assert client.get("/readyz").status_code == 200
                assert client.post("/v2/repository/index").status_code == 200
            assert parse_error(refused, 503)[0] == "overloaded"
            assert refused.headers["Retry-After"] == "1"
            assert protocol.status_code == 503
            assert "in flight" in protocol.json()["error"]
            assert answers[0].status_code == 200
            wait_for(lambda: app.state.admission.images == 0)
            assert client.post("/predict", content=boot_png).status_code == 200

    @pytest.mark.parametrize("form", ["files", "instances", "v1", "v2", "v2 images"])
    def test_every_image_of_a_request_counts_towards_capacity(
        self, slow_image: bytes, boot_png: bytes, form: str
    ) -> None:
        black = [[0] * 784] * 3
        with serving(max_images=3, max_images_in_flight=3) as (app, client):
            with slow_request(app, client, slow_image):
                if form == "files":
                    parts = [("files", ("a.png", boot_png))] * 3
                    refused = client.post("/predict", files=parts)
                elif form == "instances":
                    refused = client.post("/predict", json={"instances": black})
                elif form == "v1":
                    refused = client.post(
                        "/v1/models/fashion_mnist:predict", json={"instances": black}
                    )
                elif form == "v2":
                    tensor = {
                        "name": "images",
                        "shape": [3, 784],
                        "datatype": "UINT8",
                        "data": black,
                    }
                    refused = client.post(INFER, json={"inputs": [tensor]})
                else:
                    tensor = {
                        "name": "image",
                        "shape": [3],
                        "datatype": "BYTES",
                        "data": ["", "", ""],
                    }
                    refused = client.post(INFER, json={"inputs": [tensor]})
            assert refused.status_code == 503, refused.text
            assert refused.headers["Retry-After"] == "1"
            wait_for(lambda: app.state.admission.images == 0)

    def test_bodies_count_towards_capacity(self, boot_png: bytes) -> None:
        size = 100_000
        with serving(max_body_bytes=size, max_bytes_in_flight=2 * size) as (app, client):
            with raw_connection(client) as first, raw_connection(client) as second:
                for connection in (first, second):
                    connection.sendall(request_head(size) + b"0" * (size - 10))
                wait_for(lambda: app.state.admission.bytes == 2 * size - 20)
                large = client.post("/predict", content=b"0" * size)
                assert parse_error(large, 503)[0] == "overloaded"
                # Small requests are accepted, up to a quarter more.
                for headers in ({}, VIA_APPLICATION):
                    answer = client.post("/predict", content=boot_png, headers=headers)
                    assert answer.status_code == 200
                with raw_connection(client) as third:
                    third.sendall(request_head(50_001) + b"0" * 50_000)
                    wait_for(lambda: app.state.admission.bytes == 2 * size + 49_980)
                    small = client.post("/predict", content=boot_png)
                    assert parse_error(small, 503)[0] == "overloaded"
            wait_for(lambda: app.state.admission.bytes == 0)
            assert client.post("/predict", content=boot_png).status_code == 200


class TestDeadline:
    def test_exceeded_deadline_is_a_504_and_frees_its_capacity(
        self, slow_image: bytes, boot_png: bytes
    ) -> None:
        with serving(deadline_seconds=0.05) as (app, client):
            response = client.post("/predict", content=slow_image)
            assert parse_error(response, 504)[0] == "deadline_exceeded"
            wait_for(lambda: app.state.admission.images == 0)
            assert client.post("/predict", content=boot_png).status_code == 200

    def test_client_may_shorten_but_not_extend_the_deadline(self, slow_image: bytes) -> None:
        with serving(deadline_seconds=10) as (_, client):
            response = client.post(
                "/predict", content=slow_image, headers={"X-Request-Timeout": "0.05"}
            )
            assert parse_error(response, 504)[0] == "deadline_exceeded"
        with serving(deadline_seconds=0.05) as (_, client):
            response = client.post(
                "/predict", content=slow_image, headers={"X-Request-Timeout": "100"}
            )
            assert response.status_code == 504

    def test_no_inference_runs_after_the_deadline(self, slow_image: bytes) -> None:
        with serving() as (app, client):
            tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
            size = len(slow_image) + 4
            head = json.dumps(
                {"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}
            ).encode()
            body = head + len(slow_image).to_bytes(4, "little") + slow_image
            response = client.post(
                INFER,
                content=body,
                headers={
                    "Inference-Header-Content-Length": str(len(head)),
                    "X-Request-Timeout": "0.05",
                },
            )
            assert response.status_code == 504
            assert "error" in response.json()
            wait_for(lambda: app.state.admission.images == 0)
            [stats] = client.get("/v2/models/fashion_mnist/stats").json()["model_stats"]
            assert stats["inference_count"] == 0
            assert stats["inference_stats"]["fail"]["count"] == 1

    @pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", ""])
    def test_invalid_deadline_is_a_400(
        self, client: httpx.Client, boot_png: bytes, value: str
    ) -> None:
        response = client.post("/predict", content=boot_png, headers={"X-Request-Timeout": value})
        assert parse_error(response, 400)[0] == "invalid_parameter"


class TestReservations:
    """Capacity is taken for received bytes, not for announced ones."""

    ROUTES = (
        "/predict",
        "/feature-maps",
        "/preparation",
        INFER,
        "/v1/models/fashion_mnist:predict",
    )

    @pytest.mark.parametrize(
        ("announced", "sent", "counted"),
        [
            *((65_537, 1, 60), (65_537, 65_536, 60 * 65_536), (20_000, 10_000, 60 * 10_000)),
            (400, 1, 24),  # Only on routes that the fast path does not handle.
        ],
    )
    def test_incomplete_bodies_take_capacity_for_received_bytes_but_no_images(
        self, boot_png: bytes, encode: Encode, announced: int, sent: int, counted: int
    ) -> None:
        photo = encode(Image.effect_noise((400, 400), 50))
        assert len(photo) > LARGE_BODY_BYTES
        with ExitStack() as stack:
            app, client = stack.enter_context(serving(max_images=8, max_images_in_flight=20))
            for number in range(60):
                connection = stack.enter_context(raw_connection(client))
                path = self.ROUTES[number % len(self.ROUTES)]
                connection.sendall(request_head(announced, path=path) + bytes(sent))
            wait_for(lambda: app.state.admission.bytes == counted)
            assert app.state.admission.images == 0
            for path in ("/predict", "/feature-maps?format=png"):
                for image in (boot_png, photo):
                    for headers in ({}, VIA_APPLICATION):
                        answer = client.post(path, content=image, headers=headers)
                        assert answer.status_code == 200, path
        wait_for(lambda: app.state.admission.bytes == 0)


class TestDisconnect:
    def test_disconnect_frees_capacity(self, slow_image: bytes, boot_png: bytes) -> None:
        with serving(max_images=1, max_images_in_flight=1) as (app, client):
            with raw_connection(client) as connection:
                connection.sendall(
                    b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(slow_image), slow_image)
                )
                wait_for(lambda: app.state.admission.bytes == len(slow_image))
            wait_for(lambda: app.state.admission.images == 0)
            assert client.post("/predict", content=boot_png).status_code == 200


class TestSlowSenders:
    def test_incomplete_body_is_a_408(self) -> None:
        with serving(receive_seconds=0.2) as (app, client):
            with raw_connection(client) as connection:
                connection.sendall(
                    b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"
                )
                answer = read_all(connection)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b'"request_timeout"' in answer
            assert app.state.admission.bytes == 0


class TestCompression:
    @pytest.mark.parametrize(
        ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
    )
    def test_compressed_body_is_decompressed(
        self, client: httpx.Client, boot_png: bytes, encoding: str, pack: object
    ) -> None:
        assert callable(pack)
        response = client.post(
            "/predict", content=pack(boot_png), headers={"Content-Encoding": encoding}
        )
        assert response.json() == client.post("/predict", content=boot_png).json()

    def test_decompression_bomb_is_a_413(self, strict_client: httpx.Client) -> None:
        bomb = gzip.compress(bytes(50_000_000))
        assert len(bomb) < 200_000
        response = strict_client.post(
            "/predict", content=bomb, headers={"Content-Encoding": "gzip"}
        )
        assert parse_error(response, 413)[0] == "body_too_large"

    def test_gzip_body_may_have_several_members(
        self, client: httpx.Client, boot_png: bytes
    ) -> None:
        headers = {"Content-Encoding": "gzip"}
        for sizes in ([100], [1, 300], [0, 100, 100]):
            cuts = [0, *accumulate(sizes), len(boot_png)]
            packed = b"".join(gzip.compress(boot_png[a:b]) for a, b in pairwise(cuts))
            response = client.post("/predict", content=packed, headers=headers)
            assert response.status_code == 200
        many = gzip.compress(b"") * 100_000
        start = time.monotonic()
        assert client.post("/predict", content=many, headers=headers).status_code == 400
        assert time.monotonic() - start < 1

    @pytest.mark.parametrize(
        "kind", ["no gzip", "zlib", "cut short", "followed", "half of the second"]
    )
    def test_body_that_does_not_match_its_content_encoding_is_a_400(
        self, client: httpx.Client, kind: str
    ) -> None:
        packed = gzip.compress(b"some bytes")
        body = {
            "no gzip": b"no gzip",
            "zlib": zlib.compress(b"some bytes"),
            "cut short": packed[:-4],
            "followed": packed + b"else",
            "half of the second": packed + packed[:15],
        }[kind]
        response = client.post("/predict", content=body, headers={"Content-Encoding": "gzip"})
        assert parse_error(response, 400)[0] == "invalid_encoding"
        twice = {"Content-Encoding": "deflate"}
        response = client.post("/predict", content=zlib.compress(b"x") * 2, headers=twice)
        assert parse_error(response, 400)[0] == "invalid_encoding"

    def test_body_that_decompresses_to_nothing_is_empty(self, client: httpx.Client) -> None:
        response = client.post(
            "/predict", content=gzip.compress(b""), headers={"Content-Encoding": "gzip"}
        )
        assert parse_error(response, 400)[0] == "empty_body"


def test_body_of_too_many_chunks_is_a_413(boot_png: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        for byte in boot_png[:100]:
            yield bytes([byte])
            time.sleep(0.005)

    with serving(max_chunks=5) as (_, client):
        response = client.post("/predict", content=pieces())
        assert parse_error(response, 413) == ("body_too_large", "the body has more than 5 chunks")
        assert client.post("/predict", content=boot_png).status_code == 200


def test_too_deeply_nested_json_is_a_400() -> None:
    with serving(max_json_depth=2) as (_, client):
        assert client.post("/predict", json={"instances": [{"b64": ""}]}).status_code == 400
        response = client.post("/predict", json={"instances": [[0] * 784]})
        assert parse_error(response, 400) == ("invalid_json", "the JSON nests deeper than 2 levels")


def test_json_of_too_many_values_is_a_413() -> None:
    with serving(max_json_marks=1000) as (_, client):
        assert client.post("/predict", json={"instances": [[0] * 784]}).status_code == 200
        for path in ("/predict", "/v1/models/fashion_mnist:predict", INFER):
            response = client.post(path, json={"instances": [[0] * 784] * 2})
            assert response.status_code == 413
            assert "more than 1000 brackets, commas and quotes" in response.text
        head = b'{"inputs": [' + b"[]," * 1000 + b"]}"
        binary = client.post(
            INFER, content=head, headers={"Inference-Header-Content-Length": str(len(head))}
        )
        assert binary.status_code == 413


def test_maximum_number_of_images_as_json_is_within_the_default_limits(
    client: httpx.Client,
) -> None:
    images = [[[[0]] * 28] * 28] * 256
    assert client.post("/predict", json={"instances": images}).status_code == 200
