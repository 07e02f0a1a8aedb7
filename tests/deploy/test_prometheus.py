"""The Prometheus configuration, with promtool and a real Prometheus that scrapes two workers."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import ROOT
from tests.service.conftest import (
    samples_of,
    serve_process,
    unused_port,
    wait_for,
    wait_until_ready,
    workers_of,
)

PROMETHEUS = ROOT / "deploy" / "prometheus"
REQUESTS = 40


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "config", "compose.yml"),
        ("check", "config", "--syntax-only", "secure.yml"),  # Its secret exists only in the stack.
        ("test", "rules", "rules.test.yml"),
    ],
)
def test_promtool_accepts_configuration_and_rules(arguments: tuple[str, ...]) -> None:
    ran = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.skipif(shutil.which("amtool") is None, reason="needs prometheus-alertmanager")
def test_amtool_accepts_the_configuration() -> None:
    configuration = ROOT / "deploy/alertmanager/alertmanager.yml"
    subprocess.run(["amtool", "check-config", configuration], check=True)


def test_secure_configuration_differs_only_in_its_credentials() -> None:
    plain, secure = (
        yaml.safe_load((PROMETHEUS / name).read_text()) for name in ("compose.yml", "secure.yml")
    )
    [job] = secure["scrape_configs"]
    assert job.pop("authorization") == {"credentials_file": "/run/secrets/prometheus.key"}
    assert secure == plain


def test_every_alert_has_a_rule_test() -> None:
    alerts = set(re.findall(r"alert: (\w+)", (PROMETHEUS / "rules.yml").read_text()))
    fired = (PROMETHEUS / "rules.test.yml").read_text().split("exp_alerts:")
    assert alerts == {re.findall(r"alertname: (\w+)", before)[-1] for before in fired[:-1]}


@pytest.mark.parametrize(
    "route",
    [
        "/predict",
        "/v1/models/{name:model}:predict",
        "/v2/models/{name}/infer",
        "/v2/models/{name}/versions/{version}/infer",
        "/inference.GRPCInferenceService/ModelInfer",
        "/tensorflow.serving.PredictionService/Predict",
    ],
)
def test_alert_for_slow_predictions_covers_every_protocol(route: str) -> None:
    [pattern] = re.findall(
        r'request_seconds_bucket\{route=~"(.+?)"', (PROMETHEUS / "rules.yml").read_text()
    )
    assert re.fullmatch(pattern, route)


@pytest.fixture(scope="module")
def workers() -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A service with two workers, and a client that opens a connection for each request."""
    limits, port = httpx.Limits(max_keepalive_connections=0), unused_port()
    with (
        serve_process("--workers=2", "--log-level=warning", port=port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", limits=limits) as client,
    ):
        wait_until_ready(client)
        wait_for(lambda: scrape(client)["fashion_mnist_workers_ready"] == 2)
        yield process, client


def scrape(client: httpx.Client) -> dict[str, float]:
    return samples_of(client.get("/metrics").text)


def predict(client: httpx.Client, image: bytes) -> float:
    """Send images to the workers; return the total number of images so far."""
    before = scrape(client).get("fashion_mnist_images_total", 0)
    for _ in range(REQUESTS):
        client.put("/predict", content=image).raise_for_status()
    return before + REQUESTS


def responding_worker(client: httpx.Client, probe: str) -> int:
    worker: int = client.get(probe).json()["worker"]
    return worker


@pytest.mark.parametrize("probe", ["/livez", "/readyz"])
def test_probes_name_the_responding_worker(
    workers: tuple[subprocess.Popen[str], httpx.Client], probe: str
) -> None:
    _, client = workers
    seen: set[int] = set()

    def both_were_seen() -> bool:
        seen.add(responding_worker(client, probe))
        return len(seen) == 2

    wait_for(both_were_seen)  # On a busy machine, one worker may take all connections for a while.
    assert seen == {0, 1}


def test_counters_survive_a_killed_worker(
    workers: tuple[subprocess.Popen[str], httpx.Client], boot_png: bytes
) -> None:
    process, client = workers
    answered = predict(client, boot_png)
    before = workers_of(process)
    os.kill(before[0], signal.SIGKILL)

    def is_replaced() -> bool:
        now = workers_of(process)
        try:
            samples = scrape(client)
        except httpx.TransportError:  # The killed worker had taken the connection.
            return False
        assert samples["fashion_mnist_images_total"] == answered
        all_new = before[0] not in now and len(now) == len(before)
        return all_new and samples["fashion_mnist_workers_ready"] == len(before)

    wait_for(is_replaced)
    client.put("/predict", content=boot_png).raise_for_status()
    assert scrape(client)["fashion_mnist_images_total"] == answered + 1
    # The new worker takes over the number of the killed one.
    assert {name for name in scrape(client) if name.startswith("process_open_fds")} == {
        'process_open_fds{worker="0"}',
        'process_open_fds{worker="1"}',
    }


def test_prometheus_scrapes_the_sum_of_all_workers(
    workers: tuple[subprocess.Popen[str], httpx.Client],
    boot_png: bytes,
    tmp_path: Path,
) -> None:
    _, client = workers
    answered = predict(client, boot_png)
    with prometheus(client.base_url.netloc.decode(), tmp_path) as server:
        total = 'fashion_mnist_requests_total{route="/predict",status="200"}'
        wait_for(lambda: query(server, total) == [answered])
        assert query(server, 'up{job="fashion_mnist"}') == [1]
        wait_for(
            lambda: {rule["health"] for rule in rules(server)} == {"ok"},
        )
        assert {rule["state"] for rule in rules(server) if rule["type"] == "alerting"} == {
            "inactive"
        }


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[httpx.Client]:
    """Run Prometheus with the shipped configuration, but scrape every second."""
    config = (PROMETHEUS / "prometheus.yml").read_text()
    config = config.replace("127.0.0.1:8000", target).replace("15s", "1s")
    (folder / "prometheus.yml").write_text(config)
    (folder / "rules.yml").write_text((PROMETHEUS / "rules.yml").read_text())
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                "--web.listen-address=127.0.0.1:0",
            ],
            stderr=log,
        )
    try:
        address = listening_address(process.pid)
        with httpx.Client(base_url=f"http://{address}") as client:
            wait_for(lambda: client.get("/-/ready").status_code == 200)
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def listening_address(pid: int) -> str:
    """Return the address that a process listens on; Prometheus does not log the port it chose."""

    def addresses() -> list[str]:
        links = []
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # It was closed meanwhile.
                links.append(str(descriptor.readlink()))
        sockets = {link[8:-1] for link in links if link.startswith("socket:[")}
        lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()]
        return [f[1] for f in lines[1:] if f[3] == "0A" and f[9] in sockets]

    wait_for(lambda: bool(addresses()))
    return f"127.0.0.1:{int(addresses()[0].split(':')[1], 16)}"


def query(server: httpx.Client, expression: str) -> list[float]:
    answer = server.get("/api/v1/query", params={"query": expression}).json()
    return [float(sample["value"][1]) for sample in answer["data"]["result"]]


def rules(server: httpx.Client) -> list[dict[str, Any]]:
    groups = server.get("/api/v1/rules").json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]
