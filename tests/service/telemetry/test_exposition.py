"""Metrics in Prometheus' text format, checked by its own parser and linter."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.metrics import Metrics
from service.telemetry.record import RequestRecord
from tests.service.conftest import samples_of


def record_of(seconds: float, *, key: str = "") -> RequestRecord:
    return RequestRecord("mine", route="/a", status=200, key=key, elapsed_ns=int(seconds * 1e9))


def test_histogram_is_written_as_cumulative_buckets() -> None:
    metrics = Metrics()
    for seconds in (0.05, 0.1, 0.7, 2.5, 100):
        metrics.count_request(record_of(seconds))
    name = "fashion_mnist_request_seconds"
    samples = {n: v for n, v in samples_of(metrics.write()).items() if n.startswith(name)}
    for bound, count in {"0.025": 0, "0.1": 2, "1": 3, "2.5": 4, "30": 4, "+Inf": 5}.items():
        assert samples[f'{name}_bucket{{le="{bound}",route="/a"}}'] == count
    assert samples[f'{name}_sum{{route="/a"}}'] == pytest.approx(103.35)
    assert samples[f'{name}_count{{route="/a"}}'] == 5


def test_label_values_are_escaped() -> None:
    name = 'back\\slash "quote"\nline ☃'
    metrics = Metrics()
    metrics.count_request(record_of(1, key=name))
    families = text_string_to_metric_families(metrics.write())
    [family] = [f for f in families if f.name == "fashion_mnist_key_requests"]
    assert family.samples[0].labels == {"key": name, "status": "200"}


def test_ended_worker_counts_in_counters_but_not_in_gauges(tmp_path: Path) -> None:
    workers = [Metrics(tmp_path), Metrics(tmp_path)]
    for worker in workers:
        worker.count_request(record_of(1))
        worker.count_in_flight(3)
    workers[1].close()
    samples = samples_of(workers[0].write())
    assert samples['fashion_mnist_requests_total{method="",route="/a",status="200"}'] == 2
    assert samples["fashion_mnist_images_in_flight"] == 3
    assert samples["fashion_mnist_workers"] == 1
    workers[0].close()


def test_process_metrics_are_labelled_by_worker_and_omit_ended_workers(tmp_path: Path) -> None:
    workers = [Metrics(tmp_path), Metrics(tmp_path)]
    workers[1].close()
    samples = {n: v for n, v in samples_of(workers[0].write()).items() if n.startswith("process_")}
    assert {name.partition("{")[2] for name in samples} == {'worker="0"}'}
    assert samples['process_cpu_seconds_total{worker="0"}'] == pytest.approx(
        sum(os.times()[:2]), abs=0.5
    )
    assert samples['process_open_fds{worker="0"}'] > 2
    assert samples['process_resident_memory_bytes{worker="0"}'] > 1e6
    assert 0 < time.time() - samples['process_start_time_seconds{worker="0"}'] < 1e5
    workers[0].close()


def test_metrics_pass_promtool() -> None:
    text = Metrics().write()
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
