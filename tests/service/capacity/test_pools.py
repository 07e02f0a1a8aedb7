import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack

import pytest

from service.capacity.admission import Admission, Ticket
from service.errors import DeadlineExceeded, InvalidImage, Overloaded
from service.capacity.pools import (
    LONG_JOB_NICENESS,
    QUICK_PIXELS,
    SECONDS_A_LONG_JOB,
    WAITING_SHARE,
    Lanes,
    available_processors,
)


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    lanes = Lanes(1)
    yield lanes
    lanes.close()


@pytest.fixture
def admission() -> Admission:
    return Admission(max_images=100, max_bytes=100)


def in_loop(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


def test_a_short_job_runs_at_full_priority_and_a_long_one_lower(
    lanes: Lanes, admission: Admission
) -> None:
    runs: list[tuple[str, int]] = []

    def job(ticket: Ticket, pixels: int) -> str:
        niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        runs.append((threading.current_thread().name, niceness))
        ticket.weigh(pixels)
        return "done"

    async def test() -> None:
        for pixels in (QUICK_PIXELS, QUICK_PIXELS + 1):
            with admission.admit() as ticket:
                assert await lanes.run(lambda t=ticket, p=pixels: job(t, p), ticket) == "done"  # type: ignore[misc]

    usual = os.getpriority(os.PRIO_PROCESS, 0)
    in_loop(test)
    long = min(19, usual + LONG_JOB_NICENESS) if sys.platform == "linux" else usual
    assert runs == [("quick_0", usual), ("quick_0", usual), ("long_0", long)]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority on Linux alone")
def test_a_thread_that_a_long_job_has_started_is_of_the_same_priority(admission: Admission) -> None:
    lanes = Lanes(2)

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def job(ticket: Ticket) -> list[int]:
        ticket.weigh(QUICK_PIXELS + 1)
        assert ticket.helpers is not None
        return [niceness(), ticket.helpers.pool.submit(niceness).result(30)]

    async def test() -> None:
        with admission.admit() as ticket:
            found.extend(await lanes.run(lambda: job(ticket), ticket))

    found: list[int] = []
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    in_loop(test)
    lanes.close()
    assert found == [min(19, usual + LONG_JOB_NICENESS)] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="threads have processors on Linux alone")
def test_threads_of_long_jobs_stay_apart_if_each_can_have_a_processor(admission: Admission) -> None:
    processors = os.sched_getaffinity(0)

    def places(threads: int) -> list[set[int]]:
        lanes = Lanes(threads)
        meet = threading.Barrier(threads)

        def job(ticket: Ticket) -> set[int]:
            ticket.weigh(QUICK_PIXELS + 1)
            meet.wait(30)
            return os.sched_getaffinity(threading.get_native_id())

        async def one() -> set[int]:
            with admission.admit() as ticket:
                return await lanes.run(lambda: job(ticket), ticket)

        found: list[set[int]] = []

        async def test() -> None:
            found.extend(await asyncio.gather(*(one() for _ in range(threads))))

        in_loop(test)
        lanes.close()
        return found

    assert sorted(places(len(processors)), key=min) == [{each} for each in sorted(processors)]
    more = len(processors) + 1
    assert places(more) == [processors] * more


def test_short_jobs_do_not_wait_for_long_ones(lanes: Lanes, admission: Admission) -> None:
    may_end = threading.Event()

    def long_job(ticket: Ticket) -> bool:
        ticket.weigh(QUICK_PIXELS + 1)
        return may_end.wait(30)

    async def test() -> None:
        with admission.admit() as long, admission.admit() as short:
            waiting = asyncio.create_task(lanes.run(lambda: long_job(long), long))
            while admission.images < 2:
                await asyncio.sleep(0.001)
            for _ in range(20):
                assert await lanes.run(lambda: "short", short) == "short"
            assert not waiting.done()
            may_end.set()
            assert await waiting

    in_loop(test)


def test_what_has_not_begun_by_its_deadline_never_does(lanes: Lanes, admission: Admission) -> None:
    may_end = threading.Event()
    ran = []

    async def test() -> None:
        with admission.admit() as first, admission.admit() as second:
            blocking = asyncio.create_task(lanes.run(lambda: may_end.wait(30), first))
            await asyncio.sleep(0.01)
            second.start_clock(0.02)
            with pytest.raises(DeadlineExceeded):
                await lanes.run(lambda: ran.append("second"), second)
            may_end.set()
            await blocking
            assert await lanes.run(lambda: "next", first) == "next"

    in_loop(test)
    assert not ran
    assert admission.images == 0


def test_what_has_begun_stops_at_its_next_step_and_keeps_its_place_until_then(
    lanes: Lanes, admission: Admission
) -> None:
    may_go_on, stopped = threading.Event(), threading.Event()

    def job(ticket: Ticket) -> None:
        may_go_on.wait(30)
        try:
            ticket.check()
        except DeadlineExceeded:
            stopped.set()

    async def test() -> None:
        with admission.admit() as ticket:
            ticket.start_clock(0.5)  # Enough to begin.
            with pytest.raises(DeadlineExceeded):
                await lanes.run(lambda: job(ticket), ticket)
        assert admission.images == 1
        may_go_on.set()

    in_loop(test)
    assert stopped.wait(30)
    for _ in range(1000):
        if admission.images == 0:
            return
        time.sleep(0.01)
    pytest.fail("the place was not given back")


