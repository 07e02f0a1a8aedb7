import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack

import pytest

from service.capacity.admission import Admission, Deferred, Permit
from service.capacity.pools import (
    INITIAL_LARGE_SECONDS,
    LARGE_NICENESS,
    SMALL_PIXELS,
    WAITING_SHARE,
    Pools,
    available_processors,
)
from service.errors import DeadlineExceeded, InvalidImage, Overloaded
from service.telemetry.record import RequestRecord


@pytest.fixture
def pools() -> Iterator[Pools]:
    pools = Pools(1)
    yield pools
    pools.close()


@pytest.fixture
def admission() -> Admission:
    return Admission(max_images=100, max_bytes=100)


def admit(admission: Admission) -> Permit:
    return admission.admit(RequestRecord("test"))


def run_in_event_loop(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


def test_small_job_has_normal_priority_and_a_large_one_lower_priority(
    pools: Pools, admission: Admission
) -> None:
    runs: list[tuple[str, int]] = []

    def job(permit: Permit, pixels: int) -> str:
        niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        runs.append((threading.current_thread().name, niceness))
        permit.charge_pixels(pixels)
        return "done"

    async def test() -> None:
        for pixels in (SMALL_PIXELS, SMALL_PIXELS + 1):
            with admit(admission) as permit:
                assert await pools.run(lambda t=permit, p=pixels: job(t, p), permit) == "done"  # type: ignore[misc]

    usual = os.getpriority(os.PRIO_PROCESS, 0)
    run_in_event_loop(test)
    lower = min(19, usual + LARGE_NICENESS) if sys.platform == "linux" else usual
    assert runs == [("small_0", usual), ("small_0", usual), ("large_0", lower)]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority only on Linux")
def test_worker_thread_of_a_large_job_has_its_priority(admission: Admission) -> None:
    pools = Pools(2)

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def job(permit: Permit) -> list[int]:
        permit.charge_pixels(SMALL_PIXELS + 1)
        assert permit.workers is not None
        return [niceness(), permit.workers.executor.submit(niceness).result(30)]

    async def test() -> None:
        with admit(admission) as permit:
            found.extend(await pools.run(lambda: job(permit), permit))

    found: list[int] = []
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    run_in_event_loop(test)
    pools.close()
    assert found == [min(19, usual + LARGE_NICENESS)] * 2


def test_small_jobs_do_not_wait_for_large_ones(pools: Pools, admission: Admission) -> None:
    may_end = threading.Event()

    def large_job(permit: Permit) -> bool:
        permit.charge_pixels(SMALL_PIXELS + 1)
        return may_end.wait(30)

    async def test() -> None:
        with admit(admission) as large, admit(admission) as small:
            waiting = asyncio.create_task(pools.run(lambda: large_job(large), large))
            while admission.images < 2:
                await asyncio.sleep(0.001)
            for _ in range(20):
                assert await pools.run(lambda: "small", small) == "small"
            assert not waiting.done()
            may_end.set()
            assert await waiting

    run_in_event_loop(test)


def test_job_that_has_not_started_by_its_deadline_never_starts(
    pools: Pools, admission: Admission
) -> None:
    may_end = threading.Event()
    ran = []

    async def test() -> None:
        with admit(admission) as first, admit(admission) as second:
            blocking = asyncio.create_task(pools.run(lambda: may_end.wait(30), first))
            await asyncio.sleep(0.01)
            second.start_deadline(0.02)
            with pytest.raises(DeadlineExceeded):
                await pools.run(lambda: ran.append("second"), second)
            may_end.set()
            await blocking
            assert await pools.run(lambda: "next", first) == "next"

    run_in_event_loop(test)
    assert not ran
    assert admission.images == 0


def test_started_job_stops_at_its_next_check_and_holds_capacity_until_then(
    pools: Pools, admission: Admission
) -> None:
    may_go_on, stopped = threading.Event(), threading.Event()

    def job(permit: Permit) -> None:
        may_go_on.wait(30)
        try:
            permit.check()
        except DeadlineExceeded:
            stopped.set()

    async def test() -> None:
        with admit(admission) as permit:
            permit.start_deadline(0.5)  # Enough to start.
            with pytest.raises(DeadlineExceeded):
                await pools.run(lambda: job(permit), permit)
        assert admission.images == 1
        may_go_on.set()

    run_in_event_loop(test)
    assert stopped.wait(30)
    for _ in range(1000):
        if admission.images == 0:
            return
        time.sleep(0.01)
    pytest.fail("the capacity was not released")


def test_job_that_would_start_after_its_deadline_is_rejected_immediately(
    pools: Pools, admission: Admission
) -> None:
    may_end = threading.Event()
    ran = []

    async def test() -> None:
        with admit(admission) as permit:
            for _ in range(30):  # The estimate becomes about 10 ms per job.
                await pools.run(lambda: time.sleep(0.01), permit)
            waiting = [
                asyncio.create_task(pools.run(lambda: may_end.wait(30), permit)) for _ in range(20)
            ]
            await asyncio.sleep(0)
            with admit(admission) as urgent:
                urgent.start_deadline(0.05)
                with pytest.raises(Overloaded, match="20 jobs are queued ahead"):
                    await pools.run(lambda: ran.append("urgent"), urgent)
            may_end.set()
            with admit(admission) as patient:
                patient.start_deadline(30)
                await pools.run(lambda: ran.append("patient"), patient)
            await asyncio.gather(*waiting)

    run_in_event_loop(test)
    assert ran == ["patient"]


def test_large_jobs_are_rejected_in_advance_only_while_many_are_queued(
    pools: Pools, admission: Admission
) -> None:
    may_end = threading.Event()

    def large_job(permit: Permit, seconds: float) -> None:
        permit.charge_pixels(SMALL_PIXELS + 1)
        may_end.wait(seconds)

    async def one_large_job() -> None:
        with admit(admission) as permit:
            await pools.run(lambda: large_job(permit, 30), permit)

    async def until_rejected() -> None:
        while True:  # Jobs enter the large pool one by one.
            pools.check_large_job(0.05)
            await asyncio.sleep(0.001)

    async def test() -> None:
        pools.check_large_job(0)
        with admit(admission) as permit:
            for _ in range(30):
                await pools.run(lambda: large_job(permit, 0.01), permit)
            waiting = [asyncio.create_task(one_large_job()) for _ in range(20)]
            with pytest.raises(Overloaded):
                await until_rejected()
            pools.check_large_job(30)
            may_end.set()
            await asyncio.gather(*waiting)
        pools.check_large_job(0.001)

    run_in_event_loop(test)


def test_received_large_job_may_wait_longer_than_an_announced_one(
    pools: Pools, admission: Admission
) -> None:
    may_end = threading.Event()
    seconds = 1.5 * INITIAL_LARGE_SECONDS / WAITING_SHARE  # enough to wait for one job

    async def run(permit: Permit, job: Callable[[], object]) -> None:
        permit.start_deadline(seconds)
        permit.is_large = True
        await pools.run(job, permit)

    async def test() -> None:
        with ExitStack() as stack:
            permits = [stack.enter_context(admit(admission)) for _ in range(4)]
            pools.check_large_job(seconds)
            first, second = (
                asyncio.create_task(run(permit, lambda: may_end.wait(30))) for permit in permits[:2]
            )
            await asyncio.sleep(0)
            with pytest.raises(Overloaded, match="2 jobs"):
                pools.check_large_job(seconds)
            third = asyncio.create_task(run(permits[2], lambda: None))
            await asyncio.sleep(0)
            fourth = asyncio.create_task(run(permits[3], lambda: None))
            with pytest.raises(Overloaded, match="3 jobs"):
                await fourth
            may_end.set()
            await asyncio.gather(first, second, third)
            pools.check_large_job(seconds)

    run_in_event_loop(test)


def test_cancelled_caller_cancels_its_queued_job(pools: Pools, admission: Admission) -> None:
    may_end = threading.Event()
    ran = []

    async def test() -> None:
        with admit(admission) as first, admit(admission) as second:
            blocking = asyncio.create_task(pools.run(lambda: may_end.wait(30), first))
            await asyncio.sleep(0.01)
            waiting = asyncio.create_task(pools.run(lambda: ran.append("second"), second))
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            may_end.set()
            await blocking

    run_in_event_loop(test)
    assert not ran
    assert admission.images == 0


def test_closing_drops_the_jobs_that_have_not_started(pools: Pools, admission: Admission) -> None:
    may_end = threading.Event()
    ran = []

    async def test() -> None:
        with admit(admission) as first, admit(admission) as second:
            running = asyncio.create_task(pools.run(lambda: may_end.wait(30), first))
            waiting = asyncio.create_task(pools.run(lambda: ran.append("second"), second))
            await asyncio.sleep(0.01)
            pools.close()
            may_end.set()
            assert await running
            with pytest.raises(asyncio.CancelledError):
                await waiting

    run_in_event_loop(test)
    assert not ran


def test_exception_of_a_job_is_raised(pools: Pools, admission: Admission) -> None:
    def job() -> None:
        raise InvalidImage("broken")

    async def test() -> None:
        with admit(admission) as permit, pytest.raises(InvalidImage, match="broken"):
            await pools.run(job, permit)
        assert admission.images == 0

    run_in_event_loop(test)


def test_at_least_one_processor_is_available() -> None:
    assert 1 <= available_processors() <= (os.cpu_count() or 1)


def test_only_large_jobs_have_worker_threads(pools: Pools, admission: Admission) -> None:
    def job(permit: Permit, pixels: int) -> int | None:
        permit.charge_pixels(pixels)
        return None if permit.workers is None else permit.workers.limit

    async def test() -> None:
        # The job itself occupies one thread of its pool.
        for pixels, workers in ((SMALL_PIXELS, None), (SMALL_PIXELS + 1, 0)):
            with admit(admission) as permit:
                answer = await pools.run(lambda t=permit, p=pixels: job(t, p), permit)  # type: ignore[misc]
                assert answer == workers

    run_in_event_loop(test)


def test_inline_job_runs_in_the_callers_thread_and_is_deferred_if_large(
    pools: Pools, admission: Admission
) -> None:
    def job(permit: Permit, pixels: int) -> str:
        permit.charge_pixels(pixels)
        return threading.current_thread().name

    with admit(admission) as permit:
        name = threading.current_thread().name
        assert pools.run_inline(lambda: job(permit, SMALL_PIXELS), permit) == name
        with pytest.raises(Deferred):
            pools.run_inline(lambda: job(permit, SMALL_PIXELS + 1), permit)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has processor affinity of threads")
def test_threads_of_large_jobs_are_pinned_if_there_is_a_processor_for_each(
    admission: Admission,
) -> None:
    processors = os.sched_getaffinity(0)

    def affinities(threads: int) -> list[set[int]]:
        pools = Pools(threads)
        meet = threading.Barrier(threads)

        def job(permit: Permit) -> set[int]:
            permit.charge_pixels(SMALL_PIXELS + 1)
            meet.wait(30)
            return os.sched_getaffinity(threading.get_native_id())

        async def one() -> set[int]:
            with admission.admit(RequestRecord("")) as permit:
                return await pools.run(lambda: job(permit), permit)

        async def all_of_them() -> list[set[int]]:
            return await asyncio.gather(*(one() for _ in range(threads)))

        found = asyncio.run(all_of_them())
        pools.close()
        return found

    assert sorted(affinities(len(processors)), key=min) == [{each} for each in sorted(processors)]
    more = len(processors) + 1
    assert affinities(more) == [processors] * more
