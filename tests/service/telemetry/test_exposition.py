"""Prometheus' own parser and linter accept the text."""

import os
import subprocess
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.counters import Counter, Gauge, Histogram, Labels, Shard, Storage
from service.telemetry.exposition import PROCESS_METRICS, add_process_metrics, write_families
from service.telemetry.metrics import Metrics
from tests.service.conftest import samples_of


@pytest.fixture
def storage() -> Storage:
    return Storage()


def test_a_histogram_is_written_as_cumulative_buckets(storage: Storage) -> None:
    seconds = Histogram(storage, "answer_seconds", "Time.", ["route"], bounds=[0.1, 1, 2.5])
    for value in (0.05, 0.1, 0.7, 2.5, 100):
        seconds.observe(("/a",), value)
    samples = samples_of(write_families([seconds], storage.read()))
    assert samples == {
        'answer_seconds_bucket{route="/a",le="0.1"}': 2,
        'answer_seconds_bucket{route="/a",le="1"}': 3,
        'answer_seconds_bucket{route="/a",le="2.5"}': 4,
        'answer_seconds_bucket{route="/a",le="+Inf"}': 5,
        'answer_seconds_sum{route="/a"}': pytest.approx(103.35),
        'answer_seconds_count{route="/a"}': 5,
    }


def test_any_text_may_be_the_value_of_a_label(storage: Storage) -> None:
    name = 'back\\slash "quote"\nline ☃'
    counter = Counter(storage, "requests_total", 'All, "failed" ones too.', ["name"])
    counter.add((name,))
    [family] = text_string_to_metric_families(write_families([counter], storage.read()))
    assert family.samples[0].labels == {"name": name}
    assert family.documentation == 'All, "failed" ones too.'


def test_a_worker_that_has_ended_adds_to_counters_and_not_to_gauges(storage: Storage) -> None:
    counter = Counter(storage, "requests_total", "All.")
    gauge = Gauge(storage, "in_flight", "Now.")
    series: dict[str, dict[Labels, list[float]]] = {
        "requests_total": {(): [2.0]},
        "in_flight": {(): [3.0]},
    }
    shards = [Shard(0, 100, series), Shard(1, 0, series)]
    assert samples_of(write_families([counter, gauge], shards)) == {
        "requests_total": 4,
        "in_flight": 3,
    }


def test_processes_are_described_by_worker_unless_they_have_ended(storage: Storage) -> None:
    gone = 2**22 + 1  # No process has such a number.
    shards = [Shard(0, os.getpid(), {}), Shard(1, 0, {}), Shard(2, gone, {})]
    add_process_metrics(shards)
    families = [kind(storage, name, text, ["worker"]) for kind, name, text in PROCESS_METRICS]
    samples = samples_of(write_families(families, shards))
    assert {name.partition("{")[2] for name in samples} == {'worker="0"}'}
    assert samples['process_cpu_seconds_total{worker="0"}'] == pytest.approx(
        sum(os.times()[:2]), abs=0.5
    )
    assert samples['process_open_fds{worker="0"}'] > 2
    assert samples['process_resident_memory_bytes{worker="0"}'] > 1e6
    assert 0 < time.time() - samples['process_start_time_seconds{worker="0"}'] < 1e5


def test_the_metrics_of_the_service_pass_promtool() -> None:
    text = Metrics().write()
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
