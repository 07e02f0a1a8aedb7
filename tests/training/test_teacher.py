from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.conftest import IDX_FOLDER, UNCOMPILED_WARNING
from training.batches import LabelledBatches
from training.data import Labelled, load_fashion_mnist
from training.recipe import Fit, Recipe
from training.run import Run
from training.teacher import FusedNormalization, build_teacher
from training.trainer import train


def test_the_teacher_answers_with_probabilities_of_ten_classes() -> None:
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    probabilities = build_teacher(width=2, dtype="mixed_bfloat16").predict(images, verbose=0)
    assert (probabilities.shape, probabilities.dtype) == ((3, 10), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_the_teacher_has_the_parameters_its_documentation_says() -> None:
    assert round(build_teacher(width=64).count_params(), -5) == 2_800_000


def test_the_fused_layer_normalizes_and_averages_as_the_one_of_keras() -> None:
    fused, plain = FusedNormalization(momentum=0.8), keras.layers.BatchNormalization(momentum=0.8)
    maps = np.random.default_rng(1).normal(3, 2, (16, 5, 4, 3)).astype(np.float32)
    for layer in (fused, plain):
        layer.build(maps.shape)
        layer.gamma.assign([0.5, 1, 2])
        layer.beta.assign([-1, 0, 1])
    for _ in range(2):
        np.testing.assert_allclose(
            fused(maps, training=True), plain(maps, training=True), atol=1e-5
        )
    np.testing.assert_allclose(fused.moving_mean, plain.moving_mean, rtol=1e-6)
    # Of the variance it averages the unbiased estimate: the sum over n - 1, where Keras has n.
    unbiased = maps.var(axis=(0, 1, 2), ddof=1)
    np.testing.assert_allclose(fused.moving_variance, 0.64 + 0.36 * unbiased, rtol=1e-5)
    plain.moving_variance.assign(fused.moving_variance)
    np.testing.assert_allclose(fused(maps), plain(maps), atol=1e-5)


@pytest.mark.filterwarnings(UNCOMPILED_WARNING)
def test_a_compiled_teacher_learns_what_one_learns_step_by_step(tmp_path: Path) -> None:
    """So what the tests of runs with teachers find, which compile nothing, is true of both."""
    data, fit = load_fashion_mnist(IDX_FOLDER, allow_other_data=True), Fit(batch_size=64, epochs=1)
    training, validation = (
        Labelled(images[:128], labels[:128]) for images, labels in data.split(fit)
    )
    answers = []
    for name in ("step by step", "compiled"):
        tf.config.run_functions_eagerly(name == "step by step")
        keras.utils.set_random_seed(1)
        teacher, run = build_teacher(width=1), Run(tmp_path / name)
        before = teacher.get_weights()
        train(teacher, LabelledBatches(training, Recipe(fit=fit)), validation, run, fit)
        assert len(run.read_history()) == 1
        for weights, old in zip(teacher.get_weights(), before, strict=True):
            assert (weights != old).any()
        answers.append(teacher(validation.images))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-3)
