"""Requests that have come together, to go through the network together."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np

from service.api.predictions import add_rankings, write_answer, write_predictions
from service.arrays import Assessment, Tensor
from service.classifier import Classifier
from service.images import PreparedImage
from service.observation import finish

JSON = "application/json"


class Answer(NamedTuple):
    """An answer with status 200."""

    body: bytes
    media_type: str = JSON
    json_length: int | None = None
    """Bytes of the JSON before the tensors; None if there are none behind it."""


class PictureRequest(NamedTuple):
    """What is left of a request to `/predict` once it is read.

    Attributes:
        classifier: Of the version it is for.
        images: In the order sent.
        top_k: How many classes to rank, or None.
    """

    classifier: Classifier
    images: list[PreparedImage]
    top_k: int | None


class TensorRequest(NamedTuple):
    """What is left of a request of another protocol once it is read.

    Attributes:
        classifier: Of the version it is for.
        images: (n, height, width, 1) float32 in the network's own units.
        write: Makes the answer of what came out for these.
    """

    classifier: Classifier
    images: Tensor
    write: Callable[[Assessment], Answer]


class Batch(ABC):
    """Requests for one version, whose images go through the network together.

    Attributes:
        classifier: Of the version.
    """

    classifier: Classifier

    @abstractmethod
    def run(self) -> Assessment:
        """Run the network, and return what came out: a row an image, in the order of requests."""

    @abstractmethod
    def answer(self, number: int, rows: slice) -> Answer:
        """Return the answer to one of the requests, after the run.

        Args:
            number: Of the request, from 0.
            rows: What came out for its images.
        """


def batch_of(requests: Sequence[PictureRequest | TensorRequest]) -> Batch:
    """Return a batch of requests that are all of one type and for one version."""
    if isinstance(requests[0], PictureRequest):
        return _PictureBatch(cast(Sequence[PictureRequest], requests))
    return _TensorBatch(cast(Sequence[TensorRequest], requests))


class _PictureBatch(Batch):
    def __init__(self, requests: Sequence[PictureRequest]) -> None:
        self.classifier = requests[0].classifier
        self._requests = requests
        self._images = [image for request in requests for image in request.images]
        self._predictions: list[bytes] = []
        self._probabilities: Tensor | None = None

    def run(self) -> Assessment:
        assessment = self.classifier.assess([image.pixels for image in self._images])
        self._probabilities = assessment.probabilities
        # Of all at once, which takes a third of the time.
        self._predictions = write_predictions(self._images, assessment, self.classifier)
        return assessment

    def answer(self, number: int, rows: slice) -> Answer:
        predictions = self._predictions[rows]
        top_k = self._requests[number].top_k
        if top_k is not None:
            assert self._probabilities is not None  # noqa: S101 (the run is over)
            own = self._probabilities[rows]
            predictions = add_rankings(predictions, own, self.classifier, top_k)
        return Answer(write_answer(predictions, self.classifier))


class _TensorBatch(Batch):
    def __init__(self, requests: Sequence[TensorRequest]) -> None:
        self.classifier = requests[0].classifier
        self._requests = requests
        self._assessment: Assessment | None = None

    def run(self) -> Assessment:
        images = [request.images for request in self._requests]
        together = np.concatenate(images) if len(images) > 1 else images[0]
        self._assessment = self.classifier.assess_images(together)
        return self._assessment

    def answer(self, number: int, rows: slice) -> Answer:
        assert self._assessment is not None  # noqa: S101 (the run is over)
        probabilities, novelty = self._assessment
        own = Assessment(probabilities[rows], None if novelty is None else novelty[rows])
        answer = self._requests[number].write(own)
        finish("encode")
        return answer
