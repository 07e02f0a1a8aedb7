"""Versions come and go under load, and no request notices but by the number in its answer."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from service.settings import EngineChoice, Settings
from tests.service.api.test_predict import answer_of, error_of
from tests.service.conftest import (
    ARTIFACTS,
    publish,
    serve,
    serve_process,
    wait_for,
    wait_until_ready,
    withdraw,
)

POLL_SECONDS = 0.1


class Load:
    """A client that never stops asking, by several routes, and keeps what it is told."""

    def __init__(self, address: str, picture: bytes) -> None:
        self._address = address
        self._picture = picture
        self._stop = threading.Event()
        self.failures: list[str] = []
        self.versions: list[int] = []

    def run(self) -> None:
        with httpx.Client(base_url=self._address, timeout=60) as client:
            while not self._stop.is_set():
                self._ask(client)

    def _ask(self, client: httpx.Client) -> None:
        pixels = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}
        for response in (
            client.post("/predict", content=self._picture),
            client.post("/feature-maps?layer=conv2d_1&channels=0", content=self._picture),
            client.post("/v2/models/fashion_mnist/infer", json={"inputs": [pixels]}),
        ):
            if response.status_code != 200:
                self.failures.append(f"{response.status_code} {response.text}")
            elif "predictions" in response.json():
                self.versions.append(response.json()["model"]["version"])

    @contextmanager
    def applied(self, clients: int = 2) -> Iterator[None]:
        threads = [threading.Thread(target=self.run) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()


def version_of(client: httpx.Client) -> int:
    return int(client.get("/readyz").json()["model"]["version"])


def serves(client: httpx.Client, version: int) -> bool:
    return version_of(client) == version


def test_not_one_request_fails_while_versions_come_and_go(
    copied_artifacts: Path, engine_choice: EngineChoice, boot_png: bytes
) -> None:
    settings = Settings(artifacts=copied_artifacts, engine=engine_choice, poll_seconds=POLL_SECONDS)
    with serve(settings) as client:
        load = Load(str(client.base_url), boot_png)
        with load.applied():
            for version in (2, 3, 10):
                publish(copied_artifacts, version)
                wait_for(partial(serves, client, version))
            publish(copied_artifacts, 11, good=False)
            status = "/v1/models/fashion_mnist/versions/11"
            wait_for(lambda: client.get(status).status_code == 200)
            assert version_of(client) == 10
            for version in (11, 10, 2):
                withdraw(copied_artifacts, version)
            wait_for(lambda: version_of(client) == 3)
            time.sleep(2 * POLL_SECONDS)
    assert load.failures == []
    assert set(load.versions) >= {10, 3}
    assert set(load.versions) <= {1, 2, 3, 10}


def test_every_worker_follows(copied_artifacts: Path, free_port: int) -> None:
    arguments = (f"--artifacts={copied_artifacts}", "--workers=2", f"--poll-seconds={POLL_SECONDS}")
    with (
        serve_process(*arguments, port=free_port),
        httpx.Client(base_url=f"http://127.0.0.1:{free_port}", timeout=30) as client,
    ):
        wait_until_ready(client)
        publish(copied_artifacts, 2)

        def asked_anew() -> set[int]:
            # A connection stays with the worker that took it, so each question opens another.
            headers = {"Connection": "close"}
            answers = [client.get("/readyz", headers=headers) for _ in range(20)]
            return {
                answer.json()["model"]["version"] if answer.status_code == 200 else 0
                for answer in answers
            }

        wait_for(lambda: asked_anew() == {2})
        response = client.post("/v2/repository/models/fashion_mnist/unload")
        assert response.status_code == 400
        assert "need one worker, there are 2" in response.json()["error"]


@pytest.fixture(scope="module")
def both_versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of versions 1 and 2, with labels, one of them for a version that is not there."""
    root = tmp_path_factory.mktemp("artifacts") / "fashion_mnist"
    shutil.copytree(ARTIFACTS, root)
    publish(root, 2)
    settings = Settings(
        artifacts=root,
        engine="litert",
        version_policy="all",
        version_labels={"stable": 1, "canary": 2, "gone": 3},
        poll_seconds=0,
    )
    with serve(settings) as client:
        yield client


