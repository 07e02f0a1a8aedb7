"""The fast path returns the application's responses and batches simultaneous requests."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from service.app import create_app
from service.arrays import Assessment, Tensor
from service.capacity.parallel import WorkerThreads
from service.http.batcher import MAX_BATCH_IMAGES, Batcher
from service.http.inference import INLINE_BODY_BYTES
from service.http.protocol import Reply
from service.keys import make_key
from service.protocols.open_inference import statistics
from service.settings import Settings
from service.telemetry.logs import access_logger
from tests.service.conftest import (
    ARTIFACTS,
    DEFAULT_VERSION,
    Encode,
    samples_of,
    serve,
    wait_for,
)
from tests.service.http.connections import (
    connect,
    full_request,
    read_response,
    read_responses,
    statuses,
)
from tests.service.http.test_predict import PIXELS

V2 = "/v2/models/fashion_mnist/infer"
V1 = "/v1/models/fashion_mnist:predict"

VIA_APPLICATION = "Forwarded: for=192.0.2.1"
"""A header that the fast path leaves to the application."""


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
    """A client of a server that counts the requests that reach the application."""
    settings = Settings(
        artifacts=ARTIFACTS, engine="litert", version_labels={"stable": int(DEFAULT_VERSION)}
    )
    app = create_app(settings)
    app.add_middleware(Arrivals, counts=arrived)
    with serve(settings, app=app) as client:
        yield client


IMAGES = {"name": "images", "shape": [2, 784], "datatype": "UINT8"}
V2_JSON: dict[str, Any] = {"inputs": [{**IMAGES, "data": [7] * 1568}], "id": "a"}
V2_BINARY: dict[str, Any] = {
    "inputs": [{**IMAGES, "parameters": {"binary_data_size": 1568}}],
    "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}],
}
EVERY_OUTPUT = [{"name": name} for name in ("class_id", "novelty", "in_distribution", "label")]
V1_ROWS: dict[str, Any] = {"instances": [[0.5] * 784], "signature_name": "novelty"}
VERSION_2 = f"/v2/models/fashion_mnist/versions/{DEFAULT_VERSION}/infer"
VERSION_1 = f"/v1/models/fashion_mnist/versions/{DEFAULT_VERSION}:predict"
LABEL = "/v1/models/fashion_mnist/labels/stable:predict"
NAN = b'{"instances": [[' + b",".join([b"NaN"] * 784) + b"]]}"

Request = tuple[str, bytes, dict[str, str]]
"""Path, body and headers."""


def as_json(path: str, document: object) -> Request:
    return path, json.dumps(document).encode(), {"Content-Type": "application/json"}


def as_binary(document: object, tensors: bytes) -> Request:
    text = json.dumps(document).encode()
    return V2, text + tensors, {"Inference-Header-Content-Length": str(len(text))}


def upload(body: bytes, media_type: str = "image/png", query: str = "") -> Request:
    headers = {"Content-Type": media_type} if media_type else {}
    return f"/predict{query}", body, headers


def form(*files: bytes) -> Request:
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n%b\r\n'
    body = b"".join(part % file for file in files) + b"--x--\r\n"
    return upload(body, "multipart/form-data; boundary=x")


@pytest.fixture(scope="module")
def fast_path_requests(boot_png: bytes, encode: Encode) -> dict[str, Request]:
    """Requests that the fast path handles."""
    return {
        "PNG": upload(boot_png),
        "PNG without a type": upload(boot_png, ""),
        "a colour": upload(encode(np.full((28, 28, 3), 9, np.uint8))),
        "a photograph of few pixels": upload(encode(np.eye(40, dtype=np.uint8) * 255)),
        "JSON": as_json("/predict", {"instances": [PIXELS]}),
        "JSON of two": as_json("/predict", {"instances": [PIXELS, [1.5] * 784]}),
        "form": form(boot_png, boot_png),
        "no query": upload(boot_png, query="?"),
        "plain": upload(boot_png, query="?prepare=plain"),
        "photo and ranking": upload(boot_png, query="?prepare=photo&top_k=10"),
        "ranking and version": upload(boot_png, query=f"?top_k=3&version={DEFAULT_VERSION}"),
        **{
            f"query {query}": upload(boot_png, query=f"?{query}")
            for query in ("top_k=03", "top_k=1&top_k=2", "top_k=1&", "prepare=%61uto", "&")
        },
        "V2 in JSON": as_json(V2, V2_JSON),
        "V2 of other outputs": as_json(V2, V2_JSON | {"outputs": EVERY_OUTPUT}),
        "V2 in binary": as_binary(V2_BINARY, bytes(range(196)) * 8),
        "V2 raw": (V2, bytes(4 * 784), {"Inference-Header-Content-Length": "0"}),
        "V2 of a version": as_json(VERSION_2, V2_JSON),
        "V1 by row": as_json(V1, V1_ROWS),
        "V1 by column": as_json(V1, {"inputs": [[0.5] * 784] * 3}),
        "V1 of a version": as_json(VERSION_1, V1_ROWS),
        "V1 of a label": as_json(LABEL, V1_ROWS),
        "V1 of NaN": (V1, NAN, {}),
    }


@pytest.fixture(scope="module")
def application_requests(boot_png: bytes, encode: Encode) -> dict[str, Request]:
    """Requests that the application handles: invalid, large or unusual ones."""
    timeout = {"X-Request-Timeout": "5"}
    return {
        "BMP": upload(encode(np.zeros((28, 28), np.uint8), "BMP"), "image/bmp"),
        "GIF": upload(encode(np.zeros((28, 28), np.uint8), "GIF"), "application/octet-stream"),
        "no instances": as_json("/predict", {"instances": []}),
        "invalid JSON": upload(b"{", "application/json"),
        "not an image": upload(b"no image"),
        "empty body": upload(b""),
        "unsupported type": upload(b"x", "text/plain"),
        "truncated form": upload(form(boot_png)[1][:-9], "multipart/form-data; boundary=x"),
        "a large photograph": upload(encode(np.zeros((300, 300), np.uint8))),
        "a long body": upload(boot_png + bytes(INLINE_BODY_BYTES)),
        "a deadline": ("/predict", boot_png, timeout),
        "invalid deadline": ("/predict", boot_png, {"X-Request-Timeout": "soon"}),
        "a proxy": ("/predict", boot_png, {"X-Forwarded-For": "10.0.0.1"}),
        "unsupported encoding": ("/predict", boot_png, {"Content-Encoding": "br"}),
        **{
            f"query {query}": upload(boot_png, query=f"?{query}")
            for query in (
                *("top_k=11", "top_k=0", "top_k=", "top_k=2&top_k=0", "version=7", "version=-1"),
                *("prepare=magic", "other=1", "version_label=none"),
            )
        },
        "V2 of layers": as_json(V2, V2_JSON | {"outputs": [{"name": "dense_1"}]}),
        "V2 without an input": as_json(V2, {"inputs": []}),
        "V2 of another model": as_json("/v2/models/other/infer", V2_JSON),
        "V2 of an invalid version": as_json("/v2/models/fashion_mnist/versions/x/infer", V2_JSON),
        "V2 with an escaped slash": as_json(
            "/v2/models/fashion_mnist/versions/1%2F2/infer", V2_JSON
        ),
        "V2 with surplus bytes": as_binary(V2_BINARY, bytes(1569)),
        "V2 of an invalid length": (V2, b"x", {"Inference-Header-Content-Length": "many"}),
        "V1 of layers": as_json(V1, V1_ROWS | {"signature_name": "feature_maps"}),
        "V1 of another version": as_json("/v1/models/fashion_mnist/versions/7:predict", V1_ROWS),
        "V1 of an unknown label": as_json("/v1/models/fashion_mnist/labels/none:predict", V1_ROWS),
        "V1 of another model": as_json("/v1/models/other:predict", V1_ROWS),
        "V1 without images": as_json(V1, {"instances": []}),
        "V1 of another method": as_json("/v1/models/fashion_mnist:classify", V1_ROWS),
        "trailing slash": ("/predict/", boot_png, {}),
    }


@pytest.fixture(scope="module")
def requests(
    fast_path_requests: dict[str, Request], application_requests: dict[str, Request]
) -> dict[str, Request]:
    return fast_path_requests | application_requests


@pytest.fixture
def others() -> Iterator[list[socket.socket]]:
    """Other connections, closed after the test."""
    connections: list[socket.socket] = []
    yield connections
    for connection in connections:
        connection.close()


def lines_of(headers: dict[str, str]) -> list[str]:
    return ["X-Request-ID: same", *(f"{name}: {value}" for name, value in headers.items())]


def changes(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return what changed in the metrics, without times."""
    return {
        name: value - before.get(name, 0)
        for name, value in after.items()
        if name.startswith("fashion_mnist_")
        and not name.startswith(("fashion_mnist_phase_seconds", "fashion_mnist_request_seconds"))
        and value != before.get(name, 0)
        and "/metrics" not in name
    }


