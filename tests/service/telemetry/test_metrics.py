"""What is counted of many pictures at once is what is counted of them one by one."""

import numpy as np
import pytest

from service.telemetry.metrics import Metrics
from tests.service.conftest import samples_of

CLASSES = ("shirt", "bag", "boot")


@pytest.mark.parametrize("count", [1, 16, 17, 200])
def test_predictions_of_a_batch_are_counted_as_those_of_its_pictures(count: int) -> None:
    random = np.random.default_rng(count)
    probabilities = random.dirichlet([0.3] * 3, count).astype(np.float32)
    novelty = random.normal(10, 60, count).astype(np.float32)
    novelty[0] = -20  # Just at the end of a bucket.
    for broken in range(3, count, 7):
        probabilities[broken] = novelty[broken] = np.nan
    together, alone = Metrics(), Metrics()
    together.count_predictions(3, CLASSES, probabilities, novelty)
    for row, score in zip(probabilities, novelty, strict=True):
        alone.count_predictions(3, CLASSES, row[None], score[None])
    expected = {n: v for n, v in counted(alone).items() if v}
    assert {n: v for n, v in counted(together).items() if v} == pytest.approx(expected)
    assert expected["fashion_mnist_confidence_count"] == count - len(range(3, count, 7))


def test_a_batch_with_nothing_finite_in_it_is_not_counted() -> None:
    metrics = Metrics()
    nothing = np.full((40, 3), np.nan, np.float32)
    metrics.count_predictions(3, CLASSES, nothing, nothing[:, 0])
    assert counted(metrics)["fashion_mnist_confidence_count"] == 0
    assert counted(metrics)["fashion_mnist_novelty_count"] == 0


def counted(metrics: Metrics) -> dict[str, float]:
    families = ("fashion_mnist_predicted", "fashion_mnist_confidence", "fashion_mnist_novelty")
    return {n: v for n, v in samples_of(metrics.write()).items() if n.startswith(families)}
