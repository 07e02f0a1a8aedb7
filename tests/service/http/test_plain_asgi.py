"""The application works with any ASGI server, without the service's own connections."""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Literal

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Mount

from service.app import create_app
from service.keys import make_key
from service.settings import Settings
from tests.service.conftest import ARTIFACTS, DEFAULT_VERSION, Encode, serve, wait_until_ready

V1 = "/v1/models/fashion_mnist"
V2 = "/v2/models/fashion_mnist"
SETTINGS = Settings(artifacts=ARTIFACTS, engine="litert", max_body_bytes=1_000_000, max_images=4)

Requests = list[tuple[str, str, dict[str, Any]]]


@contextmanager
def serve_with_uvicorn(settings: Settings, protocol: Literal["httptools", "h11"]) -> Iterator[str]:
    """Serve with one of uvicorn's own protocols until the block ends; yield the URL."""
    config = uvicorn.Config(create_app(settings), log_config=None, ws="none", http=protocol)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=30) as client:
                wait_until_ready(client)
            yield url
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def requests(boot_png: bytes, encode: Encode) -> Requests:
    photo = encode(Image.new("RGB", (300, 400), "#eee8dd"), "JPEG")
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    large = encode(noise)
    encoded = {"b64": base64.b64encode(boot_png).decode()}
    tensor = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [7] * 784}
    raw: dict[str, Any] = {**tensor, "parameters": {"binary_data_size": 784}}
    del raw["data"]
    text = json.dumps({"inputs": [raw], "parameters": {"binary_data_output": True}}).encode()
    binary = {"Inference-Header-Content-Length": str(len(text))}
    assert 100_000 < len(large) < 1_000_000
    return [
        ("POST", "/predict", {"content": boot_png}),
        ("PUT", "/predict", {"content": boot_png}),
        ("POST", "/predict?top_k=2&prepare=photo", {"content": boot_png}),
        ("POST", f"/predict?version={DEFAULT_VERSION}", {"content": photo}),
        ("PUT", "/predict", {"content": large}),
        ("POST", "/predict", {"files": [("files", ("a.png", boot_png)), ("f", ("b.jpg", photo))]}),
        ("POST", "/predict", {"files": [("files", ("a.png", b"no image"))]}),
        ("POST", "/predict", {"files": [("files", ("a.png", boot_png))] * 5}),
        ("POST", "/predict", {"json": {"instances": [encoded, [1.5] * 784]}}),
        ("POST", "/predict", {"json": {"instances": [[0] * 783]}}),
        ("POST", "/predict", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
        ("POST", "/predict", {"content": b"no image"}),
        ("POST", "/predict", {"content": b""}),
        ("POST", "/predict", {"content": b"x", "headers": {"Content-Type": "text/plain"}}),
        ("POST", "/predict", {"content": bytes(1_000_001)}),
        ("POST", "/predict?top_k=0", {"content": boot_png}),
        ("POST", "/predict", {"content": boot_png, "headers": {"X-Request-Timeout": "-"}}),
        ("GET", "/predict", {}),
        ("POST", "/feature-maps?layer=conv2d_1&channels=0,3", {"content": boot_png}),
        ("POST", "/feature-maps?format=png", {"content": photo}),
        ("POST", "/feature-maps?layer=none", {"content": boot_png}),
        ("POST", "/preparation", {"content": photo}),
        ("GET", "/model/summary", {}),
        ("GET", "/model/summary", {"headers": {"Accept": "text/plain"}}),
        ("GET", "/model/layers/dense_2", {}),
        ("GET", "/model/layers/nowhere", {}),
        ("POST", f"{V2}/infer", {"json": {"inputs": [tensor], "id": "a"}}),
        ("POST", f"{V2}/infer", {"content": text + bytes(784), "headers": binary}),
        ("POST", f"{V2}/infer", {"json": {"inputs": [tensor], "outputs": [{"name": "dense_1"}]}}),
        ("POST", f"{V2}/infer", {"json": {"inputs": []}}),
        ("POST", f"{V2}/versions/{DEFAULT_VERSION}/infer", {"json": {"inputs": [tensor]}}),
        ("GET", V2, {}),
        ("GET", f"{V2}/ready", {}),
        ("POST", "/v2/repository/index", {}),
        ("POST", f"{V1}:predict", {"json": {"instances": [[0.5] * 784]}}),
        ("POST", f"{V1}:predict", {"json": {"inputs": [[0.5] * 784], "signature_name": "novelty"}}),
        ("POST", f"{V1}:predict", {"json": {"instances": []}}),
        ("POST", f"{V1}/versions/7:predict", {"json": {"instances": [[0.5] * 784]}}),
        ("GET", f"{V1}/metadata", {}),
        ("GET", "/livez", {}),
        ("GET", "/readyz", {}),
        ("GET", "/v2/health/ready", {}),
        ("GET", "/docs", {}),
        ("GET", "/openapi.json", {}),
        ("GET", "/", {}),
        ("GET", "/", {"headers": {"Accept": "text/html"}}),
        ("GET", "/web/main.js", {}),
        ("GET", "/nowhere", {}),
        ("HEAD", "/livez", {}),
        ("DELETE", "/v2", {}),
    ]


ComparedResponse = tuple[int, dict[str, str], bytes]


def compared(response: httpx.Response) -> ComparedResponse:
    """Return what must not depend on the server: status, headers and body."""
    headers = {
        name: value
        for name, value in response.headers.items()
        # Set by the server, not by the application.
        if name not in ("date", "server", "connection", "transfer-encoding")
    }
    return response.status_code, headers, response.content


def with_request_id(request: dict[str, Any], number: int) -> dict[str, Any]:
    headers = {**request.get("headers", {}), "X-Request-ID": f"request-{number}"}
    return {**request, "headers": headers}


@pytest.fixture(scope="module")
def expected(requests: Requests) -> list[ComparedResponse]:
    with serve(SETTINGS) as client:
        return [
            compared(client.request(method, path, **with_request_id(request, number)))
            for number, (method, path, request) in enumerate(requests)
        ]


@pytest.mark.parametrize("protocol", ["httptools", "h11"])
def test_stock_uvicorn_returns_the_same_responses(
    requests: Requests, expected: list[ComparedResponse], protocol: Literal["httptools", "h11"]
) -> None:
    with (
        serve_with_uvicorn(SETTINGS, protocol) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        for number, (method, path, request) in enumerate(requests):
            answer = compared(client.request(method, path, **with_request_id(request, number)))
            assert answer == expected[number], (method, path)
        metrics = client.get("/metrics").text
    assert (
        'fashion_mnist_requests_total{method="PUT",route="/predict",status="200"} 2.0\n' in metrics
    )


def test_responses_are_the_same_without_a_server_and_lifespan(
    requests: Requests, expected: list[ComparedResponse]
) -> None:
    app = create_app(SETTINGS)
    app.state.repository.open()

    async def send_requests() -> list[ComparedResponse]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return [
                compared(await client.request(method, path, **with_request_id(request, number)))
                for number, (method, path, request) in enumerate(requests)
            ]

    answers = asyncio.run(send_requests())
    app.state.pools.close()
    for number, (method, path, _) in enumerate(requests):
        assert answers[number] == expected[number], (method, path)


def test_mounted_application_returns_errors_in_the_format_of_their_protocol(
    requests: Requests, expected: list[ComparedResponse]
) -> None:
    app = create_app(SETTINGS)
    app.state.repository.open()

    async def send_requests() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Starlette(routes=[Mount("/ml", app)]))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return [
                await client.request(method, f"/ml{path}", **request)
                for method, path, request in requests
            ]

    answers = asyncio.run(send_requests())
    app.state.pools.close()
    forms = set()
    for answer, (status, _, body), (_, path, _) in zip(answers, expected, requests, strict=True):
        assert answer.status_code == status, path
        if status >= 400:
            form = type(json.loads(body)["error"])
            assert type(answer.json()["error"]) is form, path
            forms.add((path.startswith(("/v1/", "/v2/")), form))
    assert {(True, str), (False, dict)} <= forms


@pytest.mark.parametrize("protocol", ["httptools", "h11"])
def test_application_itself_checks_api_keys(
    boot_png: bytes, protocol: Literal["httptools", "h11"]
) -> None:
    secret, key = make_key("shop", ["predict"])
    settings = Settings(artifacts=ARTIFACTS, engine="litert", api_keys=key.line())
    with serve_with_uvicorn(settings, protocol) as url:
        for headers, status in (({}, 401), ({"X-API-Key": secret}, 200), ({"X-API-Key": "x"}, 401)):
            response = httpx.post(f"{url}/predict", content=boot_png, headers=headers)
            assert response.status_code == status
            assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_requests_are_answered_while_the_model_is_loading() -> None:
    app = create_app(SETTINGS)

    async def send_requests() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return [await client.get(path) for path in ("/livez", "/readyz", V2)]

    assert [answer.status_code for answer in asyncio.run(send_requests())] == [200, 503, 503]


def test_short_job_does_not_listen_for_a_disconnect(
    boot_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.http.inference.PATIENCE_SECONDS", 30)
    received = 0

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        await asyncio.sleep(30 * (received > 1))
        return {"type": "http.request", "body": boot_png}

    async def answer() -> object:
        app = create_app(SETTINGS)
        statuses: list[object] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            statuses.append(message.get("status"))

        async with app.router.lifespan_context(app):
            while not app.state.repository.is_ready:
                await asyncio.sleep(0.01)
            await app(scope, receive, send)
        return statuses[0]

    scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": "POST"}
    scope |= {
        "path": "/preparation",
        "query_string": b"",
        "headers": [(b"host", b"x")],
        "scheme": "http",
    }
    assert (asyncio.run(answer()), received) == (200, 1)
