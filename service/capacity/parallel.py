"""A map over the threads of a pool that are free.

Pillow and LiteRT release the interpreter's lock: as many threads, as many processors.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

MIN_SHARED_BYTES = 4096  # An item in fewer bytes is done before another thread has taken it.

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerThreads:
    """Up to `count` threads of an executor that take part when they have nothing else to do."""

    executor: Executor
    count: int


def parallel_map(
    function: Callable[[S], T],
    items: Sequence[S],
    workers: WorkerThreads | None,
    *,
    total_bytes: float = math.inf,
) -> list[T]:
    """Return `function` of each item, or raise what it raised for the first that failed.

    The caller works as well, and waits only for threads that have begun, so a busy pool costs
    nothing. `total_bytes` is the size of all items; small ones are not shared.
    """
    if workers is None or total_bytes < MIN_SHARED_BYTES * len(items):
        return [function(item) for item in items]
    results: dict[int, T] = {}
    failures: dict[int, BaseException] = {}
    indices = iter(range(len(items)))  # Taking the next one is atomic.

    def take_part() -> None:
        for index in indices:
            if failures:
                return  # Items are taken in order, so the failure is of an earlier one.
            try:
                results[index] = function(items[index])
            except BaseException as error:
                failures[index] = error

    count = min(workers.count, len(items) - 1)
    futures = [workers.executor.submit(take_part) for _ in range(count)]
    take_part()
    for future in futures:
        if not future.cancel():
            future.result()
    try:
        if failures:
            raise failures[min(failures)]
        return [results[index] for index in range(len(items))]
    finally:
        failures.clear()  # Their tracebacks refer to this frame: a reference cycle.
