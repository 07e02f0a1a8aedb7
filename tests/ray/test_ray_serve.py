"""deploy/ray on a real Ray cluster of two nodes on this machine: `make test-ray`."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.state import list_actors

from tests.deploy.proxy import proxied

ROOT = Path(__file__).parent.parent.parent
CONFIGURATION = ROOT / "deploy/ray/serve.yaml"
BOOT = (ROOT / "tests/data/png/0000-ankle-boot.png").read_bytes()
CLIENTS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of one processor each, on this machine."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def port(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of `serve run` with the shipped configuration, once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    configuration = CONFIGURATION.read_text()
    for name, here in {
        "host: 0.0.0.0": "host: 127.0.0.1",
        "port: 8000": f"port: {port}",
        "EveryNode": "HeadOnly",  # Both nodes are on one machine and cannot share the port.
    }.items():
        assert configuration.count(name) == 1
        configuration = configuration.replace(name, here)
    folder = tmp_path_factory.mktemp("serve")
    (folder / "serve.yaml").write_text(configuration)
    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    command = [Path(sys.executable).with_name("serve"), "run", "--address", cluster.address]
    command += ["--runtime-env-json", json.dumps(environment), folder / "serve.yaml"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        try:
            wait_for(lambda: process.poll() is None and is_ready(f"http://127.0.0.1:{port}"))
            wait_for(lambda: len(replicas()) == 2)
            yield port
        finally:
            process.terminate()  # Not by SIGINT, which it ignores if the test process does.


@pytest.fixture(scope="module")
def client(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client


def replicas() -> dict[int, str]:
    """Return the node of each living replica, by its process id."""
    actors = list_actors(filters=[("state", "=", "ALIVE")])
    return {actor.pid: actor.node_id for actor in actors if "ServeReplica" in actor.class_name}


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.ConnectError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.2)


def test_each_node_runs_a_replica(client: httpx.Client) -> None:
    assert len(set(replicas().values())) == 2


def test_image_is_classified(client: httpx.Client) -> None:
    answer = client.post("/predict", content=BOOT).json()
    assert answer["predictions"][0]["label"] == "Ankle boot"


@pytest.mark.parametrize(
    "route", ["/livez", "/readyz", "/model/summary", "/docs", "/v2/health/ready", "/v2/models"]
)
def test_routes_of_the_service_are_available(client: httpx.Client, route: str) -> None:
    assert client.get(route).status_code == 200


def test_invalid_image_returns_the_error_of_the_service(client: httpx.Client) -> None:
    response = client.post("/predict", content=b"no image", headers={"X-Request-ID": "ray"})
    assert response.status_code == 400
    assert response.json()["error"]["request_id"] == "ray"


@contextmanager
def under_load(url: str, clients: int = CLIENTS) -> Iterator[list[int | str]]:
    """Post images continuously; the list of results is complete after the block."""
    answers: list[int | str] = []
    over = threading.Event()

    def send_requests() -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not over.is_set():
                try:
                    answers.append(client.post("/predict", content=BOOT).status_code)
                except httpx.TransportError as error:
                    answers.append(repr(error))

    threads = [threading.Thread(target=send_requests) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(answers) > 100)
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_replica_killed_under_load_is_replaced_without_failed_requests_behind_the_proxy(
    port: int, tmp_path: Path
) -> None:
    with proxied(["127.0.0.1"], port, tmp_path) as url:
        wait_for(lambda: is_ready(url))
        with under_load(url) as answers:
            killed = next(iter(replicas()))
            os.kill(killed, signal.SIGKILL)
            before = len(answers)
            wait_for(lambda: len(replicas().keys() - {killed}) == 2)
            wait_for(lambda: len(answers) > before + 100)
    assert set(answers) == {200}


def test_node_added_under_load_receives_a_replica(cluster: Cluster, port: int) -> None:
    assert len(replicas()) == 2
    cluster.add_node(num_cpus=1)
    with under_load(f"http://127.0.0.1:{port}", clients=24) as answers:
        wait_for(lambda: len(set(replicas().values())) == 3)
    assert set(answers) == {200}
