"""What one worker is told, all of them do."""

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
    """Two workers of one service, as far as they know."""
    meeting = tmp_path / "workers"
    meeting.mkdir()
    all_metrics = [Metrics(meeting) for _ in range(2)]
    pair = []
    for metrics in all_metrics:
        repository = Repository(Directory(copied_artifacts), engine="litert", metrics=metrics)
        repository.open()
        pair.append(Worker(repository, Workers(repository, meeting, 30)))
    yield pair
    for metrics in all_metrics:
        metrics.close()


def test_a_command_is_done_when_every_worker_has_followed(
    pair: list[Worker], copied_artifacts: Path
) -> None:
    told, other = pair

    def follow() -> None:
        wait_for(lambda: not told.serving)
        assert other.serving == [1]
        other.workers.follow()

    follower = threading.Thread(target=follow)
    follower.start()
    told.workers.send("unload", 30)
    assert (told.serving, other.serving) == ([], [])
    follower.join()

    publish(copied_artifacts, 2)
    with pytest.raises(DeadlineExceeded, match="not every worker has finished"):
        told.workers.send("load", 0.1)
    assert (told.serving, other.serving) == ([2], [])
    other.workers.follow()
    told.workers.send("load", 0)
    assert other.serving == [2]


def test_a_command_is_followed_once(pair: list[Worker]) -> None:
    told, other = pair
    with pytest.raises(DeadlineExceeded):
        told.workers.send("unload", 0)
    other.workers.follow()
    assert other.serving == []
    other.repository.open()
    other.workers.follow()
    assert other.serving == [1]


def test_a_command_to_load_a_removed_version_is_refused_and_changes_no_other_worker(
    pair: list[Worker], copied_artifacts: Path
) -> None:
    told, other = pair
    told.repository.unload()
    withdraw(copied_artifacts, 1)
    with pytest.raises(ArtifactError, match="no version directory"):
        told.workers.send("load", 0)
    other.workers.follow()
    assert other.serving == [1]


def test_all_workers_load_unload_and_count_together(copied_artifacts: Path, free_port: int) -> None:
    arguments = (f"--artifacts={copied_artifacts}", "--workers=2", "--poll-seconds=0")
    limits = httpx.Limits(max_keepalive_connections=0)  # Each request may meet another worker.
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
            wait_for(lambda: counted(client) == (requests, 3 * requests))

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


def counted(client: httpx.Client) -> tuple[int, int]:
    """Return requests and images, and hold what is counted by batch against their sum."""
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