def test_responses_equal_those_of_the_application_byte_for_byte(
    counted: httpx.Client,
    arrived: list[int],
    requests: dict[str, Request],
    fast_path_requests: dict[str, Request],
    others: list[socket.socket],
) -> None:
    counted.get("/livez", headers={"Connection": "close"})
    for number, (kind, (path, body, headers)) in enumerate([*requests.items()] * 2):
        if number == len(requests):
            others.append(connect(counted))  # Until here, there was one connection at a time.
        for method in ("POST", "PUT"):
            lines = lines_of(headers)
            arrived.clear()
            with connect(counted) as connection:
                connection.sendall(full_request(body, *lines, method=method, path=path))
                fast = read_response(connection)
                in_between = len(arrived)
                lines.append(VIA_APPLICATION)
                connection.sendall(full_request(body, *lines, method=method, path=path))
                usual = read_response(connection)
            assert fast.without_date == usual.without_date, kind
            is_answered = kind in fast_path_requests and (
                method == "POST" or path.startswith("/predict")
            )
            assert in_between == int(not is_answered), kind
            assert len(arrived) == in_between + 1, kind
            if is_answered:
                assert fast.status == 200, kind


def test_metrics_equal_those_of_the_application(
    counted: httpx.Client, requests: dict[str, Request]
) -> None:
    after = samples_of(counted.get("/metrics").text)
    for kind, (path, body, headers) in requests.items():
        found = []
        for more in ({}, {"Forwarded": "for=192.0.2.1"}):
            counted.post(path, content=body, headers={**headers, **more})
            before, after = after, samples_of(counted.get("/metrics").text)
            found.append(changes(before, after))
        fast, usual = found
        assert fast.keys() == usual.keys(), kind
        for name, change in fast.items():
            assert change == pytest.approx(usual[name], rel=1e-3), (kind, name)
        name = next((name for name in fast if name.startswith("fashion_mnist_requests_")), "")
        assert fast[name] == 1, kind


