"""Requests that have come together, to go through the network together."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np

from service.http.predictions import add_rankings, write_answer, write_predictions
from service.arrays import Assessment, Tensor
from service.model.classifier import Classifier
from service.images.decode import PreparedImage
from service.telemetry.record import finish

JSON = "application/json"

MOST_TOGETHER = 32
"""Images from which on nobody else is waited for: more at once gain the network nothing."""


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


Batch = tuple[Assessment, Callable[[int, slice], Answer]]
"""What came out for requests that went through the network together, a row an image in their order;
and what makes the answer to one of them, by its number and the rows of its images."""


def run_together(requests: Sequence[PictureRequest | TensorRequest]) -> Batch:
    """Run the network for requests that are all of one type and for one version."""
    if isinstance(requests[0], PictureRequest):
        return _classify_pictures(cast(Sequence[PictureRequest], requests))
    return _classify_tensors(cast(Sequence[TensorRequest], requests))


def _classify_pictures(requests: Sequence[PictureRequest]) -> Batch:
    classifier = requests[0].classifier
    images = [image for request in requests for image in request.images]
    assessment = classifier.assess([image.pixels for image in images])
    # Of all at once, which takes a third of the time.
    written = write_predictions(images, assessment, classifier)

    def answer(number: int, rows: slice) -> Answer:
        predictions = written[rows]
        top_k = requests[number].top_k
        if top_k is not None:
            own = assessment.probabilities[rows]
            predictions = add_rankings(predictions, own, classifier, top_k)
        return Answer(write_answer(predictions, classifier))

    return assessment, answer


def _classify_tensors(requests: Sequence[TensorRequest]) -> Batch:
    images = [request.images for request in requests]
    together = np.concatenate(images) if len(images) > 1 else images[0]
    assessment = requests[0].classifier.assess_images(together)
    probabilities, novelty = assessment

    def answer(number: int, rows: slice) -> Answer:
        own = Assessment(probabilities[rows], None if novelty is None else novelty[rows])
        answer = requests[number].write(own)
        finish("encode")
        return answer

    return assessment, answer
