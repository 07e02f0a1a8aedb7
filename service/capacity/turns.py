"""Bounds what is begun in one pass of the event loop, however many connections have sent something.

What has to wait begins in a later pass, in order, so the loop comes back to all the rest in time.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

PARSING_SECONDS = 0.004
"""For parsing, and for what is answered at once."""

TASKS = 4
"""Most tasks of the application; each takes most of a millisecond before it waits for anything."""


class Turns:
    """The turns of one event loop."""

    def __init__(self) -> None:
        self._parsing: deque[Callable[[], None]] = deque()
        self._pipelines: deque[Callable[[], None]] = deque()
        self._tasks: deque[Callable[[], None]] = deque()
        self._tasks_left = 0
        self._end = 0.0  # of the parsing in this pass; 0 if nothing has begun in it

    def _begin(self) -> None:
        if not self._end:
            self._end, self._tasks_left = time.perf_counter() + PARSING_SECONDS, TASKS
            asyncio.get_running_loop().call_soon(self._next)

    def may_parse(self) -> bool:
        """Return whether to parse now, or `later`."""
        self._begin()
        return not self._parsing and time.perf_counter() < self._end

    def later(self, parse: Callable[[], None], *, is_pipelined: bool = False) -> None:
        """Have `parse` called when it is its turn: what is pipelined after all the rest."""
        self._begin()
        (self._pipelines if is_pipelined else self._parsing).append(parse)

    def begin_task(self, begin: Callable[[], None]) -> None:
        """Have `begin` called, which makes a task run, now or when it is its turn."""
        self._begin()
        if self._tasks or not self._tasks_left:
            self._tasks.append(begin)
        else:
            self._tasks_left -= 1
            begin()

    def _next(self) -> None:
        self._end = 0.0
        if self._tasks or self._parsing or self._pipelines:
            self._begin()
        while self._tasks and self._tasks_left:
            self._tasks_left -= 1
            self._tasks.popleft()()
        if self._pipelines:  # They never wait for ever.
            self._pipelines.popleft()()
        while (queue := self._parsing or self._pipelines) and time.perf_counter() < self._end:
            queue.popleft()()
