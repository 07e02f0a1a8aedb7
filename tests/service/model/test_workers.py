"""A load or unload command to one worker applies to all workers."""

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.errors import ArtifactError, DeadlineExceeded
from service.model.repository import Repository
from service.model.store import Directory
from service.model.workers import Workers
from service.telemetry.metrics import Metrics
from tests.service.conftest import (
    publish,
    samples_of,
    serve_process,
    wait_for,
    wait_until_ready,
    withdraw,
    workers_of,
)

MODEL = "/v2/repository/models/fashion_mnist"
PIXELS = {"name": "images", "shape": [3, 784], "datatype": "UINT8", "data": [0] * 3 * 784}


@dataclass
class Worker:
    repository: Repository
    workers: Workers

    @property
    def serving(self) -> list[int]:
        return list(self.repository.serving)


@pytest.fixture
def pair(copied_artifacts: Path, tmp_path: Path) -> Iterator[list[Worker]]:
    """Two workers of one service, both in this process."""
    shared = tmp_path / "workers"
    shared.mkdir()
    all_metrics = [Metrics(shared) for _ in range(2)]
    pair = []
    for metrics in all_metrics:
        repository = Repository(Directory(copied_artifacts), engine="litert", metrics=metrics)
        repository.open()
        pair.append(Worker(repository, Workers(repository, shared, 30)))
    yield pair
    for metrics in all_metrics:
        metrics.close()


def test_command_is_complete_once_every_worker_has_followed_it(
    pair: list[Worker], copied_artifacts: Path
) -> None:
    sender, other = pair

    def follow() -> None:
        wait_for(lambda: not sender.serving)
        assert other.serving == [1]
        other.workers.follow()

    follower = threading.Thread(target=follow)
    follower.start()
    sender.workers.send("unload", 30)
    assert (sender.serving, other.serving) == ([], [])
    follower.join()

    publish(copied_artifacts, 2)
    with pytest.raises(DeadlineExceeded, match="not every worker has finished"):
        sender.workers.send("load", 0.1)
    assert (sender.serving, other.serving) == ([2], [])
    other.workers.follow()
    sender.workers.send("load", 0)
    assert other.serving == [2]


def test_worker_follows_a_command_once(pair: list[Worker]) -> None:
    sender, other = pair
    with pytest.raises(DeadlineExceeded):
        sender.workers.send("unload", 0)
    other.workers.follow()
    assert other.serving == []
    other.repository.open()
    other.workers.follow()
    assert other.serving == [1]


def test_loading_a_removed_version_fails_and_changes_no_other_worker(
    pair: list[Worker], copied_artifacts: Path
) -> None:
    sender, other = pair
    sender.repository.unload()
    withdraw(copied_artifacts, 1)
    with pytest.raises(ArtifactError, match="no version directory"):
        sender.workers.send("load", 0)
    other.workers.follow()
    assert other.serving == [1]


def test_load_unload_and_statistics_cover_all_workers(
    copied_artifacts: Path, free_port: int
) -> None:
    arguments = (f"--artifacts={copied_artifacts}", "--workers=2", "--poll-seconds=0")
    limits = httpx.Limits(max_keepalive_connections=0)  # Each request may reach another worker.
    with (
        serve_process(*arguments, "--log-level=warning", port=free_port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{free_port}", timeout=60, limits=limits) as client,
    ):
        wait_until_ready(client)
        wait_for(lambda: workers_ready(client) == 2)
        by_worker = np.zeros(2, int)
        for _ in range(500):
            answer = client.post("/v2/models/fashion_mnist/infer", json={"inputs": [PIXELS]})
            assert answer.status_code == 200
            by_worker[client.get("/readyz").json()["worker"]] += 1
            if by_worker.all():
                break
        requests = int(by_worker.sum())
        for _ in range(10):
            wait_for(lambda: inference_counts(client) == (requests, 3 * requests))

        assert client.post(f"{MODEL}/unload").json() == {"name": "fashion_mnist", "unload": True}
        assert {client.get("/readyz").status_code for _ in range(20)} == {503}
        killed, _ = workers_of(process)
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: killed not in workers_of(process) and len(workers_of(process)) == 2)
        wait_for(lambda: workers_alive(client) == 2)
        assert {client.get("/readyz").status_code for _ in range(20)} == {503}

        publish(copied_artifacts, 2)
        assert client.post(f"{MODEL}/load").json() == {"name": "fashion_mnist", "load": True}
        served = [client.get("/readyz").json()["model"]["version"] for _ in range(20)]
        assert served == [2] * 20
        assert workers_ready(client) == 2


def inference_counts(client: httpx.Client) -> tuple[int, int]:
    """Return the numbers of requests and images; check the batch statistics against the totals."""
    [stats] = client.get("/v2/models/fashion_mnist/stats").json()["model_stats"]
    [batch] = stats["batch_stats"]
    assert batch["batch_size"] == 3
    for part in ("compute_input", "compute_infer", "compute_output"):
        assert batch[part] == stats["inference_stats"][part]
    return stats["inference_stats"]["success"]["count"], stats["inference_count"]


def workers_ready(client: httpx.Client) -> float:
    return samples_of(client.get("/metrics").text)["fashion_mnist_workers_ready"]


def workers_alive(client: httpx.Client) -> float:
    return samples_of(client.get("/metrics").text)["fashion_mnist_workers"]
