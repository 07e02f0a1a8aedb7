"""Versions are selected by requests, and change under load without failing any."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from service.settings import EngineChoice, Settings
from tests.service.conftest import (
    copy_default,
    publish,
    samples_of,
    serve,
    serve_process,
    unused_port,
    wait_for,
    wait_until_ready,
    withdraw,
)
from tests.service.http.test_predict import parse_error, parse_predictions

POLL_SECONDS = 0.1


class Load:
    """A client that sends requests to several routes in a loop and records the responses.

    Each request has its own connection, so that every worker receives some.
    """

    def __init__(self, address: str, image: bytes, grpc_address: str = "") -> None:
        self._address = address
        self._image = image
        self._grpc_address = grpc_address
        self._stop = threading.Event()
        self.failures: list[str] = []
        self.versions: list[int] = []
        self.workers: set[int] = set()

    def run(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=self._address, timeout=60, limits=limits) as client:
            while not self._stop.is_set():
                self._send_http_requests(client)
                if self._grpc_address:
                    self._send_grpc_request()

    def _send_http_requests(self, client: httpx.Client) -> None:
        pixels = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}
        for response in (
            client.get("/readyz"),
            client.post("/predict", content=self._image),
            client.post("/feature-maps?layer=conv2d_1&channels=0", content=self._image),
            client.post("/v1/models/fashion_mnist:predict", json={"instances": [[0] * 784]}),
            client.post("/v2/models/fashion_mnist/infer", json={"inputs": [pixels]}),
        ):
            answer = response.json()
            if response.status_code != 200:
                self.failures.append(f"{response.status_code} {response.text}")
            elif "model_version" in answer:
                self.versions.append(int(answer["model_version"]))
            elif "model" in answer:
                self.versions.append(answer["model"]["version"])
                self.workers |= {answer["worker"]} if "worker" in answer else set()

    def _send_grpc_request(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        given = triton.InferInput("images", [1, 784], "UINT8")
        given.set_data_from_numpy(np.zeros((1, 784), np.uint8))
        with triton.InferenceServerClient(self._grpc_address, channel_args=options) as server:
            try:
                answer = server.infer("fashion_mnist", [given])
            except InferenceServerException as error:
                self.failures.append(str(error))
            else:
                self.versions.append(int(answer.get_response().model_version))

    @contextmanager
    def running(self, clients: int = 2) -> Iterator[None]:
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


def test_no_request_fails_while_versions_are_published_and_withdrawn(
    copied_artifacts: Path, engine_choice: EngineChoice, boot_png: bytes
) -> None:
    settings = Settings(artifacts=copied_artifacts, engine=engine_choice, poll_seconds=POLL_SECONDS)
    with serve(settings) as client:
        load = Load(str(client.base_url), boot_png)
        with load.running():
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


def test_all_workers_switch_versions_without_failing_a_request(
    copied_artifacts: Path, free_port: int, boot_png: bytes
) -> None:
    grpc_port = unused_port()
    arguments = (
        f"--artifacts={copied_artifacts}",
        "--engine=litert",
        f"--poll-seconds={POLL_SECONDS}",
        f"--grpc-port={grpc_port}",
        "--workers=2",
    )
    with (
        serve_process(*arguments, port=free_port),
        httpx.Client(base_url=f"http://127.0.0.1:{free_port}", timeout=30) as client,
    ):
        wait_until_ready(client)
        wait_for(lambda: count_workers_serving(client, 1) == 2, seconds=60)
        load = Load(str(client.base_url), boot_png, f"127.0.0.1:{grpc_port}")
        with load.running():
            wait_for(lambda: 1 in load.versions)
            for version in (2, 3):
                publish(copied_artifacts, version)
                wait_for(partial(all_workers_serve, client, version), seconds=60)
            publish(copied_artifacts, 4, good=False)
            refused = "fashion_mnist_versions_refused_total"
            wait_for(lambda: samples_of(client.get("/metrics").text)[refused] == 2)
            assert all_workers_serve(client, 3)
            withdraw(copied_artifacts, 3)
            wait_for(partial(all_workers_serve, client, 2), seconds=60)
    assert load.failures == []
    assert set(load.versions) == {1, 2, 3}
    assert len(load.workers) == 2


def count_workers_serving(client: httpx.Client, version: int) -> float:
    samples = samples_of(client.get("/metrics").text)
    return samples.get(f'fashion_mnist_model_version{{version="{version}"}}', 0)


def all_workers_serve(client: httpx.Client, version: int) -> bool:
    others = {1, 2, 3} - {version}
    return count_workers_serving(client, version) == 2 and not any(
        count_workers_serving(client, other) for other in others
    )


@pytest.fixture(scope="module")
def both_versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server of versions 1 and 2, and labels, one of a missing version."""
    artifacts = tmp_path_factory.mktemp("both") / "fashion_mnist"
    copy_default(artifacts, 1)
    publish(artifacts, 2)
    settings = Settings(
        artifacts=artifacts,
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
def test_query_parameters_select_the_version(
    both_versions: httpx.Client, boot_png: bytes, query: dict[str, str], version: int
) -> None:
    answer = parse_predictions(both_versions.post("/predict", params=query, content=boot_png))
    assert answer.model.version == version
    maps = both_versions.post("/feature-maps", params=query, content=boot_png)
    assert maps.json()["model"]["version"] == version
    assert both_versions.get("/model/summary", params=query).json()["version"] == version


@pytest.mark.parametrize("path", ["/predict", "/feature-maps", "/model/summary"])
@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ("version=7", 404, "version 7 is not served; served: 1, 2"),
        ("version_label=beta", 404, "no version is labelled 'beta'"),
        ("version_label=gone", 404, "version 3 is not served"),
        ("version=1&version_label=stable", 400, "give only one of them"),
        ("version=one", 400, "version: "),
    ],
)
def test_unknown_or_invalid_version_returns_an_error(
    both_versions: httpx.Client, path: str, query: str, status: int, reason: str
) -> None:
    method = "GET" if path == "/model/summary" else "POST"
    response = both_versions.request(method, f"{path}?{query}", content=b"x")
    code, message = parse_error(response, status)
    assert code == {404: "unknown_version", 400: "invalid_parameter"}[status]
    assert reason in message


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/v2/models/fashion_mnist", "2"),
        ("/v2/models/fashion_mnist/versions/1", "1"),
    ],
)
def test_v2_selects_the_version_by_path(
    both_versions: httpx.Client, path: str, version: str
) -> None:
    assert both_versions.get(path).json()["versions"] == ["1", "2"]
    assert both_versions.get(f"{path}/ready").status_code == 200
    pixels = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}
    response = both_versions.post(f"{path}/infer", json={"inputs": [pixels]})
    assert response.json()["model_version"] == version


@pytest.mark.parametrize(
    ("path", "version"), [("", "2"), ("/versions/1", "1"), ("/labels/stable", "1")]
)
def test_v1_selects_the_version_by_path_and_label(
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
        ("POST", "/v2/models/fashion_mnist/versions/x/infer", "is not a number"),
        ("GET", "/v1/models/fashion_mnist/versions/7", "Could not find version 7 of model"),
        ("GET", "/v1/models/fashion_mnist/labels/beta", "no version is labelled 'beta'"),
        ("POST", "/v1/models/fashion_mnist/labels/gone:predict", "version 3 is not served"),
        (
            "POST",
            "/v1/models/fashion_mnist/versions/7:predict",
            "Servable not found for request: Specific(fashion_mnist, 7)",
        ),
        ("GET", "/v1/models/fashion_mnist/versions/x/metadata", "is not a number"),
    ],
)
def test_unknown_version_is_a_404_with_the_error_of_the_protocol(
    both_versions: httpx.Client, method: str, path: str, reason: str
) -> None:
    response = both_versions.request(method, path)
    assert response.status_code == 404
    assert response.json().keys() == {"error"}
    assert reason in response.json()["error"]
