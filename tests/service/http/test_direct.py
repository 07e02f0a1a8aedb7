"""Without a query, FastAPI's part is left out, and the answers are the same."""

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from service.http.direct import DirectRoute
from service.app import create_app
from service.settings import Settings
from tests.service.conftest import ARTIFACTS, DEFAULT_VERSION, samples_of, serve

OUTSIDE = {"Forwarded": "for=192.0.2.1"}
"""What has this header is not answered before the application."""

RAW = {"Inference-Header-Content-Length": "0"}
ONE = orjson.dumps({"instances": [[0.5] * 784]})
TENSOR = orjson.dumps(
    {"inputs": [{"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [7] * 784}]}
)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serve(Settings(artifacts=ARTIFACTS, engine="litert", max_body_bytes=300_000)) as client:
        yield client


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Templates of the routes that were answered directly."""
    templates: list[str] = []
    handle = DirectRoute.handle

    async def note(route: DirectRoute, scope: Scope, receive: Receive, send: Send) -> None:
        templates.append(route.path_format)
        await handle(route, scope, receive, send)

    monkeypatch.setattr(DirectRoute, "handle", note)
    return templates


def answers(client: httpx.Client, method: str, path: str, **request: Any) -> list[httpx.Response]:
    """The answer as it is, and that of FastAPI's route."""
    request["headers"] = {**request.get("headers", {}), **OUTSIDE, "X-Request-ID": "same"}
    given = [client.request(method, path, **request)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DirectRoute, "matches", lambda *_: (Match.NONE, {}))
        given.append(client.request(method, path, **request))
    return given


V1, V2 = "/v1/models/fashion_mnist", "/v2/models/fashion_mnist"


@pytest.mark.parametrize(
    "case",
    [
        ("/predict", "/predict", {"content": b"no picture"}, 400),
        ("/predict", "/predict", {"content": b""}, 400),
        ("/predict", "/predict", {"content": bytes(400_000)}, 413),
        ("/predict", "/predict", {"content": b"x", "headers": {"Content-Type": "a/b"}}, 415),
        ("/predict", "/predict", {"content": b"x", "headers": {"X-Request-Timeout": "-"}}, 400),
        (f"{V1}:predict", "/v1/models/{name}:predict", {"content": ONE}, 200),
        (
            f"{V1}/versions/{DEFAULT_VERSION}:predict",
            "/v1/models/{name}/versions/{version}:predict",
            {"content": ONE},
            200,
        ),
        (
            f"{V1}/labels/none:predict",
            "/v1/models/{name}/labels/{label}:predict",
            {"content": ONE},
            404,
        ),
        ("/v1/models/other:predict", "/v1/models/{name}:predict", {"content": ONE}, 404),
        (f"{V1}:predict", "/v1/models/{name}:predict", {"content": b"{"}, 400),
        (f"{V2}/infer", "/v2/models/{name}/infer", {"content": TENSOR}, 200),
        (
            f"{V2}/versions/{DEFAULT_VERSION}/infer",
            "/v2/models/{name}/versions/{version}/infer",
            {"content": TENSOR},
            200,
        ),
        (
            f"{V2}/versions/x/infer",
            "/v2/models/{name}/versions/{version}/infer",
            {"content": TENSOR},
            404,
        ),
        (
            f"{V2}/infer",
            "/v2/models/{name}/infer",
            {"content": bytes(4 * 784), "headers": RAW},
            200,
        ),
        (
            f"{V2}/infer",
            "/v2/models/{name}/infer",
            {"content": b"x", "headers": {"Inference-Header-Content-Length": "many"}},
            400,
        ),
    ],
)
def test_it_is_what_the_route_of_fastapi_answers(
    client: httpx.Client, handled: list[str], case: tuple[str, str, dict[str, Any], int]
) -> None:
    path, template, request, status = case
    directly, usually = answers(client, "POST", path, **request)
    assert handled == [template]
    assert directly.status_code == usually.status_code == status
    assert directly.content == usually.content
    assert {**directly.headers, "date": ""} == {**usually.headers, "date": ""}


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_picture(client: httpx.Client, handled: list[str], boot_png: bytes, method: str) -> None:
    before = samples_of(client.get("/metrics").text)
    directly, usually = answers(client, method, "/predict", content=boot_png)
    assert handled == ["/predict"]
    assert directly.status_code == 200
    assert directly.content == usually.content
    name = f'fashion_mnist_requests_total{{route="/predict",method="{method}",status="200"}}'
    after = samples_of(client.get("/metrics").text)
    assert after[name] - before.get(name, 0) == 2


@pytest.mark.parametrize(
    "case",
    [
        ("POST", "/predict?top_k=2", 200),
        ("POST", "/predict?top_k=none", 400),
        ("GET", "/predict", 405),
        ("DELETE", "/predict", 405),
        ("GET", f"{V2}/infer", 405),
        ("POST", "/predict/", 307),
        ("POST", f"{V2}/versions/1%2F2/infer", 404),
    ],
)
def test_whatever_else_is_left_to_fastapi(
    client: httpx.Client, handled: list[str], boot_png: bytes, case: tuple[str, str, int]
) -> None:
    method, path, status = case
    directly, usually = answers(client, method, path, content=boot_png)
    assert not handled
    assert directly.status_code == usually.status_code == status
    assert directly.content == usually.content
    assert directly.headers.get("Allow") == usually.headers.get("Allow")


def test_the_documentation_does_not_know_of_it() -> None:
    app = create_app(Settings(artifacts=ARTIFACTS, engine="litert"))
    documented = app.openapi()
    app.openapi_schema = None
    app.router.routes[:] = [r for r in app.router.routes if not isinstance(r, DirectRoute)]
    assert app.openapi() == documented
