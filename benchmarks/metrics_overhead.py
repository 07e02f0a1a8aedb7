"""What it costs a request to be observed, next to Prometheus' own client counting the same.

    python -m benchmarks.metrics_overhead

No network, no picture: what is timed is identifiers, stopwatch, counters and histograms of one
request for one picture, with the numbers in files that several workers share. The client of
Prometheus does only the counting, in its mode for several processes.
"""

import logging
import os
import statistics
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from service.model.classifier import Classifier
from service.telemetry.metrics import Metrics
from service.telemetry.record import count_predictions, finish, leave_network
from service.telemetry.instrumentation import Observer

REQUESTS_A_ROUND = 5_000
ROUNDS = 15
PHASES = ("receive", "queue", "decode", "prepare", "infer", "encode")
BOUNDS = [0.0005 * 2**exponent for exponent in range(15)]


def main() -> None:
    """Print the median microseconds of both, measured by turns."""
    logging.getLogger("service.access").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        # It looks for the variable when it is imported.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = theirs
        candidates = {"observed": observed(Path(ours)), "prometheus_client": counted()}
        times: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(ROUNDS):
            for name, request in candidates.items():
                seconds = timeit.timeit(request, number=REQUESTS_A_ROUND)
                times[name].append(1e6 * seconds / REQUESTS_A_ROUND)
    for name, microseconds in times.items():
        print(f"{name:20} {statistics.median(microseconds):6.1f} µs a request (median)")
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    print(f"ratio                {statistics.median(ratios):6.2f}")


def observed(directory: Path) -> Callable[[], None]:
    """Return a function that observes one request as the service does."""
    observer = Observer(Metrics(directory), "0")
    class_names = [f"class {number}" for number in range(10)]
    model = SimpleNamespace(manifest=SimpleNamespace(version=1, class_names=class_names))
    classifier = cast("Classifier", model)
    images = np.zeros((1, 28, 28, 1), np.float32)
    probabilities = np.full((1, 10), 0.1, np.float32)
    novelty = np.zeros(1, np.float32)

    def request() -> None:
        with observer.observe({}) as seen:
            seen.method, seen.route, seen.status = "PUT", "/predict", 200
            for phase in ("receive", "queue", "decode"):
                finish(phase)
            finish("prepare")
            leave_network(len(images))
            count_predictions(classifier, probabilities, novelty)
            finish("encode")

    return request


def counted() -> Callable[[], None]:
    """Return a function that counts one request with Prometheus' client."""
    import prometheus_client as prometheus  # noqa: PLC0415 (it needs its variable)

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
