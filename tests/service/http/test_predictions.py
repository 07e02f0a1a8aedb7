"""The JSON of `/predict`: names, numbers and rankings."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import orjson
import pytest

from service.arrays import Assessment, Tensor
from service.errors import InvalidParameter
from service.http.predictions import PredictOptions, list_predictions, write_predictions
from service.images.decode import Preparation, PreparedImage
from service.model.classifier import Classifier

NAMES = ('100 % "wool"', "Ärmel\n", "a,b", "],[")
BLACK = np.zeros((28, 28), np.uint8)
PREPARATIONS: tuple[Preparation, ...] = ("none", "photo", "plain")


def classifier(threshold: float = 0.0, photo_threshold: float = 0.5) -> Classifier:
    manifest = SimpleNamespace(name='the "model"', version=7, class_names=NAMES)

    def in_distribution(novelty: Tensor, *, photos: bool = False) -> Any:
        return novelty <= (photo_threshold if photos else threshold)

    return cast("Classifier", SimpleNamespace(manifest=manifest, in_distribution=in_distribution))


def images(count: int) -> list[PreparedImage]:
    return [PreparedImage(BLACK, PREPARATIONS[i % 3]) for i in range(count)]


def written(
    probabilities: Tensor, novelty: Tensor | None = None, top_k: int | None = None
) -> bytes:
    model = classifier()
    predictions = list_predictions(Assessment(probabilities, novelty), model)
    return write_predictions(predictions, images(len(probabilities)), model, top_k)


def expected(probabilities: Tensor, novelty: Tensor | None, top_k: int | None) -> bytes:
    predictions: list[dict[str, Any]] = []
    for index, row in enumerate(probabilities):
        best = int(row.argmax())
        predictions.append(
            {
                "label": NAMES[best],
                "class_id": best,
                "confidence": row[best],
                "probabilities": dict(zip(NAMES, row, strict=True)),
                "novelty": None if novelty is None else novelty[index],
                "in_distribution": None
                if novelty is None
                else bool(novelty[index] <= (0.5 if PREPARATIONS[index % 3] == "photo" else 0)),
                "preparation": PREPARATIONS[index % 3],
            }
        )
        if top_k is not None:
            predictions[-1]["top_k"] = [
                {"label": NAMES[i], "class_id": i, "probability": row[i]}
                for i in np.argsort(-row, kind="stable")[:top_k].tolist()
            ]
    document = {"model": {"name": 'the "model"', "version": 7}, "predictions": predictions}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


@pytest.mark.parametrize("top_k", [None, 1, 3])
@pytest.mark.parametrize("has_novelty", [True, False])
@pytest.mark.parametrize("count", [1, 2, 50])
def test_predictions_are_written_as_orjson_writes_them(
    count: int, has_novelty: bool, top_k: int | None
) -> None:
    random = np.random.default_rng(count)
    probabilities = random.dirichlet([0.05] * len(NAMES), count).astype(np.float32)
    novelty = random.normal(0, 1e6, count).astype(np.float32) if has_novelty else None
    given = written(probabilities, novelty, top_k)
    assert given == expected(probabilities, novelty, top_k)


def test_non_finite_values_are_null() -> None:
    probabilities = np.full((2, len(NAMES)), np.nan, np.float32)
    novelty = np.array([np.nan, np.inf], np.float32)
    given = written(probabilities, novelty)
    assert given == expected(probabilities, novelty, None)
    assert orjson.loads(given)["predictions"][0]["confidence"] is None


def test_listing_may_be_limited_to_the_first_of_a_batch() -> None:
    probabilities = np.eye(4, dtype=np.float32)
    novelty = np.arange(4, dtype=np.float32)
    listed = list_predictions(Assessment(probabilities, novelty), classifier())
    assert list_predictions(Assessment(probabilities, novelty), classifier(), 2) == listed[:2]
    assert list_predictions(Assessment(probabilities, novelty), classifier(), 0) == []
    assert [one["class_id"] for one in listed] == [0, 1, 2, 3]


def test_top_k_above_the_number_of_classes_is_rejected() -> None:
    for top_k in (None, 1, len(NAMES)):
        PredictOptions(top_k=top_k).check(classifier())
    with pytest.raises(InvalidParameter, match="top_k: 5, but the model has 4 classes"):
        PredictOptions(top_k=len(NAMES) + 1).check(classifier())
