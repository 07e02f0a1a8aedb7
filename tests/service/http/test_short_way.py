"""The short way through `/predict` answers as the usual way does, and takes what it should."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from service.http.batches import MOST_TOGETHER
from service.http.connection import BODY_PATIENCE_SECONDS
from service.http.fair_connection import FairProtocol
from service.http.heads import Head, read_head
from service.http.predict import SHORT_BODY_BYTES
from service.http.short_way import SHORT_WAY, ShortWay
from service.app import create_app
from service.arrays import Assessment, Tensor
from service.keys import make_key
from service.settings import Settings
from service.capacity.parallel import Helpers
from tests.service.http.test_predict import PIXELS
from tests.service.conftest import ARTIFACTS, DEFAULT_VERSION, Encode, serve


class Arrivals:
    """Counts the inference requests that reach the application."""

    def __init__(self, app: ASGIApp, counts: list[int]) -> None:
        self.app = app
        self.counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in {"POST", "PUT"}:
            self.counts.append(1)
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def arrived() -> list[int]:
    return []


@pytest.fixture(scope="module")
def counted(arrived: list[int]) -> Iterator[httpx.Client]:
    """A client of a server that tells which requests went the usual way."""
    settings = Settings(artifacts=ARTIFACTS, receive_seconds=1)
    app = create_app(settings)
    app.add_middleware(Arrivals, counts=arrived)
    with serve(settings, app=app) as client:
        yield client


def head(body: bytes, *lines: str, version: str = "1.1", media_type: str = "image/png") -> bytes:
    fields = [f"POST /predict HTTP/{version}", "Host: localhost", f"Content-Length: {len(body)}"]
    return "\r\n".join([*fields, f"Content-Type: {media_type}", *lines, "", ""]).encode()


def connect(client: httpx.Client) -> socket.socket:
    assert client.base_url.port is not None
    return socket.create_connection(("127.0.0.1", client.base_url.port), timeout=30)


def read_answers(connection: socket.socket, count: int) -> list[tuple[bytes, bytes]]:
    """Read so many answers: status line with headers, and body."""
    answers: list[tuple[bytes, bytes]] = []
    received = b""
    while len(answers) < count:
        while b"\r\n\r\n" not in received:
            received += (chunk := connection.recv(65536))
            assert chunk, "the server hung up"
        lines, _, received = received.partition(b"\r\n\r\n")
        length = int(lines.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(received) < length:
            received += (chunk := connection.recv(65536))
            assert chunk, "the server hung up"
        answers.append((lines, received[:length]))
        received = received[length:]
    assert not received
    return answers


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (None, "image/png"),
        (json.dumps({"instances": [PIXELS]}).encode(), "application/json"),
        (b'{"instances": []}', "application/json"),
        (b"{", "application/json"),
        (b"no picture", "image/png"),
        (b"", "image/png"),
        (b"x", "text/plain"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_with_and_without_a_query(
    client: httpx.Client, boot_png: bytes, method: str, content: bytes | None, media_type: str
) -> None:
    content = boot_png if content is None else content
    headers = {"Content-Type": media_type, "X-Request-ID": "same"}
    short, usual = (
        client.request(method, path, content=content, headers=headers)
        for path in ("/predict", "/predict?unknown")
    )
    assert short.status_code == usual.status_code
    assert short.content == usual.content
    assert dict(short.headers) | {"date": ""} == dict(usual.headers) | {"date": ""}


@pytest.mark.parametrize(
    ("query", "is_usual"),
    [
        ("", False),
        ("prepare=plain", False),
        ("prepare=photo&top_k=10", False),
        (f"top_k=3&version={DEFAULT_VERSION}", False),
        ("top_k=11", True),
        ("top_k=0", True),
        ("top_k=03", True),
        ("top_k=", True),
        ("top_k=1&top_k=2", True),
        ("version=7", True),
        ("version=-1", True),
        ("prepare=magic", True),
        ("prepare=%61uto", True),
        ("&", True),
    ],
)
def test_a_query_is_answered_as_it_is_beside_another(
    counted: httpx.Client, arrived: list[int], boot_png: bytes, query: str, is_usual: bool
) -> None:
    headers = {"X-Request-ID": "same"}
    arrived.clear()
    short = counted.post(f"/predict?{query}", content=boot_png, headers=headers)
    assert len(arrived) == int(is_usual)
    usual = counted.post(f"/predict?{query}&unknown", content=boot_png, headers=headers)
    assert len(arrived) == int(is_usual) + 1
    assert short.status_code == usual.status_code
    assert short.content == usual.content
    assert dict(short.headers) | {"date": ""} == dict(usual.headers) | {"date": ""}


V2 = "/v2/models/fashion_mnist/infer"
V1 = "/v1/models/fashion_mnist:predict"
IMAGES = {"name": "images", "shape": [2, 784], "datatype": "UINT8"}
V2_JSON: dict[str, Any] = {"inputs": [{**IMAGES, "data": [7] * 1568}], "id": "a"}
V2_BINARY: dict[str, Any] = {
    "inputs": [{**IMAGES, "parameters": {"binary_data_size": 1568}}],
    "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}],
}
V1_ROWS: dict[str, Any] = {"instances": [[0.5] * 784], "signature_name": "novelty"}
LONG = {"outputs": [{"name": "dense_1"}]}

PROTOCOLS: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "V2 in JSON": (V2, V2_JSON, b""),
    "V2 in binary": (V2, V2_BINARY, bytes(range(196)) * 8),
    "V2 of a version": (f"/v2/models/fashion_mnist/versions/{DEFAULT_VERSION}/infer", V2_JSON, b""),
    "V1 by row": (V1, V1_ROWS, b""),
    "V1 by column": (V1, {"inputs": [[0.5] * 784] * 3}, b""),
    "V1 of a version": (
        f"/v1/models/fashion_mnist/versions/{DEFAULT_VERSION}:predict",
        V1_ROWS,
        b"",
    ),
}
REFUSED: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "V2 of layers": (V2, V2_JSON | LONG, b""),
    "V2 without an input": (V2, {"inputs": []}, b""),
    "V2 of another model": ("/v2/models/other/infer", V2_JSON, b""),
    "V2 of no version": ("/v2/models/fashion_mnist/versions/x/infer", V2_JSON, b""),
    "V2 with a rest": (V2, V2_BINARY, bytes(1569)),
    "V1 of layers": (V1, V1_ROWS | {"signature_name": "feature_maps"}, b""),
    "V1 of another version": ("/v1/models/fashion_mnist/versions/7:predict", V1_ROWS, b""),
    "V1 of no label": ("/v1/models/fashion_mnist/labels/none:predict", V1_ROWS, b""),
    "V1 without pictures": (V1, {"instances": []}, b""),
}


@pytest.mark.parametrize("kind", PROTOCOLS | REFUSED)
def test_protocols_with_and_without_a_query(
    counted: httpx.Client, arrived: list[int], kind: str
) -> None:
    path, document, tensors = (PROTOCOLS | REFUSED)[kind]
    text = json.dumps(document).encode()
    headers = {"X-Request-ID": "same"}
    if tensors:
        headers["Inference-Header-Content-Length"] = str(len(text))

    def answer(target: str) -> tuple[httpx.Response, int, set[str]]:
        arrived.clear()
        before = set(counted.get("/metrics").text.splitlines())
        response = counted.post(target, content=text + tensors, headers=headers)
        lines = set(counted.get("/metrics").text.splitlines()) - before
        samples = {line.rpartition(" ")[0] for line in lines}
        changed = {one for one in samples if one.startswith("fashion") and "_total" in one}
        return response, len(arrived), changed

    short, on_the_way, counted_short = answer(path)
    usual, in_the_application, counted_usual = answer(f"{path}?unknown")
    assert short.status_code == usual.status_code
    assert short.content == usual.content
    assert dict(short.headers) | {"date": ""} == dict(usual.headers) | {"date": ""}
    assert counted_short == counted_usual
    assert in_the_application == 1
    assert on_the_way == int(kind in REFUSED)


def test_a_picture_of_the_data_set_never_reaches_the_application(
    counted: httpx.Client, arrived: list[int], boot_png: bytes
) -> None:
    arrived.clear()
    for _ in range(3):
        assert counted.post("/predict", content=boot_png).status_code == 200
    assert counted.post("/predict", json={"instances": [PIXELS]}).status_code == 200
    assert not arrived


def test_what_is_special_large_or_wrong_takes_the_usual_way(
    counted: httpx.Client, arrived: list[int], boot_png: bytes, encode: Encode
) -> None:
    photo = encode(np.zeros((300, 300), np.uint8))
    assert len(photo) <= SHORT_BODY_BYTES
    requests: list[tuple[bytes, dict[str, str], int]] = [
        (boot_png, {"X-Request-Timeout": "5"}, 200),
        (boot_png, {"X-Forwarded-For": "10.0.0.1"}, 200),
        (boot_png + bytes(SHORT_BODY_BYTES), {}, 200),
        (photo, {}, 200),
        (b"no picture", {}, 400),
    ]
    arrived.clear()
    for number, (body, headers, status) in enumerate(requests, start=1):
        assert counted.post("/predict", content=body, headers=headers).status_code == status
        assert len(arrived) == number


def test_an_attempt_that_failed_is_counted_once(counted: httpx.Client) -> None:
    def refused() -> float:
        lines = counted.get("/metrics").text.splitlines()
        name = 'fashion_mnist_requests_total{route="/predict",method="POST",status="400"} '
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    before = refused()
    assert counted.post("/predict", content=b"no picture").status_code == 400
    assert refused() == before + 1


def test_a_body_that_comes_behind_the_headers_is_waited_for(
    counted: httpx.Client, boot_png: bytes
) -> None:
    for pause in (0.0, 4 * BODY_PATIENCE_SECONDS):
        with connect(counted) as connection:
            connection.sendall(head(boot_png))
            time.sleep(pause)
            connection.sendall(boot_png[:100])
            time.sleep(pause)
            connection.sendall(boot_png[100:])
            ((lines, body),) = read_answers(connection, 1)
        assert lines.startswith(b"HTTP/1.1 200")
        assert b"Ankle boot" in body


def test_a_body_that_never_comes_is_given_up(counted: httpx.Client, boot_png: bytes) -> None:
    with connect(counted) as connection:
        connection.sendall(head(boot_png) + boot_png[:100])
        ((lines, _),) = read_answers(connection, 1)
    assert lines.startswith(b"HTTP/1.1 408")


def test_requests_in_one_packet_are_answered_in_their_order(
    counted: httpx.Client, boot_png: bytes
) -> None:
    bad = b"no picture"
    numbered = [
        head(body, f"X-Request-ID: {number}") + body
        for number, body in enumerate([boot_png, bad, boot_png, boot_png, bad])
    ]
    with connect(counted) as connection:
        connection.sendall(b"".join(numbered))
        answers = read_answers(connection, len(numbered))
    assert [int(lines[9:12]) for lines, _ in answers] == [200, 400, 200, 200, 400]
    for number, (lines, _) in enumerate(answers):
        assert f"x-request-id: {number}".encode() in lines.lower()


@pytest.mark.parametrize(("version", "lines"), [("1.1", ["Connection: close"]), ("1.0", [])])
def test_the_connection_is_closed_where_the_client_wants_it(
    counted: httpx.Client, boot_png: bytes, version: str, lines: list[str]
) -> None:
    with connect(counted) as connection:
        connection.sendall(head(boot_png, *lines, version=version) + boot_png)
        ((answer, _),) = read_answers(connection, 1)
        assert b"200 OK" in answer
        assert connection.recv(1) == b""


def test_a_head_that_was_sent_before_leads_to_the_same_answers(
    counted: httpx.Client, arrived: list[int], boot_png: bytes, encode: Encode
) -> None:
    black = encode(np.zeros((28, 28), np.uint8))
    labels = []
    arrived.clear()
    with connect(counted) as connection:
        for picture in (boot_png, black, boot_png):
            for pieces in ([head(picture) + picture], [head(picture), picture[:9], picture[9:]]):
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(0.005)
                ((lines, body),) = read_answers(connection, 1)
                assert lines.startswith(b"HTTP/1.1 200")
                labels.append(json.loads(body)["predictions"][0]["label"])
    assert labels[0] == labels[1] == labels[4] == labels[5] == "Ankle boot"
    assert labels[2] == labels[3] != "Ankle boot"
    assert not arrived


def test_behind_a_head_that_was_sent_before_anything_may_come(
    counted: httpx.Client, arrived: list[int], boot_png: bytes
) -> None:
    bad = b"no picture"
    other = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    good = head(boot_png) + boot_png
    tries = [
        (good, [200]),
        (head(bad) + bad, [400]),
        (good, [200]),
        (other, [200]),
        (good + good + head(bad) + bad + good, [200, 200, 400, 200]),
        (good[:50], []),
        (good[50:] + other, [200, 200]),
        (good, [200]),
        (good + b"\r\n", [200]),
        (good, [200]),
        (b"POST /predict HTTP/9\r\n\r\n", [400]),
    ]
    arrived.clear()
    with connect(counted) as connection:
        for sent, statuses in tries:
            connection.sendall(sent)
            answers = read_answers(connection, len(statuses))
            assert [int(lines[9:12]) for lines, _ in answers] == statuses
    assert len(arrived) == 3, "two that are bad, and one behind the answer to such a one"


def test_a_body_that_comes_late_behind_a_head_that_was_sent_before(
    counted: httpx.Client, arrived: list[int], boot_png: bytes
) -> None:
    arrived.clear()
    with connect(counted) as connection:
        for pause in (0.0, 4 * BODY_PATIENCE_SECONDS, 0.0):
            connection.sendall(head(boot_png))
            time.sleep(pause)
            connection.sendall(boot_png)
            ((lines, body),) = read_answers(connection, 1)
            assert lines.startswith(b"HTTP/1.1 200")
            assert b"Ankle boot" in body
        connection.sendall(head(boot_png) + boot_png[:100])
        ((lines, _),) = read_answers(connection, 1)
        assert lines.startswith(b"HTTP/1.1 408")
    assert len(arrived) == 2


class Sink(asyncio.Transport):
    """Takes what a connection writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("is_known", [False, True])
