"""Runs small and large jobs in separate thread pools, to avoid head-of-line blocking.

A photograph of twelve megapixels takes a thousand times as long as an image of the data set.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from ..errors import DeadlineExceeded, Overloaded
from .admission import Deferred, Permit
from .parallel import WorkerThreads

SMALL_PIXELS = 64 * 64  # Limit of a small job; an image of the data set has 784.
INITIAL_LARGE_SECONDS = 0.05  # Estimate for a large job before the first one is done.
LARGE_NICENESS = 10  # Added to the process's own, as in nice(1).

# Share of the time to its deadline that a job may wait: its own work takes time, too.
WAITING_SHARE = 0.1
RECEIVED_PATIENCE = 2  # Factor on that once a large body is received, to not waste its transfer.
_AVERAGE_WEIGHT = 0.05  # Of one job in the exponential moving average of job times.

T = TypeVar("T")


class Pools:
    """A pool of threads for small jobs, and one of lower priority for large jobs.

    A job starts in the small pool unless it is known to be large. If it raises Deferred, which
    happens before a large image is decoded, it starts again in the large pool.
    """

    def __init__(self, threads: int) -> None:
        self._small = _Pool(ThreadPoolExecutor(threads, "small"), threads, 0)
        large = ThreadPoolExecutor(threads, "large", _low_priority(threads))
        self._large = _Pool(large, threads, INITIAL_LARGE_SECONDS)

    def run_inline(self, job: Callable[[], T], permit: Permit) -> T:
        """Run a job in the calling thread; raises Deferred if it is large."""
        permit.pixel_budget = SMALL_PIXELS
        return job()

    async def run(self, job: Callable[[], T], permit: Permit) -> T:
        """Run a job, which may be started twice, in a thread.

        Raises Overloaded if the queue is too long, or DeadlineExceeded at the permit's deadline;
        the job then stops at its next `Permit.check`.
        """
        if not permit.is_large:
            try:
                permit.pixel_budget = SMALL_PIXELS
                return await self._small.run(job, permit)
            except Deferred:
                pass  # Leaving the handler frees the frames of the attempt.
        permit.pixel_budget = float("inf")
        permit.workers = self._large.workers
        return await self._large.run(job, permit)

    def check_large_job(self, seconds: float) -> None:
        """Raise Overloaded if a large job, due in so many seconds, would wait too long."""
        self._large.check_queue(seconds)

    def close(self) -> None:
        """Drop the jobs that have not started."""
        for pool in (self._small, self._large):
            pool.workers.executor.shutdown(wait=False, cancel_futures=True)


class _Pool:
    """A pool of threads that estimates the wait in its queue."""

    def __init__(self, executor: Executor, threads: int, seconds_per_job: float) -> None:
        self.workers = WorkerThreads(executor, threads - 1)
        self.jobs = 0
        self._threads = threads
        self._seconds_per_job = seconds_per_job
        self._lock = threading.Lock()

    def check_queue(self, seconds: float) -> None:
        wait = self.jobs * self._seconds_per_job / self._threads
        if wait > WAITING_SHARE * max(0, seconds):
            raise Overloaded(f"{self.jobs} jobs are queued ahead and take about {wait:.1f} seconds")

    async def run(self, job: Callable[[], T], permit: Permit) -> T:
        patience = RECEIVED_PATIENCE if permit.is_large else 1
        self.check_queue(patience * (permit.deadline - time.monotonic()))
        permit.__enter__()
        with self._lock:
            self.jobs += 1
        future = self.workers.executor.submit(self._work, job, permit)
        future.add_done_callback(lambda _: self._leave(permit))
        deadline = None if permit.deadline == float("inf") else permit.deadline
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            permit.cancel()
            raise DeadlineExceeded("the answer was not ready in time") from error
        except asyncio.CancelledError:
            permit.cancel()
            raise
        finally:
            del future  # Its exception refers to this frame: a cycle would keep images in memory.

    def _work(self, job: Callable[[], T], permit: Permit) -> T:
        permit.check()  # The deadline may have passed in the queue.
        start = time.monotonic()
        try:
            return job()
        finally:
            seconds = time.monotonic() - start
            with self._lock:
                self._seconds_per_job += _AVERAGE_WEIGHT * (seconds - self._seconds_per_job)

    def _leave(self, permit: Permit) -> None:
        with self._lock:
            self.jobs -= 1
        permit.__exit__()


def available_processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _low_priority(threads: int) -> Callable[[], None]:
    """Return a thread initialiser that lowers the thread's priority, which only Linux supports.

    If there are as many processors as threads, it pins each thread to one: the event loop wakes up
    too often for the scheduler to move a waiting thread to an idle processor.
    """
    if sys.platform != "linux":
        return lambda: None
    processors = os.sched_getaffinity(0)
    own = iter(processors if len(processors) == threads else ())
    # Not the calling thread's, which may have been lowered already.
    niceness = min(19, os.getpriority(os.PRIO_PROCESS, os.getpid()) + LARGE_NICENESS)

    def settle() -> None:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, niceness)
        if (processor := next(own, None)) is not None:
            os.sched_setaffinity(thread, {processor})

    return settle
