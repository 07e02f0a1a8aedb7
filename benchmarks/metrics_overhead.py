"""The cost of instrumentation per request, compared with counting by the Prometheus client.

    python -m benchmarks.metrics_overhead

The time of ids, phases, counters and histograms of one request with one image, without network and
decoding, and with the values in files that several workers share. The Prometheus client does only
the counting, in its multiprocess mode.
"""

import logging
import os
import statistics
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import prometheus_client as prometheus
from prometheus_client import values

from service.telemetry.instrumentation import Instrumentation
from service.telemetry.metrics import Metrics
from service.telemetry.record import Predictions

REQUESTS_PER_ROUND = 5_000
ROUNDS = 15
PHASES = ("receive", "queue", "decode", "prepare", "infer", "encode")
BOUNDS = [0.0005 * 2**exponent for exponent in range(15)]


def main() -> None:
    """Print the microseconds of both, measured alternately."""
    logging.getLogger("service.access").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory() as service_directory,
        tempfile.TemporaryDirectory() as client_directory,
    ):
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = client_directory
        # The client chooses its mode on import, and the service has imported it.
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
        candidates = {
            "service": instrumented_request(Path(service_directory)),
            "prometheus_client": prometheus_request(),
        }
        times: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(ROUNDS):
            for name, request in candidates.items():
                seconds = timeit.timeit(request, number=REQUESTS_PER_ROUND)
                times[name].append(1e6 * seconds / REQUESTS_PER_ROUND)
    for name, microseconds in times.items():
        median, least = statistics.median(microseconds), min(microseconds)
        print(f"{name:20} {median:6.1f} µs per request (median), {least:.1f} at best")
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    print(f"ratio                {statistics.median(ratios):6.2f}")


def instrumented_request(directory: Path) -> Callable[[], None]:
    """Return a function that records one request as the service does."""
    instrumentation = Instrumentation(Metrics(directory), "0")
    class_names = [f"class {number}" for number in range(10)]
    probabilities = np.full((1, 10), 0.1, np.float32)
    novelty = np.zeros(1, np.float32)

    def request() -> None:
        record = instrumentation.begin({})
        record.method, record.route, record.status = "PUT", "/predict", 200
        record.record_phase("receive")
        record.record_start(1)
        record.record_phase("decode")
        record.record_phase("prepare")
        record.record_run(1, Predictions(1, class_names, probabilities, novelty))
        record.record_phase("encode")
        instrumentation.end(record)

    return request


def prometheus_request() -> Callable[[], None]:
    """Return a function that counts one request with the Prometheus client."""

    def counter(name: str, *labels: str) -> Any:
        return prometheus.Counter(name, name, labels)

    def histogram(name: str, *labels: str) -> Any:
        return prometheus.Histogram(name, name, labels, buckets=BOUNDS)

    requests = counter("requests", "route", "method", "status")
    seconds = histogram("request_seconds", "route")
    phase_seconds = histogram("phase_seconds", "phase")
    images, predicted = counter("images"), counter("predicted", "label", "version")
    batch, confidence = histogram("batch_images"), histogram("confidence")
    in_flight = prometheus.Gauge("in_flight", "in_flight", multiprocess_mode="livesum")

    def request() -> None:
        in_flight.inc()
        requests.labels("/predict", "PUT", "200").inc()
        seconds.labels("/predict").observe(0.001)
        for phase in PHASES:
            phase_seconds.labels(phase).observe(0.0001)
        images.inc()
        batch.observe(1)
        predicted.labels("class 1", "1").inc()
        confidence.observe(0.9)
        in_flight.dec()

    return request


if __name__ == "__main__":
    main()
