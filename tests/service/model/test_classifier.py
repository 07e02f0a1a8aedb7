"""Predictions, warm-up checks, novelty thresholds and layers of a classifier."""

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


def test_pixels_of_any_dtype_are_divided_by_255(classifier: Classifier, test_slice: Slice) -> None:
    pixels = test_slice[0][0]
    expected = (pixels / np.float32(255)).reshape(1, 28, 28, 1)
    for dtype in (np.uint8, np.float32, np.float64, np.int64):
        images = classifier.to_images([pixels.astype(dtype)])
        assert images.dtype == np.float32
        np.testing.assert_array_equal(images, expected)


def test_concurrent_batches_return_the_rows_of_their_images(
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


def test_valid_model_passes_warm_up(classifier: Classifier) -> None:
    classifier.warm_up()


KNOWN = np.zeros(1, np.float32)


class StubEngine:
    """An engine with fixed outputs."""

    name, precision = "stub", "float32"

    def __init__(
        self, probabilities: Tensor, maps: Mapping[str, Tensor], novelty: Tensor | None = KNOWN
    ) -> None:
        self.assessment = Assessment(probabilities, novelty)
        self.maps = maps

    def assess(self, images: Tensor, workers: WorkerThreads | None = None) -> Assessment:
        if self.assessment.probabilities.size == 0:
            raise RuntimeError("invalid tensor")
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
        (np.zeros((0, 10), np.float32), "invalid tensor"),
        (UNIFORM, "layer conv2d_1 does not give the shape"),
    ],
)
def test_outputs_that_contradict_the_manifest_fail_warm_up(
    artifact: Artifact, probabilities: Tensor, reason: str
) -> None:
    with pytest.raises(ArtifactError, match=reason):
        Classifier(artifact, StubEngine(probabilities, {})).warm_up()


@pytest.mark.parametrize("novelty", [None, np.zeros(2, np.float32), KNOWN * np.nan])
def test_missing_or_invalid_novelty_fails_warm_up(
    artifact: Artifact, novelty: Tensor | None
) -> None:
    with pytest.raises(ArtifactError, match="does not give the novelty"):
        Classifier(artifact, StubEngine(UNIFORM, {}, novelty)).warm_up()


def test_in_distribution_without_a_novelty_score_raises_value_error(
    artifact: Artifact, classifier: Classifier
) -> None:
    without_novelty = replace(
        artifact, manifest=artifact.manifest.model_copy(update={"novelty": None})
    )
    with pytest.raises(ValueError, match="no novelty score"):
        Classifier(without_novelty, classifier._engine).in_distribution(KNOWN)


def test_photo_threshold_applies_to_photos_if_the_manifest_has_one(
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
        classifier = Classifier(replace(artifact, manifest=manifest), StubEngine(UNIFORM, {}))
        assert classifier.in_distribution(scores, photos=photos).tolist() == expected


def test_conv_and_dense_layers_have_weights_unless_normalisation_is_merged(
    artifact: Artifact, classifier: Classifier
) -> None:
    layers = artifact.manifest.layers
    known = [layer.type for layer in layers if classifier.has_weights(layer)]
    assert set(known) == {"Conv2D", "Dense"}
    merged = layers[0].model_copy(update={"name": "norm", "type": "BatchNormalization"})
    manifest = artifact.manifest.model_copy(update={"layers": (*layers, merged)})
    other = Classifier(replace(artifact, manifest=manifest), StubEngine(UNIFORM, {}))
    assert not any(map(other.has_weights, manifest.layers))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_image_gives_nan_and_is_not_in_distribution(
    classifier: Classifier, test_slice: Slice, value: float
) -> None:
    images = classifier.to_images(list(test_slice[0][:3]))
    expected, maps = classifier.assess(images), classifier.feature_maps(images)
    images[1, 3, 3] = value
    given = images.copy()
    probabilities, novelty = classifier.assess(given)
    assert novelty is not None
    assert np.isnan(novelty).tolist() == [False, True, False]
    assert np.isnan(probabilities).all(axis=1).tolist() == [False, True, False]
    assert not classifier.in_distribution(novelty)[1]
    np.testing.assert_allclose(probabilities[::2], expected.probabilities[::2], atol=1e-5)
    for name, output in classifier.feature_maps(given).items():
        assert np.isnan(output[1]).all()
        np.testing.assert_allclose(output[::2], maps[name][::2], atol=1e-5)
    np.testing.assert_array_equal(given, images)


def test_layers_with_maps_are_those_with_4d_output(classifier: Classifier) -> None:
    maps = classifier.feature_maps(np.zeros((1, 28, 28, 1), np.float32))
    names = [layer.name for layer in classifier.layers_with_maps]
    assert names == [
        layer.name for layer in classifier.manifest.layers if maps[layer.name].ndim == 4
    ]
    assert names


def test_layer_missing_from_the_model_fails_warm_up(
    artifact: Artifact, classifier: Classifier
) -> None:
    manifest = artifact.manifest
    phantom = manifest.layers[0].model_copy(update={"name": "conv2d_9"})
    inconsistent = replace(
        artifact, manifest=manifest.model_copy(update={"layers": (*manifest.layers, phantom)})
    )
    with pytest.raises(ArtifactError, match="layer conv2d_9"):
        Classifier(inconsistent, classifier._engine).warm_up()
