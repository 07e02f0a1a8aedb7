"""The options and the response of `/predict`."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from ..arrays import Assessment
from ..errors import InvalidParameter
from ..images.decode import PreparedImage
from ..model.classifier import Classifier
from .schemas import ImageOptions, write_answer


class PredictOptions(ImageOptions):
    """The query of `/predict`."""

    top_k: int | None = Field(default=None, ge=1)
    """Also list this many classes, most probable first."""

    def check(self, classifier: Classifier) -> None:
        classes = len(classifier.manifest.class_names)
        if self.top_k is not None and self.top_k > classes:
            raise InvalidParameter(f"top_k: {self.top_k}, but the model has {classes} classes")


def list_predictions(
    assessment: Assessment, classifier: Classifier, count: int | None = None
) -> list[dict[str, Any]]:
    """Return `schemas.Prediction` of the first `count` images, without `preparation`."""
    names = classifier.manifest.class_names
    probabilities = assessment.probabilities[:count]
    novelty = None if assessment.novelty is None else assessment.novelty[:count]
    scores: Sequence[object] = [None] * len(probabilities) if novelty is None else list(novelty)
    known = scores if novelty is None else classifier.in_distribution(novelty).tolist()
    best = probabilities.argmax(axis=1).tolist()
    # orjson writes float32 as the shortest text.
    return [
        {
            "label": names[class_id],
            "class_id": class_id,
            "confidence": row[class_id],
            "probabilities": dict(zip(names, row, strict=True)),
            "novelty": score,
            "in_distribution": is_known,
        }
        for row, class_id, score, is_known in zip(probabilities, best, scores, known, strict=True)
    ]


def write_predictions(
    predictions: Sequence[dict[str, Any]],
    images: Sequence[PreparedImage],
    classifier: Classifier,
    top_k: int | None,
) -> bytes:
    """Complete the predictions of `list_predictions`, and return `schemas.PredictResponse` as JSON.

    Numbers that are not finite become null.
    """
    for prediction, image in zip(predictions, images, strict=True):
        prediction["preparation"] = image.preparation
        if image.preparation == "photo" and prediction["novelty"] is not None:
            known = classifier.in_distribution(prediction["novelty"], photos=True)
            prediction["in_distribution"] = bool(known)
        if top_k is not None:
            numbered = enumerate(prediction["probabilities"].items())
            ranked = sorted(numbered, key=lambda one: -one[1][1])
            prediction["top_k"] = [
                {"label": label, "class_id": class_id, "probability": probability}
                for class_id, (label, probability) in ranked[:top_k]
            ]
    return write_answer(classifier, {"predictions": predictions})