def test_a_job_whose_turn_would_come_too_late_is_refused_at_once(
    lanes: Lanes, admission: Admission
) -> None:
    may_end = threading.Event()
    ran = []

    async def test() -> None:
        with admission.admit() as ticket:
            for _ in range(30):  # By now it is known that a job takes some 10 ms.
                await lanes.run(lambda: time.sleep(0.01), ticket)
            waiting = [
                asyncio.create_task(lanes.run(lambda: may_end.wait(30), ticket)) for _ in range(20)
            ]
            await asyncio.sleep(0)
            with admission.admit() as urgent:
                urgent.start_clock(0.05)
                with pytest.raises(Overloaded, match="20 jobs come before it"):
                    await lanes.run(lambda: ran.append("urgent"), urgent)
            may_end.set()
            with admission.admit() as patient:
                patient.start_clock(30)
                await lanes.run(lambda: ran.append("patient"), patient)
            await asyncio.gather(*waiting)

    in_loop(test)
    assert ran == ["patient"]


def test_long_work_is_refused_before_it_begins_only_while_there_is_much_of_it(
    lanes: Lanes, admission: Admission
) -> None:
    may_end = threading.Event()

    def long_job(ticket: Ticket, seconds: float) -> None:
        ticket.weigh(QUICK_PIXELS + 1)
        may_end.wait(seconds)

    async def one_long_job() -> None:
        with admission.admit() as ticket:
            await lanes.run(lambda: long_job(ticket, 30), ticket)

    async def until_refused() -> None:
        while True:  # They change lanes one after the other.
            lanes.announce_long_job(0.05)
            await asyncio.sleep(0.001)

    async def test() -> None:
        lanes.announce_long_job(0.001)
        with admission.admit() as ticket:
            for _ in range(30):
                await lanes.run(lambda: long_job(ticket, 0.01), ticket)
            waiting = [asyncio.create_task(one_long_job()) for _ in range(20)]
            with pytest.raises(Overloaded):
                await until_refused()
            lanes.announce_long_job(30)
            may_end.set()
            await asyncio.gather(*waiting)
        lanes.announce_long_job(0.001)

    in_loop(test)


def test_long_work_counts_from_its_head_to_the_end_of_its_body(
    lanes: Lanes, admission: Admission
) -> None:
    seconds = 1.5 * SECONDS_A_LONG_JOB / WAITING_SHARE  # enough for one to wait for

    async def test() -> None:
        with admission.admit() as ticket:
            with lanes.expect_long_job(seconds, ticket):
                with (
                    lanes.expect_long_job(seconds, ticket),
                    pytest.raises(Overloaded, match="2 jobs"),
                ):
                    lanes.announce_long_job(seconds)
                lanes.announce_long_job(seconds)
                with pytest.raises(Overloaded, match="2 jobs"):
                    lanes.expect_long_job(seconds, ticket).__enter__()
                await asyncio.sleep(0)  # What was only announced is forgotten.
                with lanes.expect_long_job(seconds, ticket):
                    pass
            lanes.announce_long_job(seconds)

    in_loop(test)


def test_long_work_whose_body_was_received_is_not_refused_for_others_before_it(
    lanes: Lanes, admission: Admission
) -> None:
    async def run(ticket: Ticket) -> None:
        ticket.start_clock(10 * SECONDS_A_LONG_JOB)
        await lanes.run(lambda: ticket.weigh(QUICK_PIXELS + 1), ticket)

    async def test() -> None:
        with ExitStack() as stack:
            known, other, late = (stack.enter_context(admission.admit()) for _ in range(3))
            with lanes.expect_long_job(30, known):
                pass
            for _ in range(3):  # whose bodies are still received
                stack.enter_context(lanes.expect_long_job(30, other))
            await run(known)
            with pytest.raises(Overloaded, match="3 jobs"):
                await run(late)

    in_loop(test)


def test_a_cancelled_caller_cancels_its_work(lanes: Lanes, admission: Admission) -> None:
    may_end = threading.Event()
    ran = []

    async def test() -> None:
        with admission.admit() as first, admission.admit() as second:
            blocking = asyncio.create_task(lanes.run(lambda: may_end.wait(30), first))
            await asyncio.sleep(0.01)
            waiting = asyncio.create_task(lanes.run(lambda: ran.append("second"), second))
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            may_end.set()
            await blocking

    in_loop(test)
    assert not ran
    assert admission.images == 0


def test_what_a_job_raises_is_raised(lanes: Lanes, admission: Admission) -> None:
    def job() -> None:
        raise InvalidImage("broken")

    async def test() -> None:
        with admission.admit() as ticket, pytest.raises(InvalidImage, match="broken"):
            await lanes.run(job, ticket)
        assert admission.images == 0

    in_loop(test)


def test_there_is_a_processor() -> None:
    assert 1 <= available_processors() <= (os.cpu_count() or 1)


def test_only_a_long_job_has_helpers(lanes: Lanes, admission: Admission) -> None:
    def job(ticket: Ticket, pixels: int) -> bool:
        ticket.weigh(pixels)
        return ticket.helpers is not None

    async def test() -> None:
        for pixels, has_helpers in ((QUICK_PIXELS, False), (QUICK_PIXELS + 1, True)):
            with admission.admit() as ticket:
                answer = await lanes.run(lambda t=ticket, p=pixels: job(t, p), ticket)  # type: ignore[misc]
                assert answer is has_helpers

    in_loop(test)


def test_jobs_are_counted_however_they_end(lanes: Lanes, admission: Admission) -> None:
    def fail() -> None:
        raise InvalidImage("no picture")

    async def test() -> None:
        with admission.admit() as ticket:
            await lanes.run(lambda: None, ticket)
        with admission.admit() as ticket, pytest.raises(InvalidImage):
            await lanes.run(fail, ticket)

    in_loop(test)
    lanes.close()
    assert lanes.jobs_done == 2
