"""The text is what Prometheus' own parser and linter take it for."""

import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.metrics import Metrics
from service.telemetry.exposition import write_families
from service.telemetry.families import Counter, Gauge, Histogram
from service.telemetry.storage import Series, Shard, Storage
from tests.service.conftest import samples_of


@pytest.fixture
def storage() -> Storage:
    return Storage()


def test_a_histogram_is_written_as_cumulative_buckets(storage: Storage) -> None:
    seconds = Histogram(storage, "answer_seconds", "Time.", [0.1, 1, 2.5], ["route"])
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


def test_a_label_survives_whatever_is_in_it(storage: Storage) -> None:
    name = 'back\\slash "quote"\nline ☃'
    counter = Counter(storage, "requests_total", 'A \\ and\na "line".', ["name"])
    counter.add((name,))
    [family] = text_string_to_metric_families(write_families([counter], storage.read()))
    assert family.samples[0].labels == {"name": name}
    assert family.documentation == 'A \\ and\na "line".'


def test_a_worker_that_has_ended_adds_to_counters_and_not_to_gauges(storage: Storage) -> None:
    counter = Counter(storage, "requests_total", "All.")
    gauge = Gauge(storage, "in_flight", "Now.")
    series: dict[Series, list[float]] = {("requests_total", ()): [2.0], ("in_flight", ()): [3.0]}
    shards = [Shard(0, 100, series), Shard(1, 0, series)]
    assert samples_of(write_families([counter, gauge], shards)) == {
        "requests_total": 4,
        "in_flight": 3,
    }


def test_the_metrics_of_the_service_pass_promtool() -> None:
    text = Metrics().write()
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
