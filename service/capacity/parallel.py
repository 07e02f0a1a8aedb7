"""Shares the pictures of one request among the threads of a lane that are free.

Pillow decodes and resizes, and LiteRT runs the network, without the interpreter's lock: so many
threads, so many processors.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

WORTH_SHARING_BYTES = 4096
"""A picture in fewer is decoded before another thread has taken it."""

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Helpers:
    """Threads that help when they have nothing else to do.

    Attributes:
        pool: Where they wait for work, behind whatever waits there already.
        most: How many there may be.
    """

    pool: Executor
    most: int


def do_all(
    work: Callable[[S], T], items: Sequence[S], byte_count: float, helpers: Helpers | None
) -> list[T]:
    """Return what `work` makes of each item, in order.

    The caller works as well, and waits for nobody but who has begun: a pool whose threads are all
    busy costs nothing.

    Args:
        work: Is called from several threads.
        items: What there is to do.
        byte_count: Of all of them; infinite if each is worth sharing.
        helpers: Who may help, if anybody.

    Raises:
        Exception: What `work` raised for the first item that it raised something for.
    """
    if helpers is None or byte_count < WORTH_SHARING_BYTES * len(items):
        return [work(item) for item in items]
    results: dict[int, T] = {}
    failures: dict[int, BaseException] = {}
    left = iter(range(len(items)))  # One step of it is one step of the interpreter.

    def take_part() -> None:
        for index in left:
            if failures:
                return  # For an item before this one: they are taken in order.
            try:
                results[index] = work(items[index])
            except BaseException as error:
                failures[index] = error

    most = min(helpers.most, len(items) - 1)
    helping = [helpers.pool.submit(take_part) for _ in range(most)]
    take_part()
    for helper in helping:
        if not helper.cancel():
            helper.result()
    try:
        if failures:
            raise failures[min(failures)]
        return [results[index] for index in range(len(items))]
    finally:
        failures.clear()  # They know of this frame: a circle.
