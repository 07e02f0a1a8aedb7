"""The metrics of this service."""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import error_codes
from .counters import Counter, Family, Gauge, Histogram, Storage
from .exposition import PROCESS_METRICS, add_process_metrics, write_families
from .record import Predictions, RequestRecord
from .statistics import Statistics

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PHASE_SECONDS = (0.00005, 0.0001, 0.00025, *_SECONDS[:-2])
_BATCH_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONFIDENCES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_NOVELTIES = (0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.4, 1.8, 2.2)

_FEW = 16  # Up to so many images, a loop is faster than NumPy.


class Metrics:
    """Counts for this worker, and reports the metrics of all workers. Thread-safe."""

    def __init__(self, directory: Path | None = None) -> None:
        """Keep the values in the directory that the workers share; None if there is one worker."""
        self._storage = storage = Storage(directory)
        counter, gauge = partial(Counter, storage), partial(Gauge, storage)
        histogram = partial(Histogram, storage)
        self._requests = counter(
            "fashion_mnist_requests_total",
            "Requests answered, by route template; gRPC with the status HTTP has for the same.",
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
        self._families = [f for f in vars(self).values() if isinstance(f, Family)]
        self._families += [
            kind(storage, name, text, ("worker",)) for kind, name, text in PROCESS_METRICS
        ]
        self.statistics = Statistics(storage)
        with storage.lock:
            # A rate needs the zero before the first increment.
            for family in self._families:
                if not family.label_names:
                    family.slot(())
            for reason in error_codes():
                self._rejected.slot((reason,))
            self._workers.set((), 1)

    @property
    def worker(self) -> int:
        """The index of this worker, from 0."""
        return self._storage.worker

    def write(self) -> str:
        """Return the metrics of all workers in Prometheus' text format."""
        shards = self._storage.read()
        add_process_metrics(shards)
        return write_families(self._families, shards)

    def versions_of_workers(self) -> list[set[int]]:
        """Return the versions that each living worker serves."""
        shards = [shard for shard in self._storage.read() if shard.pid]
        gauges = [shard.series.get(self._versions.name, {}) for shard in shards]
        return [{int(n) for (n,), [served] in gauge.items() if served} for gauge in gauges]

    def close(self) -> None:
        """Release this worker's files for its successor."""
        self._storage.close()

    def count_request(self, record: RequestRecord) -> None:
        """Count an answered request and its predictions."""
        with self._storage.lock:
            self._requests.add((record.route, record.method, record.status))
            self._request_seconds.observe((record.route,), record.elapsed_ns / 1e9)
            self._phase_seconds.observe_phases(record.phases.items())
            if record.version:
                self.statistics.count(record)
            if record.images:
                self._images.add((), record.images)
                self._batch_images.observe((), record.images)
            if record.key:
                self._key_requests.add((record.key, record.status))
            if record.error_code:
                self._rejected.add((record.error_code,))
        if record.predictions is not None:
            self.count_predictions(record.predictions)

    def count_predictions(self, predictions: Predictions) -> None:
        """Count predicted classes, confidences and novelty scores."""
        version, class_names, probabilities, novelty = predictions
        scores = np.empty(0, np.float32) if novelty is None else novelty
        # Huge inputs make the network return NaN, which would turn the histogram's sum into NaN.
        if len(probabilities) > _FEW:
            finite = probabilities[np.isfinite(probabilities).all(axis=1)]
            counts = np.bincount(finite.argmax(axis=1)).tolist()
            with self._storage.lock:
                for class_name, count in zip(class_names, counts, strict=False):
                    self._predicted.add((class_name, version), count)
                self._confidence.observe_all((), finite.max(axis=1))
                self._novelty.observe_all((), scores[np.isfinite(scores)])
            return
        with self._storage.lock:
            for row in probabilities.tolist():
                confidence = max(row)
                if math.isfinite(sum(row)):
                    self._predicted.add((class_names[row.index(confidence)], version))
                    self._confidence.observe((), confidence)
            for score in scores.tolist():
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
            self._refused.add()
