"""Whatever goes wrong, the answer has one shape and gives nothing internal away."""

import asyncio

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.service.http.test_predict import error_of


def test_an_unknown_path_is_a_404(strict_client: httpx.Client) -> None:
    assert error_of(strict_client.get("/nowhere"), 404) == (
        "not_found",
        "GET /nowhere: Not Found",
    )


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", "POST, PUT"),
        ("DELETE", "/feature-maps", "POST, PUT"),
        ("DELETE", "/preparation", "POST, PUT"),
        ("POST", "/readyz", "GET"),
    ],
)
def test_a_wrong_verb_is_a_405_that_lists_the_right_ones(
    strict_client: httpx.Client, method: str, path: str, allowed: str
) -> None:
    response = strict_client.request(method, path)
    assert error_of(response, 405)[0] == "method_not_allowed"
    assert response.headers["Allow"] == allowed


def test_a_bug_is_a_500_without_its_details(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(Settings())
    internal = "a path on the disk"

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError(internal)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/bug", headers={"X-Request-ID": "mine"})

    response = asyncio.run(ask())
    code, message = error_of(response, 500)
    assert code == "internal_error"
    assert internal not in message
    assert "request mine failed: RuntimeError" in caplog.text
