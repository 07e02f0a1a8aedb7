"""Gives every connection its turn when many have something to say at once."""

import asyncio
import time
from collections import deque
from typing import Protocol

TURNS = "turns"
"""Under which the application's lifespan hands them to the server's connections."""

TURN_SECONDS = 0.02
"""How long requests are begun before the event loop looks at what else there is."""

TURN_REQUESTS = 32
"""Most that are begun before that: what they have left to do comes next."""


class Waiting(Protocol):
    """Whoever waits for a turn."""

    def take_turn(self) -> None:
        """Go on."""


class Turns:
    """The turns of one event loop.

    The loop hands over what has arrived on all of its connections before it does anything else. If
    a thousand have sent a request, whoever asks whether the service lives would wait for them all.
    """

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self._is_begun = False
        self._left = 0
        self._end = 0.0

    def are_over(self) -> bool:
        """Return whether one more request has to wait; if not, it is counted."""
        if not self._is_begun:
            self._begin()
        if self._waiting or self._is_over():
            return True
        self._left -= 1
        return False

    def wait(self, who: Waiting) -> None:
        """Have somebody be told when the turn has come, after all who wait already."""
        self._waiting.append(who)

    def _begin(self) -> None:
        self._is_begun = True
        self._left = TURN_REQUESTS
        self._end = time.monotonic() + TURN_SECONDS
        asyncio.get_running_loop().call_soon(self._next)

    def _is_over(self) -> bool:
        return self._left <= 0 or time.monotonic() > self._end

    def _next(self) -> None:
        self._is_begun = False
        if self._waiting:
            self._begin()
            while self._waiting and not self._is_over():
                self._left -= 1
                self._waiting.popleft().take_turn()