def test_a_body_that_comes_when_its_time_is_over_is_answered_once(
    boot_png: bytes, is_known: bool
) -> None:
    """The event loop may be so busy that the body and the end of the patience come together."""
    app = create_app(Settings(artifacts=ARTIFACTS))
    app.state.repository.open()

    async def converse() -> bytes:
        config = uvicorn.Config(app, http=FairProtocol, log_config=None, ws="none")
        config.load()
        sink = Sink()
        connection = FairProtocol(config, ServerState(), {SHORT_WAY: ShortWay(app.state)})
        connection.connection_made(sink)
        if is_known:
            connection.data_received(head(boot_png) + boot_png)
            await asyncio.sleep(0)
            assert sink.written.count(b"HTTP/1.1 200") == 1
            sink.written = b""
        connection.data_received(head(boot_png))
        time.sleep(1.5 * BODY_PATIENCE_SECONDS)
        connection.data_received(boot_png)
        await asyncio.sleep(4 * BODY_PATIENCE_SECONDS)
        connection.connection_lost(None)
        return sink.written

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        written = runner.run(converse())
    assert written.count(b"HTTP/1.1 ") == 1
    assert written.startswith(b"HTTP/1.1 200")


def test_who_sends_no_more_still_gets_the_answer(counted: httpx.Client, boot_png: bytes) -> None:
    with connect(counted) as connection:
        connection.sendall(head(boot_png) + boot_png)
        connection.shutdown(socket.SHUT_WR)
        ((lines, _),) = read_answers(connection, 1)
    assert lines.startswith(b"HTTP/1.1 200")


