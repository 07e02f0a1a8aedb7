"""What a model must do before it is served, and what its answers are worth."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.arrays import Assessment, Tensor, Weights
from service.model.artifact import Artifact
from service.model.classifier import Classifier
from service.errors import ArtifactError
from service.capacity.parallel import Helpers

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def test_numbers_of_any_dtype_are_divided_by_255_the_same_way(
    classifier: Classifier, test_slice: Slice
) -> None:
    pixels = test_slice[0][0]
    as_bytes = classifier.predict([pixels])
    for dtype in (np.float32, np.float64, np.int64):
        np.testing.assert_array_equal(classifier.predict([pixels.astype(dtype)]), as_bytes)


def test_each_row_belongs_to_its_picture_also_from_many_threads(
    classifier: Classifier, test_slice: Slice
) -> None:
    pictures = test_slice[0][:64]
    expected = np.concatenate([classifier.predict([picture]) for picture in pictures])

    def classify(start: int) -> Tensor:
        count = 1 + start % 5
        return classifier.predict(list(pictures[start : start + count]))

    with ThreadPoolExecutor(8) as pool:
        starts = [i % 59 for i in range(400)]
        for start, rows in zip(starts, pool.map(classify, starts), strict=True):
            np.testing.assert_allclose(rows, expected[start : start + len(rows)], atol=1e-5)


def test_a_good_model_passes_its_warm_up(classifier: Classifier) -> None:
    classifier.warm_up()


KNOWN = np.zeros(1, np.float32)


class BrokenEngine:
    """An engine that gives what a test wants to see refused."""

    name = "broken"

    def __init__(
        self, probabilities: Tensor, maps: Mapping[str, Tensor], novelty: Tensor | None = KNOWN
    ) -> None:
        self.assessment = Assessment(probabilities, novelty)
        self.maps = maps

    def assess(self, images: Tensor, helpers: Helpers | None = None) -> Assessment:
        if self.assessment.probabilities.size == 0:
            raise RuntimeError("the interpreter says no")
        return self.assessment

    def feature_maps(self, images: Tensor, helpers: Helpers | None = None) -> Mapping[str, Tensor]:
        return self.maps

    def weights(self, layer: str) -> Weights:
        raise LookupError(layer)


UNIFORM = np.full((1, 10), 0.1, np.float32)


@pytest.mark.parametrize(
    ("probabilities", "reason"),
    [
        (np.full((1, 9), 1 / 9, np.float32), "gives 9 probabilities, the manifest names 10"),
        (np.full((1, 10), 0.2, np.float32), "do not add up to one"),
        (np.full((1, 10), np.nan, np.float32), "do not add up to one"),
        (np.zeros((0, 10), np.float32), "the interpreter says no"),
        (UNIFORM, "layer conv2d_1 does not give the shape"),
    ],
)
def test_a_model_that_does_not_do_what_its_manifest_says_fails_its_warm_up(
    artifact: Artifact, probabilities: Tensor, reason: str
) -> None:
    with pytest.raises(ArtifactError, match=reason):
        Classifier(artifact, BrokenEngine(probabilities, {})).warm_up()


@pytest.mark.parametrize("novelty", [None, np.zeros(2, np.float32), KNOWN * np.nan])
def test_a_model_without_the_novelty_it_states_fails_its_warm_up(
    artifact: Artifact, novelty: Tensor | None
) -> None:
    with pytest.raises(ArtifactError, match="does not give the novelty"):
        Classifier(artifact, BrokenEngine(UNIFORM, {}, novelty)).warm_up()


def test_a_model_without_a_novelty_score_says_so_when_asked_for_it(
    artifact: Artifact, classifier: Classifier
) -> None:
    older = replace(artifact, manifest=artifact.manifest.model_copy(update={"novelty": None}))
    with pytest.raises(ValueError, match="no novelty score"):
        Classifier(older, classifier._engine).in_distribution(KNOWN)


def test_what_is_no_number_is_not_known(classifier: Classifier) -> None:
    images = np.zeros((2, 28, 28, 1), np.float32)
    images[1, 3, 3] = np.nan
    probabilities, novelty = classifier.assess_images(images)
    assert novelty is not None
    assert np.isnan(novelty).tolist() == [False, True]
    assert np.isnan(probabilities).any(axis=1).tolist() == [False, True]
    assert not classifier.in_distribution(novelty)[1]


def test_a_model_without_a_layer_it_lists_fails_its_warm_up(
    artifact: Artifact, classifier: Classifier
) -> None:
    manifest = artifact.manifest
    phantom = manifest.layers[0].model_copy(update={"name": "conv2d_9"})
    lying = replace(
        artifact, manifest=manifest.model_copy(update={"layers": (*manifest.layers, phantom)})
    )
    with pytest.raises(ArtifactError, match="layer conv2d_9"):
        Classifier(lying, classifier._engine).warm_up()
