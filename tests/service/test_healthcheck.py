import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from service.healthcheck import main
from service.settings import Settings
from tests.service.conftest import ARTIFACTS, serve


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch, free_port: int) -> int:
    monkeypatch.setenv("FASHION_PORT", str(free_port))
    return free_port


class Ready(BaseHTTPRequestHandler):
    """Returns 200 for /readyz and 404 for any other path."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """The port of a TLS server with a self-signed certificate for another host name."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-subj", "/CN=example.org", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_ready_service_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(Settings(artifacts=ARTIFACTS)) as client:
        monkeypatch.setenv("FASHION_PORT", str(client.base_url.port))
        assert main() == 0


def test_ready_service_with_a_self_signed_certificate_is_healthy(
    monkeypatch: pytest.MonkeyPatch, tls_port: int
) -> None:
    monkeypatch.setenv("FASHION_PORT", str(tls_port))
    monkeypatch.setenv("FASHION_TLS_CERTIFICATE", "certificate.pem")
    assert main() == 0


def test_service_without_a_model_is_unhealthy_and_prints_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(Settings(artifacts=ARTIFACTS)) as client:
        client.post("/v2/repository/models/fashion_mnist/unload").raise_for_status()
        monkeypatch.setenv("FASHION_PORT", str(client.base_url.port))
        assert main() == 1
    assert capsys.readouterr().err == "not ready: status 503\n"


def test_refused_connection_is_unhealthy_and_printed(
    port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/readyz")
    assert main() == 1
    assert "refused" in capsys.readouterr().err
