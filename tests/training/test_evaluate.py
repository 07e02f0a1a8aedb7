import json

import keras
import numpy as np
import pytest

import training.fit  # noqa: F401 (registers the loss that a checkpoint names)
from tests.training.conftest import IDX_FOLDER, Published
from training.architecture import build_network
from training.data import CLASS_NAMES, load_fashion_mnist
from training.evaluate import cross_entropy, score, score_photographs
from training.novelty import measure_novelty
from training.photographs import KINDS, read_photographs
from training.recipe import Block, Network
from training.run import Run


def one_hot(classes: list[int], confidence: float = 1.0) -> np.ndarray[tuple[int, int], np.dtype]:
    rest = (1 - confidence) / 9
    return np.where(np.eye(10)[classes] == 1, confidence, rest).astype(np.float32)


def test_scores_equal_those_of_keras(tiny: Published) -> None:
    test = load_fashion_mnist(IDX_FOLDER, allow_other_data=True).test()
    model = keras.models.load_model(Run(tiny.run_dir).best)
    loss, accuracy = model.evaluate(test.images, np.eye(10)[test.labels], verbose=0)
    scores = Run(tiny.run_dir).read_evaluation()
    assert scores["test"]["images"] == 64
    assert scores["test"]["accuracy"] == pytest.approx(accuracy)
    assert scores["test"]["loss"] == pytest.approx(loss, rel=1e-5)
    assert sum(map(sum, scores["confusion_matrix"])) == 64
    correct = sum(scores["confusion_matrix"][k][k] for k in range(10))
    assert correct / 64 == scores["test"]["accuracy"]


def test_precision_recall_f1_and_support_follow_from_the_confusion_matrix() -> None:
    labels = np.array([0, 0, 0, 1], np.uint8)
    scores = score(one_hot([0, 0, 1, 1]), labels, CLASS_NAMES)
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


def test_loss_of_a_certain_mistake_is_finite() -> None:
    assert 16 < cross_entropy(one_hot([1]), np.array([0], np.uint8)) < 40


def test_any_class_of_a_photograph_is_correct_and_kinds_weigh_equally() -> None:
    photographs = read_photographs("validation")
    everything_is_a_sandal = one_hot([5] * len(photographs.label), 0.91)
    scores = score_photographs(everything_is_a_sandal, photographs)
    assert scores["kinds"] == {kind: float(kind == "Shoes") for kind in KINDS}
    assert scores["macro_average"] == pytest.approx(1 / 7)


def test_calibration_on_photographs_omits_those_with_several_correct_classes() -> None:
    photographs = read_photographs("validation")
    everything_is_a_sandal = one_hot([5] * len(photographs.label), 0.91)
    shoes = score_photographs(everything_is_a_sandal, photographs)
    assert shoes["expected_calibration_error"] == pytest.approx(0.91, abs=1e-4)
    everything_is_trousers = one_hot([1] * len(photographs.label), 0.91)
    trousers = score_photographs(everything_is_trousers, photographs)
    several = ("Shoes", "Polo")
    known = photographs.has_class & ~np.isin(photographs.label, several)
    correct_share = np.mean(photographs.label[known] == "Pants")
    assert trousers["expected_calibration_error"] == pytest.approx(0.91 - correct_share, abs=1e-4)


def test_photographs_have_a_separate_novelty_threshold() -> None:
    rng = np.random.default_rng(0)
    images = rng.random((40, 28, 28, 1), np.float32)
    model = build_network(Network(blocks=(Block(filters=2),), dense_units=4))
    photographs = read_photographs("validation")
    novelty = measure_novelty(model, images, images, photographs, seed=1)
    assert set(novelty["thresholds"]) == set(novelty["percentiles"]) == {"images", "photographs"}
    assert novelty["threshold"] == novelty["thresholds"]["images"]
    assert "photographs of body, hat, shorts, skirt" in novelty["outliers"]
    json.dumps(novelty, allow_nan=False)
