"""Limits the work that starts in one pass of the event loop, over all connections.

The rest starts in later passes, in order, so that the loop returns to everything else in time.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

PARSING_SECONDS = 0.004
"""Time in one pass for parsing, and for responses of the fast path."""

TASKS = 4
"""Application tasks that start in one pass; each runs for most of a millisecond before it waits."""


class FairScheduler:
    """Shares the passes of one event loop among its connections."""

    def __init__(self) -> None:
        self._parsing: deque[Callable[[], None]] = deque()
        self._pipelines: deque[Callable[[], None]] = deque()
        self._tasks: deque[Callable[[], None]] = deque()
        self._tasks_left = 0
        self._end = 0.0  # Of parsing in this pass; 0 if nothing has begun in it.

    def _begin(self) -> None:
        if not self._end:
            self._end, self._tasks_left = time.perf_counter() + PARSING_SECONDS, TASKS
            asyncio.get_running_loop().call_soon(self._next)

    def may_parse(self) -> bool:
        """Return whether to parse now, or `later`."""
        self._begin()
        return not self._parsing and time.perf_counter() < self._end

    def later(self, parse: Callable[[], None], *, is_pipelined: bool) -> None:
        """Call `parse` in a later pass; pipelined data is parsed after all other data."""
        self._begin()
        (self._pipelines if is_pipelined else self._parsing).append(parse)

    def begin_task(self, begin: Callable[[], None]) -> None:
        """Call `begin`, which starts a task, now or in a later pass."""
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
        if self._pipelines:  # At least one in each pass, so that they are not starved.
            self._pipelines.popleft()()
        while (queue := self._parsing or self._pipelines) and time.perf_counter() < self._end:
            queue.popleft()()
