"""Runs the work of requests in threads, the long behind the short.

A photograph of twelve megapixels takes a thousand times as long as a picture of the data set. Were
they in one queue, whoever sends photographs would make everybody wait.
"""

import asyncio
import contextvars
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.admission import GiveWay, Ticket
from service.errors import DeadlineExceeded

QUICK_PIXELS = 64 * 64
"""What a request may decode in the quick lane; a picture of the data set has 784."""

LONG_JOB_NICENESS = 10
"""Of 0…19, as in nice(1): a short job gets the processor at once."""

T = TypeVar("T")


class Lanes:
    """Two pools of threads: one for short jobs, one of lower priority for long ones.

    A job begins in the quick lane. Only when it turns out to be long, which is before anything of
    it is decoded, does it start again in the other.
    """

    def __init__(self, threads: int) -> None:
        self._quick = ThreadPoolExecutor(threads, "quick")
        self._long = ThreadPoolExecutor(threads, "long", initializer=_lower_priority)

    async def run(self, job: Callable[[], T], ticket: Ticket) -> T:
        """Return what `job` returns.

        Raises:
            DeadlineExceeded: It is not done by the ticket's deadline. Unless it has begun it never
                will; if it has, it stops when it next asks the ticket.
        """
        try:
            ticket.pixels_in_lane = QUICK_PIXELS
            return await self._run(self._quick, job, ticket)
        except GiveWay:
            ticket.pixels_in_lane = float("inf")
            return await self._run(self._long, job, ticket)

    def close(self) -> None:
        """Drop what has not begun."""
        self._quick.shutdown(wait=False, cancel_futures=True)
        self._long.shutdown(wait=False, cancel_futures=True)

    async def _run(self, pool: ThreadPoolExecutor, job: Callable[[], T], ticket: Ticket) -> T:
        ticket.__enter__()
        future = pool.submit(contextvars.copy_context().run, _work, job, ticket)
        future.add_done_callback(lambda _: ticket.__exit__())
        try:
            async with asyncio.timeout_at(_in_loop_time(ticket)):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            ticket.cancel()
            raise DeadlineExceeded("the answer was not ready in time") from error
        except asyncio.CancelledError:
            ticket.cancel()
            raise


def available_processors() -> int:
    """Return how many processors this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _work(job: Callable[[], T], ticket: Ticket) -> T:
    ticket.check()  # It may have waited long.
    return job()


def _in_loop_time(ticket: Ticket) -> float | None:
    return None if ticket.deadline == float("inf") else ticket.deadline


def _lower_priority() -> None:
    if sys.platform == "linux":  # Elsewhere, priority is that of the whole process.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LONG_JOB_NICENESS)