def test_timed_phases_equal_those_of_the_application(
    counted: httpx.Client, fast_path_requests: dict[str, Request]
) -> None:
    def phases() -> Counter[str]:
        samples = samples_of(counted.get("/metrics").text)
        start = "fashion_mnist_phase_seconds_count"
        return Counter({n: int(v) for n, v in samples.items() if n.startswith(start)})

    after = phases()
    for kind, (path, body, headers) in fast_path_requests.items():
        found = []
        for more in ({}, {"Forwarded": "for=192.0.2.1"}):
            counted.post(path, content=body, headers={**headers, **more})
            before, after = after, phases()
            found.append(after - before)
        assert found[0] == found[1], kind


def test_access_log_equals_that_of_the_application(
    counted: httpx.Client, requests: dict[str, Request], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, access_logger.name):
        for kind, (path, body, headers) in requests.items():
            caplog.clear()
            for more in ({}, {"Forwarded": "for=192.0.2.1"}):
                counted.post(path, content=body, headers={"X-Request-ID": "a", **headers, **more})
            wait_for(lambda: len(caplog.records) == 2)  # Written after the response is sent.
            fast, usual = (
                (r.method, r.target, r.route, r.status, r.version, r.images, r.client, r.error_code)
                for r in (line.__dict__["request"] for line in caplog.records)
            )
            assert fast == usual, kind


