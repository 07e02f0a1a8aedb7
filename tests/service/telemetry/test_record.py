"""The record of a request: phases, images and status."""

import numpy as np

from service.telemetry.record import Predictions, RequestRecord


def test_phases_keep_their_order_and_sum_to_at_most_the_elapsed_time() -> None:
    record = RequestRecord("mine")
    record.record_phase("receive")
    record.record_start(3)
    for _ in range(2):
        record.record_phase("decode")
        record.record_phase("prepare")
    record.record_run(2)
    record.end()
    assert list(record.phases) == ["receive", "queue", "decode", "prepare", "infer"]
    assert 0 < sum(record.phases.values()) <= record.elapsed_ns
    assert record.version == 3


def test_second_inference_for_the_same_images_does_not_count_them_again() -> None:
    record = RequestRecord("mine")
    predictions = Predictions(3, ("bag",), np.ones((2, 1), np.float32), None)
    record.record_run(2, predictions)
    record.record_run(2)
    assert (record.images, record.batch, record.predictions) == (2, 2, predictions)


def test_request_is_an_internal_error_without_a_response_or_after_failing() -> None:
    record = RequestRecord("mine")
    assert record.status == 500
    record.status = 200
    record.fail()
    assert (record.status, record.error_code) == (500, "internal_error")
