"""API keys and TLS over HTTP and gRPC, with a self-signed certificate."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from service.keys import make_key
from tests.service.clients.test_tritonclient_grpc import tensor
from tests.service.conftest import run_service, serve_process, unused_port, wait_until_ready

MODEL = "fashion_mnist"
SECRET, KEY = make_key("client", ["predict"])
OTHER_SECRET, OTHER_KEY = make_key("operator", ["administer"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture(scope="module")
def ports(certificate: tuple[Path, Path]) -> Iterator[tuple[int, int]]:
    port, grpc_port = unused_port(), unused_port()
    arguments = (
        f"--grpc-port={grpc_port}",
        f"--api-keys={KEY.line()},{OTHER_KEY.line()}",
        f"--tls-certificate={certificate[0]}",
        f"--tls-key={certificate[1]}",
    )
    with (
        serve_process(*arguments, port=port),
        httpx.Client(
            base_url=f"https://localhost:{port}",
            verify=ssl.create_default_context(cafile=certificate[0]),
        ) as client,
    ):
        wait_until_ready(client)
        yield port, grpc_port


@pytest.fixture(scope="module")
def server(ports: tuple[int, int], certificate: tuple[Path, Path]) -> Iterator[Any]:
    address = f"localhost:{ports[1]}"
    with triton.InferenceServerClient(
        address, ssl=True, root_certificates=str(certificate[0])
    ) as server:
        yield server


def test_http_is_served_only_over_tls(
    ports: tuple[int, int], certificate: tuple[Path, Path], boot_png: bytes
) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    with httpx.Client(verify=ssl.create_default_context(cafile=certificate[0])) as client:
        answer = client.post(
            f"https://localhost:{ports[0]}/predict", content=boot_png, headers=headers
        )
    assert answer.json()["predictions"][0]["label"] == "Ankle boot"
    with httpx.Client() as client, pytest.raises(httpx.TransportError):
        client.get(f"http://localhost:{ports[0]}/livez")


def test_several_workers_serve_only_over_tls(
    certificate: tuple[Path, Path], boot_png: bytes
) -> None:
    port = unused_port()
    arguments = (f"--tls-certificate={certificate[0]}", f"--tls-key={certificate[1]}")
    with serve_process(*arguments, "--workers=2", port=port) as process:
        with httpx.Client(
            base_url=f"https://localhost:{port}",
            verify=ssl.create_default_context(cafile=certificate[0]),
        ) as client:
            wait_until_ready(client)
            with httpx.Client() as other, pytest.raises(httpx.TransportError):
                other.get(f"http://localhost:{port}/livez")
            answer = client.post("/predict", content=boot_png)
            assert answer.json()["predictions"][0]["label"] == "Ankle boot"
        process.terminate()
        _, log = process.communicate(timeout=30)
    assert "Traceback" not in log


def test_grpc_requires_a_key_with_the_scope_to_predict(server: Any) -> None:
    inputs = [tensor("images", np.zeros((1, 784), np.uint8), "UINT8")]
    assert server.is_server_live()
    assert server.is_server_ready()
    for headers, status in (
        ({}, "UNAUTHENTICATED"),
        ({"authorization": "Bearer wrong"}, "UNAUTHENTICATED"),
        ({"x-api-key": OTHER_SECRET}, "PERMISSION_DENIED"),
    ):
        with pytest.raises(InferenceServerException) as caught:
            server.infer(MODEL, inputs, headers=headers)
        assert caught.value.status() == f"StatusCode.{status}"
    answer = server.infer(MODEL, inputs, headers={"authorization": f"Bearer {SECRET}"})
    assert answer.as_numpy("probabilities").shape == (1, 10)


def test_loading_and_unloading_require_the_scope_to_administer(server: Any) -> None:
    operator, client = {"x-api-key": OTHER_SECRET}, {"x-api-key": SECRET}
    for method in (server.load_model, server.unload_model):
        with pytest.raises(InferenceServerException) as caught:
            method(MODEL, headers=client)
        assert caught.value.status() == "StatusCode.PERMISSION_DENIED"
    server.unload_model(MODEL, headers=operator)
    server.load_model(MODEL, headers=operator)
    assert server.is_model_ready(MODEL, headers=client)


def test_invalid_certificate_files_exit_with_status_2_without_a_traceback(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    ended = run_service(f"--tls-certificate={wrong}", f"--tls-key={wrong}")
    assert ended.returncode == 2
    assert "tls_certificate and tls_key cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("keys", "is_warned"), [("", True), (KEY.line(), False)], ids=["without keys", "with a key"]
)
def test_public_host_without_keys_is_logged_as_a_warning(keys: str, is_warned: bool) -> None:
    arguments = ("--host=0.0.0.0", *([f"--api-keys={keys}"] if keys else []))
    port = unused_port()
    with serve_process(*arguments, port=port) as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            wait_until_ready(client)
        process.terminate()
        _, log = process.communicate(timeout=30)
    assert ("no API keys are set" in log) == is_warned