def test_concurrent_clients_receive_predictions_of_their_own_images(
    counted: httpx.Client, boot_png: bytes, encode: Encode
) -> None:
    black = encode(np.zeros((28, 28), np.uint8))
    expected = {
        image: counted.post("/predict", content=image).json()["predictions"]
        for image in (boot_png, black)
    }
    wrong: list[object] = []

    def send(image: bytes) -> None:
        with httpx.Client(base_url=counted.base_url, timeout=30) as client:
            for _ in range(50):
                got = client.post("/predict", content=image).json()["predictions"]
                if not same(got, expected[image]):
                    wrong.append(got)

    threads = [threading.Thread(target=send, args=(p,)) for p in (boot_png, black) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def same(predictions: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> bool:
    [one], [other] = predictions, others
    return bool(
        one["label"] == other["label"]
        and np.allclose(list(one["probabilities"].values()), list(other["probabilities"].values()))
    )


def test_pipelines_of_many_connections_are_each_answered_in_order(
    counted: httpx.Client, boot_png: bytes
) -> None:
    good, bad = full_request(boot_png), full_request(b"bad")
    slow = full_request(b"bad", method="PUT", path="/predict?scale=255")
    connections = [connect(counted) for _ in range(60)]
    for _ in range(3):
        for connection in connections:
            connection.sendall(good[:150])
        for connection in connections:
            connection.sendall(good[150:])
            connection.sendall(bad + slow)
            connection.sendall(good)
        for connection in connections:
            assert statuses(read_responses(connection, 4)) == [200, 400, 400, 200]
    for connection in connections:
        connection.close()


def test_health_is_answered_while_many_connections_have_pending_requests(
    counted: httpx.Client, boot_png: bytes
) -> None:
    burst = full_request(boot_png) * 40
    connections = [connect(counted) for _ in range(30)]
    for connection in connections:
        connection.sendall(burst)
    assert counted.get("/livez").status_code == 200
    done = [len(connection.recv(1 << 20)) for connection in connections[-1:]]
    assert done
    for connection in connections:
        connection.close()
    assert counted.post("/predict", content=boot_png).status_code == 200


def test_every_instance_of_a_batch_has_the_label_of_a_single_one(client: httpx.Client) -> None:
    one = client.post("/predict", json={"instances": [PIXELS]}).json()
    many = client.post("/predict", json={"instances": [PIXELS] * 30}).json()
    for prediction in many["predictions"]:
        assert prediction["label"] == one["predictions"][0]["label"]


def test_fast_path_checks_api_keys(boot_png: bytes) -> None:
    secret, key = make_key("shop", ["predict"])
    wrong_scope, other = make_key("watch", ["observe"])
    settings = Settings(
        artifacts=ARTIFACTS, engine="litert", api_keys=f"{key.line()},{other.line()}"
    )
    with serve(settings) as client:
        for headers, status in (
            ({}, 401),
            ({"X-API-Key": secret}, 200),
            ({"Authorization": f"Bearer {secret}"}, 200),
            ({"X-API-Key": secret + "x"}, 401),
            ({"X-API-Key": wrong_scope}, 403),
        ):
            for more in ({}, {"Forwarded": "for=192.0.2.1"}):
                response = client.post("/predict", content=boot_png, headers={**headers, **more})
                assert response.status_code == status
        samples = samples_of(client.get("/metrics", headers={"X-API-Key": wrong_scope}).text)
    assert samples['fashion_mnist_key_requests_total{key="shop",status="200"}'] == 4


def test_failed_inference_is_a_500_that_is_counted_once_per_request(
    boot_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(artifacts=ARTIFACTS, engine="litert")
    app = create_app(settings)

    def fail(*_: object) -> Assessment:
        raise RuntimeError("the network fails")

    with serve(settings, app=app) as client:
        engine = app.state.repository.classifier()._engine
        with connect(client) as one, connect(client) as other, monkeypatch.context() as patch:
            one.sendall(full_request(boot_png))
            assert read_response(one).status == 200
            patch.setattr(engine, "assess", fail)
            for connection in (one, other):
                connection.sendall(full_request(boot_png))
            for connection in (one, other):
                answer = read_response(connection)
                assert answer.status == 500
                assert b"internal_error" in answer.body
        metrics = client.get("/metrics").text
    assert 'requests_total{method="POST",route="/predict",status="500"} 2.0\n' in metrics
    assert "fashion_mnist_images_in_flight 0.0\n" in metrics


class Caller:
    """A stub of a connection."""

    def __init__(self, batcher: Batcher, connections: int = 2) -> None:
        self.batcher = batcher
        self.connections = range(connections)
        self.answers: list[bytes | None] = []

    def send(self, path: str, body: bytes, media_type: str = "application/json") -> None:
        target, _, query = path.partition("?")
        scope = {
            "state": {"body_begins": time.monotonic()},
            "type": "http",
            "method": "POST",
            "http_version": "1.1",
            "root_path": "",
            "path": target,
            "raw_path": target.encode(),
            "query_string": query.encode(),
            "client": ("127.0.0.1", 1),
            "headers": [
                (b"host", b"localhost"),
                (b"content-length", b"%d" % len(body)),
                (b"content-type", media_type.encode()),
            ],
        }
        match = self.batcher.match(scope)
        assert match is not None
        cycle = SimpleNamespace(scope=scope, body=bytearray(body))
        self.batcher.submit(cast("Any", self), cycle, cast("Any", match))

    def respond(self, _: object, reply: Reply) -> None:
        assert reply.status == 200
        assert b"x-request-id" in reply.fields
        self.answers.append(reply.body)

    def fall_back(self, _: object) -> None:
        self.answers.append(None)

    @property
    def labels(self) -> list[str]:
        [answer] = self.answers
        assert answer is not None
        return [one["label"] for one in json.loads(answer)["predictions"]]


class CountingFastPath:
    """The fast path of an application whose network counts its runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.app = create_app(Settings(artifacts=ARTIFACTS, engine="litert"))
        self.app.state.repository.open()
        self.batcher = Batcher(self.app.state)
        self.runs: list[int] = []
        self.fails = False
        engine = self.app.state.repository.classifier()._engine
        assess = engine.assess

        def count(images: Tensor, workers: WorkerThreads | None = None) -> Assessment:
            self.runs.append(len(images))
            if self.fails:
                raise RuntimeError("the network fails")
            result: Assessment = assess(images, workers)
            return result

        monkeypatch.setattr(engine, "assess", count)

    def send(self, requests: Sequence[tuple[str, bytes]], connections: int = 2) -> list[Caller]:
        """Send the requests at once, each from its own connection."""

        async def arrive() -> list[Caller]:
            callers = [Caller(self.batcher, connections) for _ in requests]
            for caller, (path, body) in zip(callers, requests, strict=True):
                media_type = "image/png" if body.startswith(b"\x89PNG") else "application/json"
                caller.send(path, body, media_type)
                assert bool(caller.answers) == (connections == 1)
            for _ in range(len(requests) + 1):
                await asyncio.sleep(0)
            return callers

        return asyncio.run(arrive())

    def in_flight(self) -> tuple[int, int]:
        admission = self.app.state.admission
        return admission.images, admission.bytes

    def samples(self) -> dict[str, float]:
        return samples_of(self.app.state.instrumentation.metrics.write())


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> CountingFastPath:
    return CountingFastPath(monkeypatch)


def test_simultaneous_requests_share_one_inference(
    network: CountingFastPath, boot_png: bytes, encode: Encode
) -> None:
    black = encode(np.zeros((28, 28), np.uint8))
    two = json.dumps({"instances": [PIXELS, PIXELS]}).encode()
    boot, dark, numbers = network.send([("/predict", body) for body in (boot_png, black, two)])
    assert network.runs == [4]
    assert boot.labels == ["Ankle boot"]
    assert dark.labels != ["Ankle boot"]
    assert numbers.labels == dark.labels * 2
    ranked, plain = network.send([("/predict?top_k=2", boot_png), ("/predict", boot_png)])
    assert network.runs.pop() == 2
    assert [b'"top_k":[{' in (each.answers[0] or b"") for each in (ranked, plain)] == [True, False]
    assert network.in_flight() == (0, 0)
    assert network.samples()["fashion_mnist_images_total"] == 6
    repository = network.app.state.repository
    [counted] = cast("Any", statistics(repository))["model_stats"]
    assert (counted["inference_count"], counted["execution_count"]) == (6, 2)


def test_batch_size_is_limited(network: CountingFastPath, boot_png: bytes) -> None:
    callers = network.send([("/predict", boot_png)] * (2 * MAX_BATCH_IMAGES + 5))
    assert network.runs == [MAX_BATCH_IMAGES, MAX_BATCH_IMAGES, 5]
    assert all(caller.labels == ["Ankle boot"] for caller in callers)
    network.runs.clear()
    three = json.dumps({"instances": [PIXELS] * 3}).encode()
    network.send([("/predict", three)] * 20)
    assert sum(network.runs) == 60
    assert max(network.runs) < MAX_BATCH_IMAGES + 3


def test_only_connection_is_answered_without_waiting_for_a_batch(
    network: CountingFastPath, boot_png: bytes
) -> None:
    network.send([("/predict", boot_png)] * 3, connections=1)
    assert network.runs == [1, 1, 1]


def test_requests_of_all_protocols_share_one_inference(
    network: CountingFastPath, fast_path_requests: dict[str, Request], boot_png: bytes
) -> None:
    kinds = ["V2 in JSON", "PNG", "V1 by row", "JSON of two", "V1 by column", "V2 of a version"]
    requests = [fast_path_requests[kind][:2] for kind in kinds]
    together = network.send(requests)
    assert network.runs == [2 + 1 + 1 + 2 + 3 + 2]
    alone = network.send(requests, connections=1)
    assert network.runs[1:] == [2, 1, 1, 2, 3, 2]
    for kind, one, other in zip(kinds, together, alone, strict=True):
        assert rounded(one.answers) == rounded(other.answers), kind
    assert network.samples()["fashion_mnist_images_total"] == 22


def rounded(answers: list[bytes | None]) -> object:
    """Return the response without last digits, which depend on the batch size."""
    [answer] = answers
    assert answer is not None
    return json.loads(answer, parse_float=lambda text: f"{float(text):.3g}")


def test_invalid_request_does_not_affect_the_rest_of_its_batch(
    network: CountingFastPath, boot_png: bytes
) -> None:
    bodies = [boot_png, b"no image", boot_png, b"{", boot_png]
    callers = network.send([("/predict", body) for body in bodies])
    assert [caller.answers == [None] for caller in callers] == [False, True, False, True, False]
    assert network.runs == [3]
    assert network.in_flight() == (0, 0)
    assert network.samples()["fashion_mnist_images_total"] == 3


def test_requests_fall_back_to_the_application_if_inference_fails(
    network: CountingFastPath, boot_png: bytes
) -> None:
    network.fails = True
    callers = network.send([("/predict", boot_png)] * 3)
    assert [caller.answers for caller in callers] == [[None]] * 3
    assert network.in_flight() == (0, 0)
    assert not [name for name in network.samples() if "requests_total" in name]


def test_only_the_request_whose_response_fails_falls_back_to_the_application(
    network: CountingFastPath, boot_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = network.app.state.instrumentation.end
    ended: list[object] = []

    def fail_once(record: object) -> None:
        ended.append(record)
        if len(ended) == 2:
            raise RuntimeError("the log is full")
        end(record)

    monkeypatch.setattr(network.app.state.instrumentation, "end", fail_once)
    callers = network.send([("/predict", boot_png)] * 3)
    assert [caller.answers == [None] for caller in callers] == [False, True, False]
    assert network.in_flight() == (0, 0)


def test_requests_fall_back_to_the_application_if_it_is_full_or_draining(
    network: CountingFastPath, boot_png: bytes
) -> None:
    admission = network.app.state.admission
    admission.reserve(2048, 0)

    async def send() -> list[bytes | None]:
        caller = Caller(network.batcher)
        caller.send("/predict", boot_png, "image/png")
        return caller.answers

    assert asyncio.run(send()) == [None]
    admission.release(2048, 0)
    admission.close()
    assert asyncio.run(send()) == [None]
    assert network.runs == []
