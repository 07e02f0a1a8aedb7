import time

import pytest

from service.capacity.admission import SMALL_BYTES, Admission, Deferred, Limits, Permit
from service.errors import DeadlineExceeded, Draining, Overloaded
from service.telemetry.record import RequestRecord


@pytest.fixture
def admission() -> Admission:
    return Admission(max_images=10, max_bytes=100)


def admit(admission: Admission, images: int = 1) -> Permit:
    return admission.admit(RequestRecord("test"), images)


def test_capacity_is_released_when_the_last_user_of_a_permit_exits(
    admission: Admission,
) -> None:
    with admit(admission) as permit:
        permit.reserve_images(4)
        permit.reserve_bytes(30)
        permit.__enter__()
        assert (admission.images, admission.bytes) == (4, 30)
    assert (admission.images, admission.bytes) == (4, 30)
    permit.__exit__()
    assert (admission.images, admission.bytes) == (0, 0)


def test_permit_has_the_record_and_limits_of_its_request() -> None:
    record, limits = RequestRecord("test"), Limits(max_images=3)
    admission = Admission(max_images=10, max_bytes=100, limits=limits)
    with admission.admit(record) as permit:
        assert permit.record is record
        assert permit.limits is limits


def test_changes_of_images_in_flight_are_reported() -> None:
    changes: list[int] = []
    admission = Admission(max_images=10, max_bytes=100, on_change=changes.append)
    with admit(admission) as permit:
        permit.reserve_images(4)
        permit.reserve_bytes(1)
    assert changes == [1, 3, -4]


def test_reserving_no_more_images_than_before_changes_nothing(admission: Admission) -> None:
    with admit(admission) as permit:
        permit.reserve_images(4)
        permit.reserve_images(4)
        permit.reserve_images(3)
        assert admission.images == 4


def test_images_over_the_limit_are_rejected_without_affecting_those_in_flight(
    admission: Admission,
) -> None:
    with admit(admission) as first, admit(admission) as second:
        first.reserve_images(6)
        with pytest.raises(Overloaded, match="7 images are in flight; the limit is 10"):
            second.reserve_images(5)
        second.reserve_images(4)
        with pytest.raises(Overloaded):
            admit(admission)
        with pytest.raises(Overloaded):
            admission.check()
        with admit(admission, images=0):
            assert admission.images == 10
    assert admission.images == 0


def test_bytes_over_the_limit_are_rejected_with_a_reserve_for_small_requests() -> None:
    admission = Admission(max_images=10, max_bytes=4 * SMALL_BYTES)
    with admit(admission) as large, admit(admission) as small:
        large.reserve_bytes(3 * SMALL_BYTES)
        with pytest.raises(Overloaded, match=f"{3 * SMALL_BYTES} bytes"):
            large.reserve_bytes(SMALL_BYTES + 1)
        large.reserve_bytes(SMALL_BYTES)
        small.reserve_bytes(SMALL_BYTES)
        admission.check()  # Exactly full: a request without bytes is accepted.
        with pytest.raises(Overloaded, match=f"the limit is {5 * SMALL_BYTES}"):
            admission.admit(RequestRecord("test"), byte_count=1)
    assert admission.bytes == 0


def test_growing_request_loses_the_reserve_for_small_requests() -> None:
    admission = Admission(max_images=10, max_bytes=2 * SMALL_BYTES)
    with admit(admission) as other, admit(admission) as growing:
        growing.reserve_bytes(SMALL_BYTES)
        other.reserve_bytes(SMALL_BYTES)
        with pytest.raises(Overloaded, match=f"limit is {2 * SMALL_BYTES}"):
            growing.reserve_bytes(1)


def test_hold_counts_bytes_only_during_its_block(admission: Admission) -> None:
    with admit(admission) as permit:
        with admission.hold(100):
            assert (admission.images, admission.bytes) == (1, 100)
            with pytest.raises(Overloaded):
                permit.reserve_bytes(26)  # A small request may take a quarter more.
        assert (admission.images, admission.bytes) == (1, 0)


def test_closed_admission_rejects_new_requests_but_not_existing_permits(
    admission: Admission,
) -> None:
    with admit(admission) as permit:
        admission.close()
        with pytest.raises(Draining):
            admit(admission)
        with pytest.raises(Draining):
            admission.check()
        permit.reserve_images(5)
        assert admission.images == 5


def test_remaining_time_starts_when_the_admission_is_closed(admission: Admission) -> None:
    time.sleep(0.01)
    assert admission.remaining(30) == 30
    admission.close()
    time.sleep(0.01)
    assert 20 < admission.remaining(30) < 30
    assert admission.remaining(0.001) == 0


def test_checks_of_a_permit_raise_after_its_deadline_or_cancellation(admission: Admission) -> None:
    with admit(admission) as permit:
        permit.check()
        permit.start_deadline(0.005)
        time.sleep(0.01)
        with pytest.raises(DeadlineExceeded):
            permit.charge_pixels(1)
    with admit(admission) as permit:
        permit.cancel()
        with pytest.raises(DeadlineExceeded):
            permit.check()


def test_request_is_deferred_when_its_images_exceed_the_pixel_budget_in_total(
    admission: Admission,
) -> None:
    with admit(admission) as permit:
        permit.pixel_budget = 100
        permit.charge_pixels(60)
        permit.charge_pixels(40)
        with pytest.raises(Deferred):
            permit.charge_pixels(1)
