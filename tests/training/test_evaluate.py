import json

import keras
import numpy as np
import pytest

from tests.training.conftest import IDX_FOLDER, Published
from training.data import CLASS_NAMES, load_fashion_mnist
from training.evaluate import cross_entropy, expected_calibration_error, score
from training.run import Run


def one_hot(classes: list[int], confidence: float = 1.0) -> np.ndarray[tuple[int, int], np.dtype]:
    rest = (1 - confidence) / 9
    return np.where(np.eye(10)[classes] == 1, confidence, rest).astype(np.float32)


def test_the_scores_are_those_that_keras_measures(tiny: Published) -> None:
    test = load_fashion_mnist(IDX_FOLDER, allow_other_data=True).test()
    model = keras.models.load_model(Run(tiny.run_dir).checkpoint)
    loss, accuracy = model.evaluate(test.images, np.eye(10)[test.labels], verbose=0)
    scores = Run(tiny.run_dir).read_evaluation()
    assert scores["test"]["images"] == 64
    assert scores["test"]["accuracy"] == pytest.approx(accuracy)
    assert scores["test"]["loss"] == pytest.approx(loss, rel=1e-5)
    assert sum(map(sum, scores["confusion_matrix"])) == 64
    correct = sum(scores["confusion_matrix"][k][k] for k in range(10))
    assert correct / 64 == scores["test"]["accuracy"]


def test_precision_and_recall_of_a_class_are_read_off_the_confusion_matrix() -> None:
    labels = np.array([0, 0, 0, 1], np.uint8)
    scores = score(one_hot([0, 0, 1, 1]), labels)
    assert scores["confusion_matrix"][0][:2] == [2, 1]
    assert scores["confusion_matrix"][1][:2] == [0, 1]
    assert list(scores["classes"]) == list(CLASS_NAMES)
    assert scores["classes"]["T-shirt/top"] == {
        "precision": 1.0,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(0.8),
        "support": 3,
    }
    assert scores["classes"]["Trouser"]["precision"] == 0.5
    assert scores["classes"]["Bag"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    json.dumps(scores, allow_nan=False)


def test_the_loss_of_a_sure_mistake_is_finite() -> None:
    assert cross_entropy(one_hot([1]), np.array([0], np.uint8)) == pytest.approx(16.118, abs=1e-3)


@pytest.mark.parametrize(
    ("confidence", "guesses", "error"),
    [
        (0.8, [0, 0, 0, 0, 1], 0.0),  # four of five right, 80 % sure
        (1.0, [0, 0, 0, 0, 0], 0.0),
        (1.0, [1, 1, 1, 1, 1], 1.0),
        (0.5, [0, 0, 0, 0, 0], 0.5),
    ],
)
def test_calibration_error_is_the_gap_between_confidence_and_accuracy(
    confidence: float, guesses: list[int], error: float
) -> None:
    labels = np.zeros(5, np.uint8)
    measured = expected_calibration_error(one_hot(guesses, confidence), labels)
    assert measured == pytest.approx(error, abs=1e-6)


def test_gaps_of_different_bins_do_not_cancel() -> None:
    probabilities = np.concatenate([one_hot([1], 0.9), one_hot([0], 0.5)])
    labels = np.zeros(2, np.uint8)
    assert expected_calibration_error(probabilities, labels) == pytest.approx((0.9 + 0.5) / 2)
