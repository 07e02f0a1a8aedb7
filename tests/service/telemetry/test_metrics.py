"""Metrics of requests, predictions and versions."""

import numpy as np
import pytest

from service.telemetry.metrics import Metrics
from service.telemetry.record import Predictions, RequestRecord
from tests.service.conftest import samples_of

CLASSES = ("shirt", "bag", "boot")


@pytest.mark.parametrize("count", [1, 16, 17, 200])
def test_batch_is_counted_like_its_images_one_by_one(count: int) -> None:
    random = np.random.default_rng(count)
    probabilities = random.dirichlet([0.3] * 3, count).astype(np.float32)
    novelty = random.normal(10, 60, count).astype(np.float32)
    novelty[0] = -20  # Exactly the bound of a bucket.
    for broken in range(3, count, 7):
        probabilities[broken] = novelty[broken] = np.nan
    together, alone = Metrics(), Metrics()
    together.count_predictions(Predictions(3, CLASSES, probabilities, novelty))
    for row, score in zip(probabilities, novelty, strict=True):
        alone.count_predictions(Predictions(3, CLASSES, row[None], score[None]))
    expected = {n: v for n, v in prediction_samples(alone).items() if v}
    assert {n: v for n, v in prediction_samples(together).items() if v} == pytest.approx(expected)
    assert expected["fashion_mnist_confidence_count"] == count - len(range(3, count, 7))


def test_non_finite_predictions_are_not_counted() -> None:
    metrics = Metrics()
    nothing = np.full((40, 3), np.nan, np.float32)
    metrics.count_predictions(Predictions(3, CLASSES, nothing, nothing[:, 0]))
    assert prediction_samples(metrics)["fashion_mnist_confidence_count"] == 0
    assert prediction_samples(metrics)["fashion_mnist_novelty_count"] == 0


def test_request_is_counted_with_its_predictions() -> None:
    metrics = Metrics()
    record = completed_request()
    record.key = "shop"
    record.predictions = Predictions(3, CLASSES, np.eye(3, dtype=np.float32)[:2], None)
    metrics.count_request(record)
    samples = samples_of(metrics.write())
    for name, value in {
        'fashion_mnist_requests_total{method="PUT",route="/predict",status="200"}': 1,
        'fashion_mnist_request_seconds_count{route="/predict"}': 1,
        'fashion_mnist_phase_seconds_count{phase="infer"}': 1,
        "fashion_mnist_images_total": 2,
        "fashion_mnist_batch_images_sum": 2,
        'fashion_mnist_key_requests_total{key="shop",status="200"}': 1,
        'fashion_mnist_predicted_total{label="shirt",version="3"}': 1,
        'fashion_mnist_predicted_total{label="bag",version="3"}': 1,
        'fashion_mnist_rejected_total{reason="invalid_image"}': 0,
    }.items():
        assert samples[name] == value, name


def test_error_of_a_request_is_counted() -> None:
    metrics = Metrics()
    record = completed_request()
    record.status, record.error_code = 400, "invalid_image"
    metrics.count_request(record)
    assert samples_of(metrics.write())['fashion_mnist_rejected_total{reason="invalid_image"}'] == 1


def test_series_of_classes_and_versions_exist_before_the_first_prediction() -> None:
    metrics = Metrics()
    metrics.set_versions({3: CLASSES}, [2, 3])
    samples = samples_of(metrics.write())
    assert {
        samples[f'fashion_mnist_predicted_total{{label="{c}",version="3"}}'] for c in CLASSES
    } == {0}
    assert samples['fashion_mnist_model_version{version="2"}'] == 0
    assert samples['fashion_mnist_model_version{version="3"}'] == 1
    assert samples["fashion_mnist_workers_ready"] == 1
    assert metrics.versions_of_workers() == [{3}]
    metrics.set_versions({}, [2, 3])
    assert metrics.versions_of_workers() == [set()]


def completed_request(images: int = 2) -> RequestRecord:
    record = RequestRecord("mine", method="PUT", route="/predict", status=200, version=3)
    record.record_phase("receive")
    record.record_phase("prepare")
    record.record_run(images)
    record.end()
    return record


def prediction_samples(metrics: Metrics) -> dict[str, float]:
    families = ("fashion_mnist_predicted", "fashion_mnist_confidence", "fashion_mnist_novelty")
    return {n: v for n, v in samples_of(metrics.write()).items() if n.startswith(families)}
