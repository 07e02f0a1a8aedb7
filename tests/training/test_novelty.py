"""The score is the relative Mahalanobis distance, by its definition and not by its shortcut."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from training.architecture import build_network
from training.novelty import Assessor, NoveltyDetector, find_threshold, fit_detector
from training.recipe import Network

Samples = tuple[np.ndarray[Any, np.dtype[np.float32]], np.ndarray[Any, np.dtype[np.uint8]]]


@pytest.fixture(scope="module")
def samples() -> Samples:
    """Three classes of twelve features, one of which is never active."""
    generator = np.random.default_rng(3)
    labels = np.repeat(np.arange(3, dtype=np.uint8), 200)
    mixing = generator.normal(size=(12, 12))
    features = generator.normal(size=(600, 12)) @ mixing
    features += 6 * generator.normal(size=(3, 12))[labels]
    features[:, 7] = 0
    return features.astype(np.float32), labels


@pytest.fixture(scope="module")
def detector(samples: Samples) -> NoveltyDetector:
    return fit_detector(*samples)


def squared_distances(offsets: Any, covariance: Any) -> Any:
    return np.einsum("ni,ij,nj->n", offsets, np.linalg.pinv(covariance), offsets)


def test_the_score_is_the_distance_to_the_nearest_class_less_that_to_all(
    samples: Samples, detector: NoveltyDetector
) -> None:
    features, labels = samples[0].astype(np.float64), samples[1]
    means = np.stack([features[labels == label].mean(axis=0) for label in range(3)])
    within = features - means[labels]
    centre = features.mean(axis=0)
    covariance = within.T @ within / len(features)
    of_all = (features - centre).T @ (features - centre) / len(features)
    unfamiliar = features + 5 * np.random.default_rng(4).normal(size=features.shape)
    unfamiliar[:, 7] = 0
    for points in (features, unfamiliar):
        nearest = np.min([squared_distances(points - mean, covariance) for mean in means], axis=0)
        background = squared_distances(points - centre, of_all)
        score = np.asarray(detector.score(points.astype(np.float32)))
        difference = score - (nearest - background)
        # Discriminant analysis divides by 600 images less 3 classes, and the others by 600.
        assert (np.abs(difference) < 0.01 * nearest + 0.01 * background + 0.01).all()


def test_what_lies_between_and_beyond_the_classes_is_stranger_than_what_lies_in_them(
    samples: Samples, detector: NoveltyDetector
) -> None:
    features, labels = samples
    means = np.stack([features[labels == label].mean(axis=0) for label in range(3)])
    at_the_means = np.asarray(detector.score(means))
    between = np.asarray(detector.score(means.mean(axis=0, keepdims=True)))
    assert at_the_means.max() < between.min()
    assert at_the_means.max() < np.asarray(detector.score(features)).mean()


def test_a_handful_of_numbers_is_all_there_is_to_it(detector: NoveltyDetector) -> None:
    assert detector.projection.shape == (12, 2)
    assert detector.origin.shape == detector.variances.shape == (2,)
    assert detector.class_means.shape == (3, 2)


def test_the_threshold_is_passed_by_one_in_twenty(
    samples: Samples, detector: NoveltyDetector
) -> None:
    threshold = find_threshold(detector, samples[0])
    assert np.mean(np.asarray(detector.score(samples[0])) > threshold) == pytest.approx(0.05)


def test_what_was_saved_scores_as_before(
    samples: Samples, detector: NoveltyDetector, tmp_path: Path
) -> None:
    detector.save(tmp_path / "novelty.npz")
    loaded = NoveltyDetector.load(tmp_path / "novelty.npz")
    np.testing.assert_array_equal(loaded.score(samples[0]), detector.score(samples[0]))


def test_the_score_needs_no_second_run_of_the_network(detector: NoveltyDetector) -> None:
    model = build_network(Network(dense_units=12))
    network = Assessor(model, detector, threshold=0).network
    images = tf.TensorSpec((None, 28, 28, 1), tf.float32)
    graph = tf.function(network).get_concrete_function(images).graph
    operations = [operation.type for operation in graph.get_operations()]
    assert operations.count("Conv2D") == 2
