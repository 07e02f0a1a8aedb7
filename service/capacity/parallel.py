"""A parallel map over the idle threads of a pool. Pillow and LiteRT release the GIL."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import NamedTuple, TypeVar

MIN_SHARED_BYTES = 4096  # Handing a smaller item to another thread takes longer than its work.

S = TypeVar("S")
T = TypeVar("T")


class WorkerThreads(NamedTuple):
    """Up to `limit` threads of an executor that help when they are idle."""

    executor: Executor
    limit: int


def parallel_map(
    function: Callable[[S], T],
    items: Sequence[S],
    workers: WorkerThreads | None,
    *,
    total_bytes: float = math.inf,
) -> list[T]:
    """Return `function` of each item, or raise the error of the first item that failed.

    The caller works too, and waits only for threads that have started, so a busy pool causes no
    delay. Items of less than `MIN_SHARED_BYTES` on average, by `total_bytes`, are not shared.
    """
    if workers is None or total_bytes < MIN_SHARED_BYTES * len(items):
        return [function(item) for item in items]
    results: dict[int, T] = {}
    failures: dict[int, BaseException] = {}
    indices = iter(range(len(items)))  # Taking the next one is atomic.

    def take_part() -> None:
        for index in indices:
            if failures:
                return  # Items are taken in order, so an earlier one has failed.
            try:
                results[index] = function(items[index])
            except BaseException as error:
                failures[index] = error

    count = min(workers.limit, len(items) - 1)
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
        failures.clear()  # Their tracebacks refer to this frame, which is a reference cycle.
