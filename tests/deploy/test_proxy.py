"""deploy/haproxy/haproxy.cfg in front of two replicas of the service, found through DNS."""

import base64
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.deploy.proxy import proxied
from tests.service.conftest import serve_process, wait_for, wait_until_ready

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")

REPLICAS = ["127.0.0.2", "127.0.0.3"]
INFER = "/v2/models/fashion_mnist/infer"
CLIENTS = 4


@pytest.fixture
def replica_port(free_port: int) -> int:
    return free_port


@pytest.fixture
def proxy(replica_port: int, tmp_path: Path) -> Iterator[httpx.Client]:
    with proxied(REPLICAS, replica_port, tmp_path) as url, httpx.Client(base_url=url) as client:
        client.timeout = httpx.Timeout(30)
        yield client


@dataclass
class Load:
    """The responses to clients that send requests without a pause."""

    answers: list[int | str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def send_until_stopped(self, base_url: httpx.URL, image: bytes) -> None:
        tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
        request = {"inputs": [{**tensor, "data": [base64.b64encode(image).decode()]}]}
        with httpx.Client(base_url=base_url, timeout=30) as client:
            while not self.stop.is_set():
                try:
                    self.answers.append(client.post(INFER, json=request).status_code)
                except httpx.TransportError as error:
                    self.answers.append(repr(error))


@contextmanager
def under_load(proxy: httpx.Client, replica_port: int, image: bytes) -> Iterator[Load]:
    """Send requests without a pause; the block starts once every replica has answered several."""
    wait_until_ready(proxy)
    load = Load()
    threads = [
        threading.Thread(target=load.send_until_stopped, args=(proxy.base_url, image))
        for _ in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: all(answered_by(host, replica_port) > 10 for host in REPLICAS))
        load.answers.clear()
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


def answered_by(host: str, port: int) -> int:
    """Return how many inferences a replica has answered."""
    stats = httpx.get(f"http://{host}:{port}/v2/models/fashion_mnist/stats").json()
    count: int = stats["model_stats"][0]["inference_stats"]["success"]["count"]
    return count


@contextmanager
def replica(host: str, port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    with serve_process("--host", host, "--log-level=error", *options, port=port) as process:
        with httpx.Client(base_url=f"http://{host}:{port}") as client:
            wait_until_ready(client)
        yield process


def test_stopping_and_restarting_a_replica_fails_no_request(
    proxy: httpx.Client, replica_port: int, boot_png: bytes
) -> None:
    with ExitStack() as running:
        processes = [running.enter_context(replica(host, replica_port)) for host in REPLICAS]
        with under_load(proxy, replica_port, boot_png) as load:
            processes[0].send_signal(signal.SIGTERM)
            processes[0].communicate(timeout=30)
            before = answered_by(REPLICAS[1], replica_port)
            wait_for(lambda: answered_by(REPLICAS[1], replica_port) > before + 50)
            running.enter_context(replica(REPLICAS[0], replica_port))
            wait_for(lambda: answered_by(REPLICAS[0], replica_port) > 10)
    assert set(load.answers) == {200}


def test_no_request_fails_while_a_replica_is_not_ready(
    proxy: httpx.Client, replica_port: int, boot_png: bytes
) -> None:
    first = f"http://{REPLICAS[0]}:{replica_port}"
    with ExitStack() as running:
        for host in REPLICAS:
            running.enter_context(replica(host, replica_port))
        with under_load(proxy, replica_port, boot_png) as load:
            httpx.post(f"{first}/v2/repository/models/fashion_mnist/unload").raise_for_status()
            assert httpx.get(f"{first}/readyz").status_code == 503
            before = len(load.answers)
            wait_for(lambda: len(load.answers) > before + 100)
            httpx.post(f"{first}/v2/repository/models/fashion_mnist/load").raise_for_status()
            wait_for(lambda: answered_by(REPLICAS[0], replica_port) > 10)
    assert set(load.answers) == {200}


def test_generated_secrets_work_for_api_keys_and_tls(
    replica_port: int, tmp_path: Path, boot_png: bytes
) -> None:
    secrets = tmp_path / "secrets"
    make = [str(ROOT / "deploy/compose/make-secrets.sh"), "localhost"]
    environment = {**os.environ, "SECRETS": str(secrets), "PYTHON": sys.executable}
    for expected in ("certificate for localhost", "proxy.pem is kept as it is"):
        made = subprocess.run(make, env=environment, check=True, capture_output=True, text=True)
        assert expected in made.stdout
    keys = {path.stem: path.read_text() for path in secrets.glob("*.key")}
    assert keys.keys() == {"client", "operator", "prometheus"}
    assert secrets.stat().st_mode & 0o777 == 0o700
    trusted = ssl.create_default_context(cafile=str(secrets / "certificate.pem"))
    with (
        replica(REPLICAS[0], replica_port, f"--api-keys-file={secrets / 'api_keys.txt'}"),
        proxied(REPLICAS[:1], replica_port, tmp_path, secrets / "proxy.pem") as url,
        httpx.Client(base_url=url, verify=trusted) as client,
    ):
        wait_until_ready(client)
        assert client.post("/predict", content=boot_png).status_code == 401
        for name, predicts, scrapes in (("client", 200, 403), ("prometheus", 403, 200)):
            key = {"Authorization": f"Bearer {keys[name]}"}
            assert client.post("/predict", content=boot_png, headers=key).status_code == predicts
            assert client.get("/metrics", headers=key).status_code == scrapes


def test_proxy_answers_503_without_a_replica(proxy: httpx.Client, replica_port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            response = proxy.get("/readyz")
            break
        except httpx.ConnectError:
            time.sleep(0.05)
    assert response.status_code == 503
