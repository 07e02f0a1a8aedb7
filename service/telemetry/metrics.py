"""The metrics of this service: their names, what they mean, and when they change."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from service.arrays import Tensor
from service.errors import error_codes
from service.telemetry.exposition import write_families
from service.telemetry.families import Counter, Family, Gauge, Histogram
from service.telemetry.process import ProcessMetrics
from service.telemetry.statistics import Statistics, Totals
from service.telemetry.storage import Storage

if TYPE_CHECKING:
    from service.model.classifier import Classifier
    from service.telemetry.record import Observation

_REQUEST_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_PHASE_SECONDS = (0.00005, 0.0001, 0.00025, *_REQUEST_SECONDS[:-2])
_BATCH_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONFIDENCES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_FEW = 16
"""Pictures that a loop counts sooner than NumPy has begun."""

_NOVELTIES = (-20, -10, 0, 5, 10, 15, 20, 30, 50, 100, 200)


class Metrics:
    """What this worker counted, written together with what all others did.

    Its methods may be called from several threads.

    Args:
        directory: Where the workers of one service keep their numbers; None for a lone worker.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._storage = storage = Storage(directory)
        self._requests = Counter(
            storage,
            "fashion_mnist_requests_total",
            "Requests answered, by route template; gRPC with the status HTTP has for the same.",
            ["route", "method", "status"],
        )
        self._request_seconds = Histogram(
            storage,
            "fashion_mnist_request_seconds",
            "Time from the head of a request to the end of its answer.",
            _REQUEST_SECONDS,
            ["route"],
        )
        self._phase_seconds = Histogram(
            storage,
            "fashion_mnist_phase_seconds",
            "Time of a request in one phase: receive, queue, decode, prepare, infer, encode.",
            _PHASE_SECONDS,
            ["phase"],
        )
        self._images = Counter(
            storage, "fashion_mnist_images_total", "Pictures that went through the network."
        )
        self._batch_images = Histogram(
            storage,
            "fashion_mnist_batch_images",
            "Pictures of one request that went through the network together.",
            _BATCH_IMAGES,
        )
        self._in_flight = Gauge(
            storage, "fashion_mnist_images_in_flight", "Pictures accepted and not yet answered."
        )
        self._rejected = Counter(
            storage,
            "fashion_mnist_rejected_total",
            "Requests that were answered with an error, by its code.",
            ["reason"],
        )
        self._key_requests = Counter(
            storage,
            "fashion_mnist_key_requests_total",
            "Requests sent with an accepted API key, by the key's name.",
            ["key", "status"],
        )
        self._predicted = Counter(
            storage,
            "fashion_mnist_predicted_total",
            "Pictures by the class the model took them for.",
            ["label", "version"],
        )
        self._confidence = Histogram(
            storage,
            "fashion_mnist_confidence",
            "Probability of the class a picture was taken for.",
            _CONFIDENCES,
        )
        self._novelty = Histogram(
            storage,
            "fashion_mnist_novelty",
            "How unlike the training images a picture is, in the model's own units.",
            _NOVELTIES,
        )
        self._versions = Gauge(
            storage,
            "fashion_mnist_model_version",
            "Workers that serve a version of the model.",
            ["version"],
        )
        self._refused = Counter(
            storage,
            "fashion_mnist_versions_refused_total",
            "Versions a worker found that must not be served.",
        )
        self._workers = Gauge(storage, "fashion_mnist_workers", "Worker processes alive.")
        self._ready = Gauge(
            storage, "fashion_mnist_workers_ready", "Worker processes that serve a model."
        )
        self._families = [f for f in vars(self).values() if isinstance(f, Family)]
        self._process = ProcessMetrics()
        self._statistics = Statistics(storage)
        with storage.lock:
            # An alert on a rate needs the zero before the first one.
            for family in self._families:
                if not family.label_names:
                    family.slot(())
            for reason in error_codes():
                self._rejected.slot((reason,))
            self._workers.set((), 1)

    @property
    def worker(self) -> int:
        """Which of the workers this is, from 0."""
        return self._storage.worker

    def write(self) -> str:
        """Return the metrics of all workers in Prometheus' text format."""
        shards = self._storage.read()
        return write_families(self._families, shards) + self._process.write(shards)

    def statistics(self, version: int) -> Totals:
        """Return what became of the requests that a version was asked for, of all workers."""
        return self._statistics.totals(version)

    def versions_of_workers(self) -> list[set[int]]:
        """Return which versions each living worker serves."""
        return [
            {
                int(labels[0])
                for (name, labels), [value, *_] in shard.series.items()
                if name == self._versions.name and value
            }
            for shard in self._storage.read()
            if shard.pid
        ]

    def close(self) -> None:
        """Leave this worker's place to another."""
        self._storage.close()

    def count_request(self, seen: "Observation") -> None:
        """Count a request that has been answered."""
        with self._storage.lock:
            self._requests.add((seen.route, seen.method, seen.status))
            self._request_seconds.observe((seen.route,), seen.elapsed_ns / 1e9)
            self._phase_seconds.observe_each(seen.phases, 1e-9)
            if seen.version:
                self._statistics.count(seen)
            if seen.images:
                self._images.add((), seen.images)
                self._batch_images.observe((), seen.images)
            if seen.key:
                self._key_requests.add((seen.key, seen.status))
            if seen.rejected:
                self._rejected.add((seen.rejected,))

    def count_in_flight(self, images: int) -> None:
        """Count pictures that were accepted, or, if negative, that nobody works on any more."""
        with self._storage.lock:
            self._in_flight.add((), images)

    def count_predictions(
        self,
        version: int,
        class_names: Sequence[str],
        probabilities: Tensor,
        novelty: Tensor | None,
    ) -> None:
        """Count what pictures were taken for, and how strange they are.

        Args:
            version: Of the model.
            class_names: By class id.
            probabilities: (n, classes) float32.
            novelty: (n,) float32; None if the model has no such score.
        """
        with self._storage.lock:
            if len(probabilities) > _FEW:
                self._count_many(version, class_names, probabilities, novelty)
                return
            for row in probabilities.tolist():
                confidence = max(row)
                # Numbers as large as floats can be make a network answer NaN, which no sum, not
                # even that of the histogram, recovers from.
                if math.isfinite(sum(row)):
                    self._predicted.add((class_names[row.index(confidence)], version))
                    self._confidence.observe((), confidence)
            for score in [] if novelty is None else novelty.tolist():
                if math.isfinite(score):
                    self._novelty.observe((), score)

    def _count_many(
        self,
        version: int,
        class_names: Sequence[str],
        probabilities: Tensor,
        novelty: Tensor | None,
    ) -> None:
        whole = probabilities[np.isfinite(probabilities).all(axis=1)]
        counts = np.bincount(whole.argmax(axis=1)).tolist()
        for class_name, count in zip(class_names, counts, strict=False):
            self._predicted.add((class_name, version), count)
        self._confidence.observe_all((), whole.max(axis=1))
        if novelty is not None:
            self._novelty.observe_all((), novelty[np.isfinite(novelty)])

    def set_versions(self, serving: Mapping[int, "Classifier"], known: Collection[int]) -> None:
        """Note which versions this worker serves now, of all it has taken up."""
        with self._storage.lock:
            for number in known:
                self._versions.set((number,), int(number in serving))
            for number, classifier in serving.items():
                for label in classifier.manifest.class_names:
                    self._predicted.slot((label, number))
            self._ready.set((), int(bool(serving)))

    def count_refused_version(self) -> None:
        """Count a version that must not be served."""
        with self._storage.lock:
            self._refused.add()
