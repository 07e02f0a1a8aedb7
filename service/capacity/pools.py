"""Runs the work of requests in threads, large jobs apart from small ones.

A photograph of twelve megapixels takes a thousand times as long as an image of the data set, which
would have to wait for it in one queue.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from service.capacity.admission import Deferred, Permit
from service.capacity.parallel import WorkerThreads
from service.errors import DeadlineExceeded, Overloaded

SMALL_PIXELS = 64 * 64  # What a small job may decode; an image of the data set has 784.
INITIAL_LARGE_SECONDS = 0.05  # What a large job is assumed to take before the first one is done.
LARGE_NICENESS = 10  # Added to the process's own, as in nice(1).
WAITING_SHARE = 0.1
"""Of the time to its deadline that a job may have to wait. The estimate is rough, the work itself
takes time, and what waits is in memory."""
RECEIVED_PATIENCE = 2
"""So many times longer a large job may have to wait whose body has been received: others may have
arrived meanwhile, and to reject it now is to have received it for nothing."""
_AVERAGE_WEIGHT = 0.05  # Of a job in the moving average of what jobs take.

T = TypeVar("T")


class Pools:
    """Two pools of threads: one for small jobs, one of lower priority for large ones.

    A job starts in the small pool unless it is known to be large. If it turns out to be large,
    which shows before anything of it is decoded, it starts again in the large pool.
    """

    def __init__(self, threads: int) -> None:
        self._small = _Pool(ThreadPoolExecutor(threads, "small"), threads, 0)
        large = ThreadPoolExecutor(threads, "large", _low_priority(threads))
        self._large = _Pool(large, threads, INITIAL_LARGE_SECONDS)

    def run_inline(self, job: Callable[[], T], permit: Permit) -> T:
        """Return what `job` returns, run by the caller; raises Deferred if the job is large."""
        permit.pixel_budget = SMALL_PIXELS
        return job()

    async def run(self, job: Callable[[], T], permit: Permit) -> T:
        """Return what `job` returns, run by a thread. `job` may be started twice.

        Raises:
            Overloaded: By what jobs took lately, its turn would come too late.
            DeadlineExceeded: It is not done by the permit's deadline. If it has not started it
                never will; if it has, it stops at its next `Permit.check`.
        """
        if not permit.is_large:
            try:
                permit.pixel_budget = SMALL_PIXELS
                return await self._small.run(job, permit)
            except Deferred:
                pass  # Leaving this block releases the frames of the attempt.
        permit.pixel_budget = float("inf")
        permit.workers = self._large.workers
        return await self._large.run(job, permit)

    @property
    def has_large_jobs(self) -> bool:
        """Whether a large job would have to wait for others."""
        return self._large.jobs > 0

    @property
    def jobs_done(self) -> int:
        """How many jobs have ended, well or not."""
        return self._small.jobs_done + self._large.jobs_done

    def check_large_job(self, seconds: float) -> None:
        """Raise Overloaded if a large job that may take so many seconds would start too late.

        It is not counted before its body has arrived: a client may announce one and never send it.
        """
        self._large.check_queue(seconds)

    def close(self) -> None:
        """Drop what has not started."""
        for pool in (self._small, self._large):
            pool.workers.executor.shutdown(wait=False, cancel_futures=True)


class _Pool:
    """A pool of threads that estimates how long its queue takes."""

    def __init__(self, executor: Executor, threads: int, seconds_per_job: float) -> None:
        self.workers = WorkerThreads(executor, threads - 1)
        self.jobs = self.jobs_done = 0
        self._threads = threads
        self._seconds_per_job = seconds_per_job
        self._lock = threading.Lock()

    def check_queue(self, seconds: float) -> None:
        wait = self.jobs * self._seconds_per_job / self._threads
        if wait > WAITING_SHARE * max(0, seconds):
            raise Overloaded(f"{self.jobs} jobs come before it and take about {wait:.1f} seconds")

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
            # Its exception refers to this frame: images would wait for the garbage collector.
            del future

    def _work(self, job: Callable[[], T], permit: Permit) -> T:
        permit.check()  # It may have waited long.
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
            self.jobs_done += 1
        permit.__exit__()


def available_processors() -> int:
    """Return how many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _low_priority(threads: int) -> Callable[[], None]:
    """Return what lowers the priority of the calling thread, which only Linux can do.

    If there is a processor for each of the threads, each stays on its own: the event loop wakes up
    too often for Linux to move a thread that waits behind another to an idle processor.
    """
    if sys.platform != "linux":
        return lambda: None
    processors = os.sched_getaffinity(0)
    own = iter(processors if len(processors) == threads else ())
    # The process's own: a thread inherits that of the thread that started it.
    niceness = min(19, os.getpriority(os.PRIO_PROCESS, os.getpid()) + LARGE_NICENESS)

    def settle() -> None:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, niceness)
        if (processor := next(own, None)) is not None:
            os.sched_setaffinity(thread, {processor})

    return settle
