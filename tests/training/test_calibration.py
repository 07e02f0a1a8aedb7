from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pytest

from tests.training.conftest import IDX_FOLDER, TINY_DATA, TINY_NETWORK
from training.__main__ import main
from training.data import load_fashion_mnist
from training.evaluate import expected_calibration_error, find_temperature
from training.recipe import Fit
from training.run import Run

Floats = npt.NDArray[np.float64]


def softmax(logits: Floats) -> npt.NDArray[np.float32]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_find_temperature_recovers_the_factor_on_the_logits(temperature: float) -> None:
    rng = np.random.default_rng(0)
    true_logits = rng.normal(0, 2, (20_000, 10))
    labels = (true_logits + rng.gumbel(size=true_logits.shape)).argmax(axis=1).astype(np.uint8)
    found = find_temperature(softmax(true_logits * temperature), labels)
    assert found == pytest.approx(temperature, rel=0.05)


def test_temperature_is_finite_with_zero_probabilities() -> None:
    probabilities = np.eye(10, dtype=np.float32)
    assert np.isfinite(find_temperature(probabilities, np.arange(10, dtype=np.uint8)))


@pytest.mark.usefixtures("unsaved_figures")
@pytest.mark.parametrize("flip", [False, True])
def test_calibrated_run_scales_only_the_last_layer_of_the_checkpoint(
    tmp_path: Path, flip: bool
) -> None:
    where = [*TINY_DATA, f"--run-dir={tmp_path}"]
    flips = ["--augmentation.flip"] * flip
    settings = ["--fit.epochs=4", "--fit.learning-rate=0.01", "--fit.calibrate"]
    assert main(["fit", *where, *TINY_NETWORK, *flips, *settings]) == 0
    assert main(["evaluate", *where]) == 0
    run = Run(tmp_path)
    temperature = run.read_evaluation()["calibration"]["temperature"]
    assert 0.2 < temperature < 5
    assert temperature != 1
    checkpoint = keras.models.load_model(run.best).get_weights()
    model = keras.models.load_model(run.model).get_weights()
    for mine, original in zip(model[:-2], checkpoint[:-2], strict=True):
        np.testing.assert_array_equal(mine, original)
    for mine, original in zip(model[-2:], checkpoint[-2:], strict=True):
        np.testing.assert_allclose(mine, original / temperature, rtol=1e-5)
    data = load_fashion_mnist(IDX_FOLDER, allow_other_data=True)
    images, labels = data.select(data.split(Fit())[1])
    if flip:
        images, labels = np.concatenate([images, images[:, :, ::-1]]), np.tile(labels, 2)
    probabilities = keras.models.load_model(run.model).predict(images, verbose=0)
    assert find_temperature(probabilities, labels) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [
        ([0.8] * 5, [1, 1, 1, 1, 0], 0.0),
        ([1.0] * 5, [1] * 5, 0.0),
        ([1.0] * 5, [0] * 5, 1.0),
        ([0.5] * 5, [1] * 5, 0.5),
        ([0.9, 0.5], [0, 1], 0.7),  # gaps of different bins do not cancel
    ],
)
def test_calibration_error_is_the_gap_between_confidence_and_accuracy(
    confidence: list[float], right: list[int], error: float
) -> None:
    measured = expected_calibration_error(
        np.array(confidence, np.float32), np.array(right, np.bool_)
    )
    assert measured == pytest.approx(error, abs=1e-6)
