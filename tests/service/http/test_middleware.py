"""Middleware of all requests: API keys, request ids, CORS, errors."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from service.app import create_app
from service.capacity.admission import Admission
from service.http.middleware import PIECE_BYTES, _Answer, required_scope
from service.keys import SCOPES, Scope, make_key
from service.settings import Settings
from service.telemetry.logs import access_logger
from service.telemetry.record import RequestRecord
from tests.service.conftest import ARTIFACTS, run_service, samples_of, serve, wait_for
from tests.service.http.test_predict import parse_error

KEYS = {scope: make_key(f"the-{scope}", [scope]) for scope in SCOPES}
"""They differ in each process, so they must not be used in ids of parametrised tests."""
LINES = ",".join(key.line() for _, key in KEYS.values())
ORIGIN = "https://shop.example"


def bearer(scope: Scope) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[scope][0]}"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[httpx.Client]:
    """A client without a key, of a server with one key for each scope."""
    settings = Settings(
        artifacts=ARTIFACTS, engine="litert", api_keys=LINES, cors_origins=(ORIGIN,)
    )
    with serve(settings) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/web/main.js",
        "/swagger/swagger-ui.css",
        "/docs",
        "/openapi.json",
        "/livez",
        "/readyz",
        "/v2/health/live",
        "/v2/health/ready",
    ],
)
def test_health_and_pages_need_no_key(guarded: httpx.Client, path: str) -> None:
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/predict", "predict"),
        ("POST", "/predict?top_k=1", "predict"),
        ("POST", "/feature-maps", "predict"),
        ("POST", "/preparation", "predict"),
        ("POST", "/explain", "predict"),
        ("GET", "/model/summary", "predict"),
        ("GET", "/model/layers/conv2d_1", "predict"),
        ("GET", "/metrics", "observe"),
        ("GET", "/v2", "predict"),
        ("GET", "/v2/models/fashion_mnist", "predict"),
        ("GET", "/v1/models/fashion_mnist", "predict"),
        ("POST", "/v2/repository/index", "predict"),
        ("POST", "/v2/repository/models/fashion_mnist/load", "administer"),
    ],
)
def test_path_accepts_only_keys_of_its_scope(
    guarded: httpx.Client, boot_png: bytes, method: str, path: str, scope: Scope
) -> None:
    content = (
        boot_png
        if path.startswith(("/predict", "/feature-maps", "/preparation", "/explain"))
        else None
    )
    statuses = {
        of: guarded.request(method, path, headers=bearer(of), content=content).status_code
        for of in SCOPES
    }
    assert statuses == {of: 200 if of == scope else 403 for of in SCOPES}
    assert guarded.request(method, path, content=content).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/predict/", "/livez/", "/v2/repository/models/x/unload", "/web"],
)
def test_other_path_without_a_key_is_a_401(guarded: httpx.Client, path: str) -> None:
    assert guarded.post(path).status_code == 401


def test_only_health_needs_no_scope_and_only_load_and_unload_need_administer(
    guarded: httpx.Client,
) -> None:
    paths = guarded.get("/openapi.json").json()["paths"]
    is_open = {path for path in paths if required_scope(path) is None}
    assert is_open == {"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"}
    administered = {path for path in paths if required_scope(path) == "administer"}
    assert {path.rpartition("/")[2] for path in administered} == {"load", "unload"}


def test_missing_or_invalid_key_is_a_401_with_www_authenticate(
    guarded: httpx.Client,
) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer fashion_wrong"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": f"Bearer {KEYS['predict'][1].digest.hex()}"},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        # A wrong key is rejected even if the other header has a valid one.
        {"Authorization": "Bearer wrong", "X-API-Key": KEYS["predict"][0]},
    ):
        response = guarded.get("/model/summary", headers=headers)
        assert response.status_code == 401, headers
        assert response.headers["WWW-Authenticate"] == "Bearer"
        error = response.json()["error"]
        assert error["code"] == "unauthenticated"
        assert error["request_id"] == response.headers["X-Request-ID"]


def test_key_is_accepted_in_either_header(guarded: httpx.Client) -> None:
    for headers in (
        {"authorization": f"bearer {KEYS['predict'][0]}"},
        {"X-API-Key": KEYS["predict"][0]},
        {"Authorization": "Basic dXNlcjpwYXNz", "X-API-Key": KEYS["predict"][0]},
    ):
        assert guarded.get("/model/summary", headers=headers).status_code == 200, headers


def test_rejections_have_the_error_format_of_the_protocol(guarded: httpx.Client) -> None:
    for path in ("/v1/models/fashion_mnist", "/v2/models/fashion_mnist"):
        assert "an API key is required" in guarded.get(path).json()["error"]
        refused = guarded.get(path, headers=bearer("observe"))
        assert refused.json()["error"] == (
            "the API key 'the-observe' does not have the scope 'predict'"
        )


def test_logs_and_metrics_contain_the_name_but_not_the_secret_of_a_key(
    guarded: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, access_logger.name):
        guarded.get("/model/summary", headers=bearer("predict"))
        guarded.get("/model/summary", headers=bearer("observe"))
        guarded.get("/model/summary", headers={"X-API-Key": "fashion_wrong"})
        wait_for(lambda: len(caplog.records) == 3)  # Written after the response is sent.
    lines = [record.getMessage().split('"')[0].split()[1] for record in caplog.records]
    assert lines == ["the-predict", "the-observe", "-"]
    assert "fashion_" not in caplog.text
    text = guarded.get("/metrics", headers=bearer("observe")).text
    samples = samples_of(text)
    assert samples['fashion_mnist_key_requests_total{key="the-predict",status="200"}'] >= 1
    assert samples['fashion_mnist_key_requests_total{key="the-observe",status="403"}'] >= 1
    assert samples['fashion_mnist_rejected_total{reason="unauthenticated"}'] >= 1
    assert samples['fashion_mnist_rejected_total{reason="forbidden"}'] >= 1
    assert "fashion_wrong" not in text


def test_openapi_document_marks_routes_that_need_a_key(
    guarded: httpx.Client, strict_client: httpx.Client
) -> None:
    document = guarded.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert "security" in document["paths"]["/predict"]["post"]
    assert "security" not in document["paths"]["/livez"]["get"]
    assert "securitySchemes" not in strict_client.get("/openapi.json").json()["components"]


def test_listed_origin_may_send_requests_and_read_errors(guarded: httpx.Client) -> None:
    preflight = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, x-request-timeout, "
        "traceparent, tracestate, content-encoding, inference-header-content-length",
    }
    permission = guarded.options("/predict", headers=preflight)
    assert permission.status_code == 200
    assert permission.headers["Access-Control-Allow-Origin"] == ORIGIN
    refused = guarded.post("/predict", headers={"Origin": ORIGIN})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Access-Control-Allow-Credentials" not in refused.headers
    readable = refused.headers["Access-Control-Expose-Headers"]
    assert {"X-Request-ID", "Inference-Header-Content-Length", "Warning"} <= {*readable.split(", ")}


def test_origins_are_rejected_unless_listed(
    guarded: httpx.Client, strict_client: httpx.Client
) -> None:
    for client in (guarded, strict_client):
        answer = client.get("/livez", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in answer.headers
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    assert (
        "Access-Control-Allow-Origin"
        not in strict_client.options("/predict", headers=preflight).headers
    )


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# clients\n{KEYS['predict'][1].line()}\n")
    with serve(Settings(artifacts=ARTIFACTS, engine="litert", api_keys_file=file)) as client:
        assert client.get("/model/summary").status_code == 401
        assert client.get("/model/summary", headers=bearer("predict")).status_code == 200


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("fashion_pasted", "line 1 of the API keys"),
        ("# none yet\n", "the list is empty"),
        (None, "the API keys cannot be read from"),
    ],
)
def test_unreadable_keys_prevent_startup(tmp_path: Path, content: str | None, reason: str) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    ended = run_service(f"--api-keys-file={file}")
    assert ended.returncode == 3
    assert reason in ended.stderr
    assert "fashion_pasted" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_request_without_an_id_gets_a_unique_one(strict_client: httpx.Client) -> None:
    ids = {strict_client.get("/livez").headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


def test_request_id_of_the_client_is_returned(strict_client: httpx.Client) -> None:
    response = strict_client.get("/nowhere", headers={"X-Request-ID": "order-7.b"})
    assert response.headers["X-Request-ID"] == "order-7.b"
    assert response.json()["error"]["request_id"] == "order-7.b"


@pytest.mark.parametrize("sent", ["", "has space", 'quo"te', "x" * 129])
def test_invalid_request_id_is_replaced(strict_client: httpx.Client, sent: str) -> None:
    response = strict_client.get("/livez", headers={"X-Request-ID": sent})
    assert response.headers["X-Request-ID"] != sent


def test_unknown_path_is_a_404(strict_client: httpx.Client) -> None:
    assert parse_error(strict_client.get("/nowhere"), 404) == (
        "not_found",
        "GET /nowhere: Not Found",
    )


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", "OPTIONS, POST, PUT"),
        ("DELETE", "/feature-maps", "OPTIONS, POST, PUT"),
        ("HEAD", "/v2/models/fashion_mnist/infer", "OPTIONS, POST"),
        ("POST", "/readyz", "GET, HEAD, OPTIONS"),
        ("POST", "/web/main.js", "GET, HEAD, OPTIONS"),
    ],
)
def test_wrong_method_is_a_405_that_lists_the_allowed_ones(
    strict_client: httpx.Client, method: str, path: str, allowed: str
) -> None:
    response = strict_client.request(method, path)
    assert response.status_code == 405
    assert method == "HEAD" or parse_error(response, 405)[0] == "method_not_allowed"
    assert response.headers["Allow"] == allowed
    answer = strict_client.options(path)
    assert (answer.status_code, answer.headers["Allow"]) == (204, allowed)


def test_unhandled_exception_is_a_500_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(Settings())
    internal = "a path on the disk"

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError(internal)

    async def send_request() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/bug", headers={"X-Request-ID": "mine"})

    response = asyncio.run(send_request())
    code, message = parse_error(response, 500)
    assert code == "internal_error"
    assert internal not in message
    assert "request mine failed: RuntimeError" in caplog.text


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (0, [0]),
        (PIECE_BYTES, [PIECE_BYTES]),
        (PIECE_BYTES + 1, [PIECE_BYTES, 1]),
        (2 * PIECE_BYTES, [PIECE_BYTES, PIECE_BYTES]),
    ],
)
def test_large_body_is_sent_in_pieces_and_counts_as_in_flight(size: int, pieces: list[int]) -> None:
    admission = Admission(max_images=1, max_bytes=10 * PIECE_BYTES)
    sent: list[tuple[int, bool, int]] = []

    async def send(message: Message) -> None:
        sent.append((len(message["body"]), message.get("more_body", False), admission.bytes))

    answer = _Answer(RequestRecord("test"), send, admission)
    asyncio.run(answer.send({"type": "http.response.body", "body": bytes(size)}))
    held = size if size > PIECE_BYTES else 0
    more = [True] * (len(pieces) - 1) + [False]
    assert sent == [(*piece, held) for piece in zip(pieces, more, strict=True)]
    assert admission.bytes == 0
