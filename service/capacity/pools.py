"""Runs the work of requests in threads, the long behind the short.

A photograph of twelve megapixels takes a thousand times as long as a picture of the data set. Were
they in one queue, whoever sends photographs would make everybody wait.
"""

import asyncio
import contextvars
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from service.capacity.admission import GiveWay, Ticket
from service.errors import DeadlineExceeded, Overloaded
from service.capacity.parallel import Helpers

QUICK_PIXELS = 64 * 64
"""What a request may decode in the quick lane; a picture of the data set has 784."""

WAITING_SHARE = 0.1
"""Of the time to its deadline that a job may have to wait. The estimate is rough, the work itself
takes time, and whatever waits is in memory."""

SECONDS_A_LONG_JOB = 0.05
"""What a long job is taken to need before there was one."""

WEIGHT_OF_LAST = 0.05
"""Of a job in the moving average of what jobs take."""

LONG_JOB_NICENESS = 10
"""More than the process has, as in nice(1): a short job gets the processor at once."""

T = TypeVar("T")


class Lanes:
    """Two pools of threads: one for short jobs, one of lower priority for long ones.

    A job begins in the quick lane, unless it is known to be long. Only when it turns out to be,
    which is before anything of it is decoded, does it start again in the other.
    """

    def __init__(self, threads: int) -> None:
        self._quick = _Lane("quick", threads, 0.0)
        self._long = _Lane(
            "long", threads, SECONDS_A_LONG_JOB, initializer=_Settling(threads).settle
        )

    def run_here(self, job: Callable[[], T], ticket: Ticket) -> T:
        """Return what `job` returns, run by the caller itself.

        Raises:
            GiveWay: It has more pixels than a short job may have.
        """
        ticket.pixels_in_lane = QUICK_PIXELS
        return job()

    async def run(self, job: Callable[[], T], ticket: Ticket) -> T:
        """Return what `job` returns.

        Raises:
            Overloaded: By what jobs took lately, its turn would come too late.
            DeadlineExceeded: It is not done by the ticket's deadline. Unless it has begun it never
                will; if it has, it stops when it next asks the ticket.
        """
        if not ticket.is_expected:
            try:
                ticket.pixels_in_lane = QUICK_PIXELS
                return await self._quick.run(job, ticket)
            except GiveWay:
                pass  # And let go of what it holds: the frames of the attempt.
        ticket.pixels_in_lane = float("inf")
        ticket.helpers = self._long.helpers
        return await self._long.run(job, ticket)

    @property
    def has_long_jobs(self) -> bool:
        """Whether a long job would have others before it."""
        return self._long.has_jobs

    @property
    def jobs_done(self) -> int:
        """How many jobs threads have finished, well or not."""
        return self._quick.jobs_done + self._long.jobs_done

    def announce_long_job(self, seconds: float) -> None:
        """Refuse a long job before anything is done for it.

        If it is not refused, it is counted until the event loop comes round: by then, whoever is to
        do it expects it.

        Args:
            seconds: How long it may take, waiting included.

        Raises:
            Overloaded: By what jobs took lately, its turn would come too late.
        """
        self._long.expect_job(seconds)
        asyncio.get_running_loop().call_soon(self._long.forget_job)

    @contextmanager
    def expect_long_job(self, seconds: float, ticket: Ticket) -> Iterator[None]:
        """Refuse a long job, or count it while its body is received.

        It will be there before those who come now: to receive their bodies would be for nothing,
        as it would be to refuse it when its own is there.

        Args:
            seconds: How long it may take, waiting included.
            ticket: Its place.

        Raises:
            Overloaded: On entering, as above.
        """
        self._long.expect_job(seconds)
        ticket.is_expected = True
        try:
            yield
        finally:
            self._long.forget_job()

    def close(self) -> None:
        """Drop what has not begun."""
        self._quick.close()
        self._long.close()


class _Lane:
    """A pool of threads that knows how long its queue takes."""

    def __init__(
        self,
        name: str,
        threads: int,
        seconds_a_job: float,
        *,
        initializer: Callable[[], None] | None = None,
    ) -> None:
        self._pool = ThreadPoolExecutor(threads, name, initializer=initializer)
        self.helpers = Helpers(self._pool, threads - 1)
        self._threads = threads
        self.jobs_done = 0
        self._jobs = self._expected = 0
        self._seconds_a_job = seconds_a_job
        self._lock = threading.Lock()

    @property
    def has_jobs(self) -> bool:
        return self._jobs > 0

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _check_queue(self, seconds: float) -> None:
        jobs = self._jobs + self._expected
        wait = jobs * self._seconds_a_job / self._threads
        if wait > WAITING_SHARE * max(0, seconds):
            raise Overloaded(f"{jobs} jobs come before it and take about {wait:.1f} seconds")

    def expect_job(self, seconds: float) -> None:
        self._check_queue(seconds)
        self._expected += 1  # By the event loop alone, as below.

    def forget_job(self) -> None:
        self._expected -= 1

    async def run(self, job: Callable[[], T], ticket: Ticket) -> T:
        if not ticket.is_expected:
            self._check_queue(ticket.deadline - time.monotonic())
        ticket.__enter__()
        with self._lock:
            self._jobs += 1
        future = self._pool.submit(contextvars.copy_context().run, self._work, job, ticket)
        future.add_done_callback(lambda _: self._leave(ticket))
        try:
            async with asyncio.timeout_at(_in_loop_time(ticket)):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            ticket.cancel()
            raise DeadlineExceeded("the answer was not ready in time") from error
        except asyncio.CancelledError:
            ticket.cancel()
            raise
        finally:
            # Its exception knows of this frame: pictures would wait for the garbage collector.
            del future

    def _work(self, job: Callable[[], T], ticket: Ticket) -> T:
        ticket.check()  # It may have waited long.
        start = time.monotonic()
        try:
            return job()
        finally:
            seconds = time.monotonic() - start
            with self._lock:
                self._seconds_a_job += WEIGHT_OF_LAST * (seconds - self._seconds_a_job)

    def _leave(self, ticket: Ticket) -> None:
        with self._lock:
            self._jobs -= 1
            self.jobs_done += 1
        ticket.__exit__()


def available_processors() -> int:
    """Return how many processors this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_loop_time(ticket: Ticket) -> float | None:
    return None if ticket.deadline == float("inf") else ticket.deadline


class _Settling:
    """Tells Linux what the threads of long jobs are; elsewhere, that is said of whole processes.

    If there is one for each processor, each stays on its own. A processor that an event loop wakes
    again and again is never idle for long enough that Linux would bring it a thread that waits
    behind another.
    """

    def __init__(self, threads: int) -> None:
        self._processors: Iterator[int] = iter(())
        self._niceness = LONG_JOB_NICENESS
        if sys.platform == "linux":
            # A thread begins with that of whoever has started it, which may be another of these.
            self._niceness = min(19, os.getpriority(os.PRIO_PROCESS, 0) + LONG_JOB_NICENESS)
        if sys.platform == "linux" and len(processors := os.sched_getaffinity(0)) == threads:
            self._processors = iter(processors)

    def settle(self) -> None:
        if sys.platform == "linux":
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, self._niceness)
            if (processor := next(self._processors, None)) is not None:
                os.sched_setaffinity(thread, {processor})
