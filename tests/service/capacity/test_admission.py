import time

import pytest

from service.capacity.admission import Admission, GiveWay
from service.errors import DeadlineExceeded, Draining, Overloaded


@pytest.fixture
def admission() -> Admission:
    return Admission(max_images=10, max_bytes=100)


def test_a_request_has_its_place_until_the_last_of_its_users_leaves(admission: Admission) -> None:
    with admission.admit() as ticket:
        ticket.hold_images(4)
        ticket.hold_bytes(30)
        ticket.__enter__()
        assert (admission.images, admission.bytes) == (4, 30)
    assert (admission.images, admission.bytes) == (4, 30)
    ticket.__exit__()
    assert (admission.images, admission.bytes) == (0, 0)


def test_saying_the_number_of_images_twice_counts_them_once(admission: Admission) -> None:
    with admission.admit() as ticket:
        ticket.hold_images(4)
        ticket.hold_images(4)
        assert admission.images == 4


def test_past_the_images_it_is_full_and_what_is_in_flight_stays(admission: Admission) -> None:
    with admission.admit() as first, admission.admit() as second:
        first.hold_images(6)
        with pytest.raises(Overloaded, match="7 images are in flight, the most there may be is 10"):
            second.hold_images(5)
        second.hold_images(4)
        with pytest.raises(Overloaded):
            admission.admit()
        with admission.admit(images=0):
            assert admission.images == 10
    assert admission.images == 0


def test_past_the_bytes_it_is_full(admission: Admission) -> None:
    with admission.admit() as ticket:
        ticket.hold_bytes(60)
        with pytest.raises(Overloaded, match="60 bytes"):
            ticket.hold_bytes(41)
        ticket.hold_bytes(40)
    assert admission.bytes == 0


def test_once_closed_nothing_new_is_taken(admission: Admission) -> None:
    with admission.admit() as ticket:
        admission.close()
        with pytest.raises(Draining):
            admission.admit()
        ticket.hold_images(5)
        assert admission.images == 5


def test_work_stops_when_nobody_waits(admission: Admission) -> None:
    with admission.admit() as ticket:
        ticket.check()
        ticket.start_clock(0.005)
        time.sleep(0.01)
        with pytest.raises(DeadlineExceeded):
            ticket.weigh(1)
    with admission.admit() as ticket:
        ticket.cancel()
        with pytest.raises(DeadlineExceeded):
            ticket.check()


def test_a_request_gives_way_by_the_sum_of_its_pictures(admission: Admission) -> None:
    with admission.admit() as ticket:
        ticket.pixels_in_lane = 100
        ticket.weigh(60)
        ticket.weigh(40)
        with pytest.raises(GiveWay):
            ticket.weigh(1)