@pytest.mark.parametrize(
    ("query", "version"),
    [({}, 2), ({"version": 1}, 1), ({"version_label": "stable"}, 1), ({"version": 2}, 2)],
)
def test_a_query_chooses_the_version(
    both_versions: httpx.Client, boot_png: bytes, query: dict[str, str], version: int
) -> None:
    answer = answer_of(both_versions.post("/predict", params=query, content=boot_png))
    assert answer.model.version == version
    maps = both_versions.post("/feature-maps", params=query, content=boot_png)
    assert maps.json()["model"]["version"] == version
    assert both_versions.get("/model/summary", params=query).json()["version"] == version


@pytest.mark.parametrize("path", ["/predict", "/feature-maps", "/model/summary"])
@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ("version=7", 404, "version 7 is not served; there is 1, 2"),
        ("version_label=beta", 404, "no version is labelled 'beta'"),
        ("version_label=gone", 404, "version 3 is not served"),
        ("version=1&version_label=stable", 400, "give one of the two"),
        ("version=one", 400, "version: "),
    ],
)
def test_a_version_that_is_not_there_is_the_error_body(
    both_versions: httpx.Client, path: str, query: str, status: int, reason: str
) -> None:
    method = "GET" if path == "/model/summary" else "POST"
    response = both_versions.request(method, f"{path}?{query}", content=b"x")
    code, message = error_of(response, status)
    assert code == {404: "unknown_version", 400: "invalid_parameter"}[status]
    assert reason in message


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/v2/models/fashion_mnist", "2"),
        ("/v2/models/fashion_mnist/versions/1", "1"),
    ],
)
def test_v2_reaches_versions_by_path(both_versions: httpx.Client, path: str, version: str) -> None:
    assert both_versions.get(path).json()["versions"] == ["1", "2"]
    assert both_versions.get(f"{path}/ready").status_code == 200
    pixels = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}
    response = both_versions.post(f"{path}/infer", json={"inputs": [pixels]})
    assert response.json()["model_version"] == version


@pytest.mark.parametrize(
    ("path", "version"), [("", "2"), ("/versions/1", "1"), ("/labels/stable", "1")]
)
def test_v1_reaches_versions_by_path_and_label(
    both_versions: httpx.Client, path: str, version: str
) -> None:
    model = f"/v1/models/fashion_mnist{path}"
    assert both_versions.get(f"{model}/metadata").json()["model_spec"]["version"] == version
    [*_, last] = both_versions.get(model).json()["model_version_status"]
    assert last == {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    assert (
        both_versions.post(f"{model}:predict", json={"instances": [[0] * 784]}).status_code == 200
    )


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ("GET", "/v2/models/fashion_mnist/versions/7", "version 7 is not served"),
        ("POST", "/v2/models/fashion_mnist/versions/x/infer", "versions are numbers"),
        ("GET", "/v1/models/fashion_mnist/versions/7", "Could not find version 7 of model"),
        ("GET", "/v1/models/fashion_mnist/labels/beta", "no version is labelled 'beta'"),
        ("POST", "/v1/models/fashion_mnist/labels/gone:predict", "version 3 is not served"),
        (
            "POST",
            "/v1/models/fashion_mnist/versions/7:predict",
            "Servable not found for request: Specific(fashion_mnist, 7)",
        ),
        ("GET", "/v1/models/fashion_mnist/versions/x/metadata", "versions are numbers"),
    ],
)
def test_a_version_that_is_not_there_is_a_404_of_the_protocol(
    both_versions: httpx.Client, method: str, path: str, reason: str
) -> None:
    response = both_versions.request(method, path)
    assert response.status_code == 404
    assert response.json().keys() == {"error"}
    assert reason in response.json()["error"]
