"""A record attributes the time of a request to its phases."""

import numpy as np

from service.telemetry.record import Predictions, RequestRecord


def test_phases_add_up_to_no_more_than_the_whole_and_keep_their_order() -> None:
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


def test_a_second_run_for_the_maps_of_the_same_images_counts_them_once() -> None:
    record = RequestRecord("mine")
    predictions = Predictions(3, ("bag",), np.ones((2, 1), np.float32), None)
    record.record_run(2, predictions)
    record.record_run(2)
    assert (record.images, record.batch, record.predictions) == (2, 2, predictions)


def test_a_request_without_an_answer_has_failed() -> None:
    record = RequestRecord("mine")
    assert record.status == 500
    record.status = 200
    record.fail()
    assert (record.status, record.error_code) == (500, "internal_error")