class Caller:
    """Stands for a connection."""

    client: tuple[str, int] | None = ("127.0.0.1", 1)

    def __init__(self, *, is_alone: bool = False) -> None:
        self.is_alone = is_alone
        self.answers: list[bytes | None] = []

    def take_answer(self, headers: bytes, body: bytes) -> None:
        assert b"x-request-id" in headers
        self.answers.append(body)

    def take_usual_way(self) -> None:
        self.answers.append(None)


def head_of(body: bytes, media_type: str, path: str = "/predict") -> Head:
    fields = [(b"content-length", b"%d" % len(body)), (b"content-type", media_type.encode())]
    read = read_head(b"POST", path.encode(), fields)
    assert read is not None
    return read


class Runs:
    """The short way of an application whose network counts its runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.app = create_app(Settings(artifacts=ARTIFACTS))
        self.app.state.repository.open()
        self.short_way = ShortWay(self.app.state)
        self.runs: list[int] = []
        self.fails = False
        engine = self.app.state.repository.classifier()._engine
        assess = engine.assess

        def count(images: Tensor, helpers: Helpers | None) -> Assessment:
            self.runs.append(len(images))
            if self.fails:
                raise RuntimeError("the network fails")
            result: Assessment = assess(images, helpers)
            return result

        monkeypatch.setattr(engine, "assess", count)


def test_those_who_ask_at_once_share_a_run_of_the_network(
    monkeypatch: pytest.MonkeyPatch, boot_png: bytes, encode: Encode
) -> None:
    network = Runs(monkeypatch)
    runs, app = network.runs, network.app
    black = encode(np.zeros((28, 28), np.uint8))
    two = json.dumps({"instances": [PIXELS, PIXELS]}).encode()

    async def ask(bodies: list[tuple[bytes, str]], query: str = "") -> list[Caller]:
        callers = []
        for body, media_type in bodies:
            callers.append(Caller())
            sent = head_of(body, media_type, f"/predict{query}")
            assert network.short_way.ask(callers[-1], sent, body)
            query = ""
        await asyncio.sleep(0)
        return callers

    def labels(caller: Caller) -> list[str]:
        (answer,) = caller.answers
        assert answer is not None
        return [one["label"] for one in json.loads(answer)["predictions"]]

    boot, dark, numbers = asyncio.run(
        ask([(boot_png, "image/png"), (black, "image/png"), (two, "application/json")])
    )
    assert runs == [4]
    assert labels(boot) == ["Ankle boot"]
    assert labels(dark) != ["Ankle boot"]
    assert len(labels(numbers)) == 2
    ranked, plain = asyncio.run(ask([(boot_png, "image/png")] * 2, "?top_k=2"))
    assert runs.pop() == 2
    assert [b'"top_k":[{' in (each.answers[0] or b"") for each in (ranked, plain)] == [True, False]
    asyncio.run(ask([(boot_png, "image/png")] * (MOST_TOGETHER + 5)))
    assert runs[1:] == [MOST_TOGETHER, 5]
    network.fails = True
    failed = asyncio.run(ask([(boot_png, "image/png")] * 3))
    assert [caller.answers for caller in failed] == [[None]] * 3
    assert app.state.admission.images == app.state.admission.bytes == 0
    counted = app.state.observer.metrics.write()
    assert f"fashion_mnist_images_total {4 + 2 + MOST_TOGETHER + 5}\n" in counted


def test_requests_of_other_protocols_share_a_run_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Runs(monkeypatch)
    kinds = ["V2 in JSON", "V1 by row", "V1 by column", "V2 of a version"]
    requests = [(PROTOCOLS[kind][0], json.dumps(PROTOCOLS[kind][1]).encode()) for kind in kinds]

    async def ask(*, together: bool) -> list[list[bytes | None]]:
        callers = []
        for path, body in requests:
            callers.append(Caller(is_alone=not together))
            sent = head_of(body, "application/json", path)
            assert network.short_way.ask(callers[-1], sent, body)
            assert bool(callers[-1].answers) != together
        await asyncio.sleep(0)
        return [caller.answers for caller in callers]

    answers = asyncio.run(ask(together=True))
    assert network.runs == [2 + 1 + 3 + 2]
    assert answers == asyncio.run(ask(together=False))
    assert network.runs[1:] == [2, 1, 3, 2]
    assert all(len(each) == 1 and each[0] for each in answers)
    counted = network.app.state.observer.metrics.write()
    assert "fashion_mnist_images_total 16\n" in counted


def test_a_network_that_fails_is_reported_once_for_each(
    boot_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(artifacts=ARTIFACTS)
    app = create_app(settings)

    def fail(images: Tensor) -> Assessment:
        raise RuntimeError("the network fails")

    with serve(settings, app=app) as client:
        engine = app.state.repository.classifier()._engine
        with connect(client) as known, connect(client) as new, monkeypatch.context() as patch:
            known.sendall(head(boot_png) + boot_png)
            ((lines, _),) = read_answers(known, 1)
            assert lines.startswith(b"HTTP/1.1 200")
            patch.setattr(engine, "assess", fail)
            for connection in (known, new):
                connection.sendall(head(boot_png) + boot_png)
                ((lines, body),) = read_answers(connection, 1)
                assert lines.startswith(b"HTTP/1.1 500")
                assert b"internal_error" in body
        metrics = client.get("/metrics").text
    assert 'requests_total{route="/predict",method="POST",status="500"} 2\n' in metrics
    assert "fashion_mnist_images_in_flight 0\n" in metrics


def test_a_key_is_asked_for_here_as_well(boot_png: bytes) -> None:
    secret, key = make_key("shop", ["predict"])
    _, other = make_key("watch", ["observe"])
    settings = Settings(artifacts=ARTIFACTS, api_keys=f"{key.line()},{other.line()}")
    with serve(settings) as client:
        assert client.post("/predict", content=boot_png).status_code == 401
        answer = client.post("/predict", content=boot_png, headers={"X-API-Key": secret})
        assert answer.status_code == 200
        answer = client.post("/predict", content=boot_png, headers={"X-API-Key": secret + "x"})
        assert answer.status_code == 401


def test_many_clients_get_the_answers_to_their_own_pictures(
    counted: httpx.Client, boot_png: bytes, encode: Encode
) -> None:
    black = encode(np.zeros((28, 28), np.uint8))
    expected = {
        picture: counted.post("/predict", content=picture).json()["predictions"]
        for picture in (boot_png, black)
    }
    wrong: list[object] = []

    def ask(picture: bytes) -> None:
        with httpx.Client(base_url=counted.base_url, timeout=30) as client:
            for _ in range(50):
                got = client.post("/predict", content=picture).json()["predictions"]
                if got != expected[picture]:
                    wrong.append(got)

    threads = [threading.Thread(target=ask, args=(p,)) for p in (boot_png, black) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_many_instances_take_the_same_answers_as_one_by_one(client: httpx.Client) -> None:
    one = client.post("/predict", json={"instances": [PIXELS]}).json()
    many = client.post("/predict", json={"instances": [PIXELS] * 30}).json()
    for prediction in many["predictions"]:
        assert prediction["label"] == one["predictions"][0]["label"]
