"""The metrics of this service, in Prometheus' text format, version 0.0.4."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from prometheus_client import Metric as MetricFamily
from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from ..errors import error_codes
from .counters import Metric, Shard, Storage, total
from .record import Predictions, RequestRecord
from .statistics import Statistics

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PHASE_SECONDS = (0.00005, 0.0001, 0.00025, *_SECONDS[:-2])
_BATCH_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONFIDENCES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_NOVELTIES = (0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.4, 1.8, 2.2)

_FAMILIES: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class Metrics(Collector):
    """Counts for this worker, and reports the metrics of all workers. Thread-safe."""

    def __init__(self, directory: Path | None = None) -> None:
        """Keep the values in the directory that the workers share; None if there is one worker."""
        self._storage = storage = Storage(directory)
        counter, gauge, histogram = (partial(Metric, storage, kind=kind) for kind in _FAMILIES)
        self._requests = counter(
            "fashion_mnist_requests_total",
            "Requests answered, by route template; gRPC calls with the matching HTTP status.",
            ("route", "method", "status"),
        )
        self._request_seconds = histogram(
            "fashion_mnist_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ("route",),
            bounds=_SECONDS,
        )
        self._phase_seconds = histogram(
            "fashion_mnist_phase_seconds",
            "Time of a request in one phase: receive, queue, decode, prepare, infer, encode.",
            ("phase",),
            bounds=_PHASE_SECONDS,
        )
        self._images = counter("fashion_mnist_images_total", "Images that the network assessed.")
        self._batch_images = histogram(
            "fashion_mnist_batch_images", "Images of one request.", bounds=_BATCH_IMAGES
        )
        self._in_flight = gauge(
            "fashion_mnist_images_in_flight", "Images accepted and not yet answered."
        )
        self._rejected = counter(
            "fashion_mnist_rejected_total", "Requests answered with an error.", ("reason",)
        )
        self._key_requests = counter(
            "fashion_mnist_key_requests_total", "Requests with an API key.", ("key", "status")
        )
        self._predicted = counter(
            "fashion_mnist_predicted_total", "Images by predicted class.", ("label", "version")
        )
        self._confidence = histogram(
            "fashion_mnist_confidence", "Probability of the predicted class.", bounds=_CONFIDENCES
        )
        self._novelty = histogram(
            "fashion_mnist_novelty", "Unlikeness to the training images.", bounds=_NOVELTIES
        )
        self._versions = gauge(
            "fashion_mnist_model_version", "Workers that serve a version.", ("version",)
        )
        self._refused = counter(
            "fashion_mnist_versions_refused_total", "Versions found that must not be served."
        )
        self._workers = gauge("fashion_mnist_workers", "Worker processes alive.")
        self._ready = gauge("fashion_mnist_workers_ready", "Worker processes that serve a model.")
        self._metrics = [value for value in vars(self).values() if isinstance(value, Metric)]
        self.statistics = Statistics(storage)
        with storage.lock:
            # A rate needs the zero before the first increment.
            for each in self._metrics:
                if not each.labels:
                    each.slot(())
            for reason in error_codes():
                self._rejected.slot((reason,))
            self._workers.set((), 1)

    @property
    def worker(self) -> int:
        """The index of this worker, from 0."""
        return self._storage.worker

    def write(self) -> str:
        """Return the metrics of all workers in Prometheus' text format."""
        return generate_latest(self).decode()

    def collect(self) -> Iterator[MetricFamily]:
        """Yield the sum of each metric over all workers, of a gauge over the living ones."""
        shards = self._storage.read()
        alive = [shard for shard in shards if shard.pid]
        for metric in self._metrics:
            family = _FAMILIES[metric.kind](metric.name, metric.description, labels=metric.labels)
            sums = total(alive if metric.kind == "gauge" else shards, metric.name)
            for labels, values in sorted(sums.items()):
                if isinstance(family, HistogramMetricFamily):
                    bounds = [*(f"{bound:g}" for bound in metric.bounds), "+Inf"]
                    buckets = list(zip(bounds, accumulate(values[:-1]), strict=True))
                    family.add_metric(list(map(str, labels)), buckets, values[-1])
                else:
                    family.add_metric(list(map(str, labels)), values[0])
            yield family
        yield from _process_metrics(alive)

    def versions_of_workers(self) -> list[set[int]]:
        """Return the versions that each living worker serves."""
        shards = [
            total([shard], self._versions.name) for shard in self._storage.read() if shard.pid
        ]
        return [{int(n) for (n,), [served] in gauge.items() if served} for gauge in shards]

    def close(self) -> None:
        """Release this worker's files for its successor."""
        self._storage.close()

    def count_request(self, record: RequestRecord) -> None:
        """Count an answered request and its predictions."""
        with self._storage.lock:
            self._requests.add((record.route, record.method, record.status), 1)
            self._request_seconds.observe((record.route,), record.elapsed_ns * 1e-9)
            for phase, ns in record.phases.items():
                self._phase_seconds.observe((phase,), ns * 1e-9)
            if record.version:
                self.statistics.count(record)
            if record.images:
                self._images.add((), record.images)
                self._batch_images.observe((), record.images)
            if record.key:
                self._key_requests.add((record.key, record.status), 1)
            if record.error_code:
                self._rejected.add((record.error_code,), 1)
        if record.predictions is not None:
            self.count_predictions(record.predictions)

    def count_predictions(self, predictions: Predictions) -> None:
        """Count predicted classes, confidences and novelty scores."""
        version, class_names, probabilities, novelty = predictions
        # Huge inputs make the network return NaN, which would turn the histogram's sum into NaN.
        with self._storage.lock:
            for row in probabilities.tolist():
                confidence = max(row)
                if math.isfinite(sum(row)):
                    self._predicted.add((class_names[row.index(confidence)], version), 1)
                    self._confidence.observe((), confidence)
            for score in [] if novelty is None else novelty.tolist():
                if math.isfinite(score):
                    self._novelty.observe((), score)

    def count_in_flight(self, images: int) -> None:
        """Add accepted images, or subtract released ones if negative."""
        with self._storage.lock:
            self._in_flight.add((), images)

    def set_versions(self, serving: Mapping[int, Sequence[str]], known: Collection[int]) -> None:
        """Set the versions that this worker serves, with their class names, out of all known."""
        with self._storage.lock:
            for version in known:
                self._versions.set((version,), int(version in serving))
            for version, class_names in serving.items():
                for class_name in class_names:
                    self._predicted.slot((class_name, version))
            self._ready.set((), int(bool(serving)))

    def count_refused_version(self) -> None:
        with self._storage.lock:
            self._refused.add((), 1)


def _process_metrics(shards: Iterable[Shard]) -> Collection[MetricFamily]:
    """Return the metrics of each process, because a sum would hide a leak in one of them."""
    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for worker, pid, _ in shards:
        for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
            kind = _FAMILIES[metric.type]
            new = kind(metric.name, metric.documentation, labels=["worker"])
            family = families.setdefault(metric.name, new)
            family.add_metric([str(worker)], metric.samples[0].value)
    return families.values()
