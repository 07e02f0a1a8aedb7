"""Writes the answer of `/predict`.

Most of it is the same in every answer. What is not, the numbers, is made into text at once for all
pictures, and put in: a third of the time that a document a picture would take.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import orjson

from service.arrays import Assessment, Tensor
from service.model.classifier import Classifier
from service.images.decode import PreparedImage
from service.telemetry.record import finish

_BOOLEANS = (b"false", b"true")
_NULL = b"null"


def write_predictions(
    images: Sequence[PreparedImage],
    assessment: Assessment,
    classifier: Classifier,
) -> list[bytes]:
    """Return a `schemas.Prediction` an image as JSON; what is no finite number is null.

    Args:
        images: What was classified.
        assessment: What came out, a row an image.
        classifier: Which gave it.
    """
    probabilities, novelty = assessment
    form = _form_of(classifier)
    if novelty is None:
        scores = inside = [_NULL] * len(images)
    else:
        scores = _texts(novelty)[1:-1].split(b",")
        inside = [_BOOLEANS[known] for known in classifier.in_distribution(novelty).tolist()]
    predictions = []
    for row, image, best, score, known in zip(
        _texts(probabilities)[2:-2].split(b"],["),
        images,
        probabilities.argmax(axis=1).tolist(),
        scores,
        inside,
        strict=True,
    ):
        numbers = row.split(b",")
        preparation = image.preparation.encode()
        predictions.append(
            form.prediction
            % (form.labels[best], best, numbers[best], *numbers, score, known, preparation)
        )
    return predictions


def add_rankings(
    predictions: Sequence[bytes], probabilities: Tensor, classifier: Classifier, top_k: int
) -> list[bytes]:
    """Return what `write_predictions` has returned, each with its best classes.

    Args:
        predictions: Of some pictures.
        probabilities: (n, classes) float32, of the same.
        classifier: Which gave them.
        top_k: How many classes, at most as many as there are.
    """
    form = _form_of(classifier)
    return [
        form.with_ranking(prediction, row, top_k)
        for prediction, row in zip(predictions, probabilities, strict=True)
    ]


def write_answer(predictions: Sequence[bytes], classifier: Classifier) -> bytes:
    """Return `schemas.PredictResponse` as JSON, of what `write_predictions` has returned."""
    body = _form_of(classifier).beginning + b",".join(predictions) + b"]}"
    finish("encode")
    return body


class _Form:
    """What is the same in every answer of one version of the model.

    Attributes:
        beginning: Up to the first prediction.
        prediction: One of them, with a place for all that is not the same.
        labels: Names of the classes as JSON.
    """

    def __init__(self, name: str, version: int, class_names: Sequence[str]) -> None:
        model = orjson.dumps({"name": name, "version": version})
        self.beginning = b'{"model":' + model + b',"predictions":['
        self.labels = [orjson.dumps(label) for label in class_names]
        pairs = b",".join(label.replace(b"%", b"%%") + b":%b" for label in self.labels)
        self.prediction = (
            b'{"label":%b,"class_id":%d,"confidence":%b,"probabilities":{'
            + pairs
            + b'},"novelty":%b,"in_distribution":%b,"preparation":"%b"}'
        )

    def with_ranking(self, prediction: bytes, probabilities: Tensor, top_k: int) -> bytes:
        """Return a prediction with its best classes: (classes,) float32 probabilities."""
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        numbers = _texts(probabilities)[1:-1].split(b",")
        ranking = b",".join(
            b'{"label":%b,"class_id":%d,"probability":%b}' % (self.labels[i], i, numbers[i])
            for i in best.tolist()
        )
        return prediction[:-1] + b',"top_k":[' + ranking + b"]}"


_form = lru_cache(maxsize=16)(_Form)


def _form_of(classifier: Classifier) -> _Form:
    manifest = classifier.manifest
    return _form(manifest.name, manifest.version, manifest.class_names)


def _texts(numbers: Tensor) -> bytes:
    return orjson.dumps(np.ascontiguousarray(numbers), option=orjson.OPT_SERIALIZE_NUMPY)
