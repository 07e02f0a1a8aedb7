import math

import keras
import numpy as np
import pytest

from training.architecture import build_network
from training.novelty import (
    PERCENTILES,
    area_under_roc,
    entropy,
    make_outliers,
    measure_novelty,
    with_novelty,
)
from training.recipe import Block, Network


def test_entropy_is_zero_for_certainty_and_highest_for_equal_probabilities() -> None:
    probabilities = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4], np.float32)
    np.testing.assert_allclose(entropy(probabilities), [0, math.log(2), math.log(4)], atol=1e-6)


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_adding_the_novelty_output_keeps_the_probabilities(kind: str) -> None:
    model = build_network(Network(blocks=(Block(filters=2),), dense_units=4))
    if kind == "functional":
        model = keras.Model(model.inputs, model(model.inputs[0]))
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    answer = with_novelty(model)(images)
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    np.testing.assert_allclose(answer["novelty"], entropy(expected), atol=1e-6)


def test_threshold_is_the_95th_percentile_and_percentiles_ascend() -> None:
    keras.utils.set_random_seed(1)
    model = build_network(Network(blocks=(Block(filters=8),), dense_units=16))
    images = np.random.default_rng(0).random((400, 28, 28, 1), np.float32)
    novelty = measure_novelty(model, images, images, None, seed=1)
    assert novelty["false_alarms"]["test"] == pytest.approx(0.05)
    percentiles = novelty["percentiles"]["images"]
    assert len(percentiles) == len(PERCENTILES)
    assert percentiles == sorted(percentiles)
    assert novelty["threshold"] == pytest.approx(percentiles[PERCENTILES.index(95)])


def test_area_under_roc_is_one_or_zero_for_separated_scores() -> None:
    low, high = np.array([0.1, 0.2], np.float32), np.array([0.3, 0.4], np.float32)
    assert area_under_roc(low, high) == 1
    assert area_under_roc(high, low) == 0


def test_outliers_have_the_size_of_the_images() -> None:
    images = np.zeros((3, 32, 24, 1), np.float32)
    outliers = make_outliers(images, seed=1)
    for made in outliers.values():
        assert made.shape[1:] == (32, 24, 1)
        assert 0 <= made.min() <= made.max() <= 1
    assert len(outliers["handwritten digits"]) == 1797
