"""What a model must do before it is served, and what its answers are worth."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.arrays import Assessment, Tensor, Weights
from service.capacity.parallel import WorkerThreads
from service.errors import ArtifactError
from service.model.artifact import Artifact, Novelty
from service.model.classifier import Classifier

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def test_pixels_of_any_dtype_are_divided_by_255_the_same_way(
    classifier: Classifier, test_slice: Slice
) -> None:
    pixels = test_slice[0][0]
    expected = (pixels / np.float32(255)).reshape(1, 28, 28, 1)
    for dtype in (np.uint8, np.float32, np.float64, np.int64):
        images = classifier.to_images([pixels.astype(dtype)])
        assert images.dtype == np.float32
        np.testing.assert_array_equal(images, expected)


def test_each_row_belongs_to_its_image_also_from_many_threads(
    classifier: Classifier, test_slice: Slice
) -> None:
    images = classifier.to_images(list(test_slice[0][:64]))
    expected = np.concatenate([classifier.assess(image[None]).probabilities for image in images])

    def classify(start: int) -> Tensor:
        return classifier.assess(images[start : start + 1 + start % 5]).probabilities

    with ThreadPoolExecutor(8) as pool:
        starts = [i % 59 for i in range(400)]
        for start, rows in zip(starts, pool.map(classify, starts), strict=True):
            np.testing.assert_allclose(rows, expected[start : start + len(rows)], atol=1e-5)


def test_a_good_model_passes_its_warm_up(classifier: Classifier) -> None:
    classifier.warm_up()


KNOWN = np.zeros(1, np.float32)


class BrokenEngine:
    """An engine with the outputs that a test passes."""

    name, precision = "broken", "float32"

    def __init__(
        self, probabilities: Tensor, maps: Mapping[str, Tensor], novelty: Tensor | None = KNOWN
    ) -> None:
        self.assessment = Assessment(probabilities, novelty)
        self.maps = maps

    def assess(self, images: Tensor, workers: WorkerThreads | None = None) -> Assessment:
        if self.assessment.probabilities.size == 0:
            raise RuntimeError("the interpreter says no")
        return self.assessment

    def feature_maps(
        self, images: Tensor, workers: WorkerThreads | None = None
    ) -> Mapping[str, Tensor]:
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


def test_photographs_have_a_threshold_of_their_own_where_the_model_states_one(
    artifact: Artifact,
) -> None:
    stated = Novelty(score="entropy", layer="dense", threshold=0.5, photo_threshold=1.5)
    without = stated.model_copy(update={"photo_threshold": None})
    scores = np.array([0.25, 0.5, 0.75, 1.5, 1.75], np.float32)
    for novelty, photos, expected in (
        (stated, False, [True, True, False, False, False]),
        (stated, True, [True, True, True, True, False]),
        (without, True, [True, True, False, False, False]),
    ):
        manifest = artifact.manifest.model_copy(update={"novelty": novelty})
        classifier = Classifier(replace(artifact, manifest=manifest), BrokenEngine(UNIFORM, {}))
        assert classifier.in_distribution(scores, photos=photos).tolist() == expected


def test_weights_are_known_of_convolutions_and_dense_layers_that_no_other_is_merged_into(
    artifact: Artifact, classifier: Classifier
) -> None:
    layers = artifact.manifest.layers
    known = [layer.type for layer in layers if classifier.has_weights(layer)]
    assert set(known) == {"Conv2D", "Dense"}
    merged = layers[0].model_copy(update={"name": "norm", "type": "BatchNormalization"})
    manifest = artifact.manifest.model_copy(update={"layers": (*layers, merged)})
    other = Classifier(replace(artifact, manifest=manifest), BrokenEngine(UNIFORM, {}))
    assert not any(map(other.has_weights, manifest.layers))


def test_layers_with_maps_are_those_with_height_width_and_channels(classifier: Classifier) -> None:
    maps = classifier.feature_maps(np.zeros((1, 28, 28, 1), np.float32))
    names = [layer.name for layer in classifier.layers_with_maps]
    assert names == [
        layer.name for layer in classifier.manifest.layers if maps[layer.name].ndim == 4
    ]
    assert names


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
