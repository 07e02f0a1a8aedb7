"""Requests are counted and logged once, and have an id."""

import logging

import pytest

from service.telemetry.instrumentation import Instrumentation
from service.telemetry.metrics import Metrics
from tests.service.conftest import samples_of

COUNT = 'fashion_mnist_requests_total{method="PUT",route="/predict",status="%d"}'


@pytest.fixture
def instrumentation() -> Instrumentation:
    return Instrumentation(Metrics(), "0")


def test_request_is_counted_and_logged_when_it_ends(
    instrumentation: Instrumentation, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "service.access"):
        record = instrumentation.begin({"x-request-id": "mine"})
        record.method, record.route, record.status = "PUT", "/predict", 200
        record.target, record.client = "/predict?top_k=1", "127.0.0.1:1"
        assert not caplog.records
        instrumentation.end(record)
    [line] = caplog.messages
    assert line.startswith('127.0.0.1:1 - "PUT /predict?top_k=1" 200 ')
    assert line.endswith(" ms mine")
    assert samples_of(instrumentation.metrics.write())[COUNT % 200] == 1


def test_failed_request_is_counted_as_an_internal_error(
    instrumentation: Instrumentation,
) -> None:
    record = instrumentation.begin({})
    record.method, record.route = "PUT", "/predict"
    record.fail()
    instrumentation.end(record)
    samples = samples_of(instrumentation.metrics.write())
    assert (
        samples[COUNT % 500]
        == samples['fashion_mnist_rejected_total{reason="internal_error"}']
        == 1
    )


@pytest.mark.parametrize("sent", ["order-7.b", "a/b+c=d:e_f", "x" * 128])
def test_valid_request_id_is_kept(instrumentation: Instrumentation, sent: str) -> None:
    assert instrumentation.begin({"x-request-id": sent}).request_id == sent


@pytest.mark.parametrize("sent", ["", "has space", 'quo"te', "x" * 129, "line\n", "ü"])
def test_invalid_request_id_is_replaced_by_a_unique_one(
    instrumentation: Instrumentation, sent: str
) -> None:
    ids = {instrumentation.begin({"x-request-id": sent}).request_id for _ in range(3)}
    assert len(ids) == 3
    assert all(len(request_id) == 16 for request_id in ids)
