"""deploy/ray on a real Ray cluster of two nodes on this machine: `make test-ray`."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.util.state import list_actors

from deploy.ray.application import FashionMnist
from tests.deploy.proxy import proxied

ROOT = Path(__file__).parent.parent.parent
BOOT = (ROOT / "tests/data/png/0000-ankle-boot.png").read_bytes()
CLIENTS = 4


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of the application, which has a replica on each of two nodes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    artifacts = ROOT / "artifacts/fashion_mnist"
    environment = {"PYTHONPATH": str(ROOT), "FASHION_ARTIFACTS": str(artifacts)}
    ray.init(address=cluster.address, runtime_env={"env_vars": environment})
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    deployment = FashionMnist.options(  # type: ignore[attr-defined]  # Ray's decorator adds it
        num_replicas=2,
        autoscaling_config=None,
        max_replicas_per_node=1,
        ray_actor_options={"num_cpus": 0.5},
    )
    serve.run(deployment.bind())
    yield port
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()


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
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.2)


def test_a_replica_runs_on_each_node(client: httpx.Client) -> None:
    assert len(set(replicas().values())) == 2


def test_a_picture_is_classified(client: httpx.Client) -> None:
    answer = client.post("/predict", content=BOOT).json()
    assert answer["predictions"][0]["label"] == "Ankle boot"


@pytest.mark.parametrize(
    "route", ["/livez", "/readyz", "/model/summary", "/docs", "/v2/health/ready", "/v2/models"]
)
def test_the_routes_are_those_of_the_service(client: httpx.Client, route: str) -> None:
    assert client.get(route).status_code == 200


def test_what_is_wrong_is_answered_as_by_the_service(client: httpx.Client) -> None:
    response = client.post("/predict", content=b"no picture", headers={"X-Request-ID": "ray"})
    assert response.status_code == 400
    assert response.json()["error"]["request_id"] == "ray"


def test_a_replica_killed_under_load_loses_nothing_behind_the_proxy_and_is_replaced(
    port: int, tmp_path: Path
) -> None:
    with proxied(["127.0.0.1"], port, tmp_path) as url:
        wait_for(lambda: is_ready(url))
        answers: list[int | str] = []
        over = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=url, timeout=30) as client:
                while not over.is_set():
                    try:
                        answers.append(client.post("/predict", content=BOOT).status_code)
                    except httpx.TransportError as error:
                        answers.append(repr(error))

        threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: len(answers) > 100)
            killed = next(iter(replicas()))
            os.kill(killed, signal.SIGKILL)
            before = len(answers)
            wait_for(lambda: len(replicas()) == 2 and killed not in replicas())
            wait_for(lambda: len(answers) > before + 100)
        finally:
            over.set()
            for thread in threads:
                thread.join()
    assert set(answers) == {200}
