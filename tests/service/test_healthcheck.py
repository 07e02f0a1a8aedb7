import httpx
import pytest

from service.healthcheck import main
from service.settings import Settings
from tests.service.conftest import ARTIFACTS, serve


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch, free_port: int) -> int:
    monkeypatch.setenv("FASHION_PORT", str(free_port))
    return free_port


def test_a_service_that_serves_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(Settings(artifacts=ARTIFACTS)) as client:
        monkeypatch.setenv("FASHION_PORT", str(client.base_url.port))
        assert main() == 0


def test_a_service_without_a_model_is_not_and_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(Settings(artifacts=ARTIFACTS)) as client:
        client.post("/v2/repository/models/fashion_mnist/unload").raise_for_status()
        monkeypatch.setenv("FASHION_PORT", str(client.base_url.port))
        assert main() == 1
    assert capsys.readouterr().err == "not ready: status 503\n"


def test_no_service_is_not(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/readyz")
    assert main() == 1
    assert "refused" in capsys.readouterr().err
