"""Takes inference requests in, and runs their work while somebody waits for it."""

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from service.capacity.admission import Admission, GiveWay, Ticket
from service.errors import InvalidParameter
from service.capacity.pools import Lanes

DEADLINE_HEADER = "X-Request-Timeout"

PATIENCE_SECONDS = 0.02
"""Most answers are ready by then; only of a longer job is it worth knowing who hung up."""

T = TypeVar("T")


def admit(request: Request, images: int = 1) -> Ticket:
    """Take a request in before its body is read; see `Admission.admit`."""
    admission: Admission = request.app.state.admission
    return admission.admit(images)


def expect_long_job(request: Request, ticket: Ticket) -> AbstractContextManager[None]:
    """Refuse long work before its body is read, or count it; see `Lanes.expect_long_job`."""
    lanes: Lanes = request.app.state.lanes
    return lanes.expect_long_job(_deadline_of(request), ticket)


async def run(
    request: Request, ticket: Ticket, job: Callable[[], T], *, is_short: bool = False
) -> T:
    """Run the work of a request whose body was received.

    Args:
        request: Whose client may hang up, or ask for an early answer.
        ticket: Its place.
        job: The work, which may be begun twice; see `Lanes`.
        is_short: Whether it takes no longer than handing it to a thread, pictures aside.

    Raises:
        InvalidParameter: The deadline that the client asks for is none.
        DeadlineExceeded: The work took longer than the deadline.
        ClientDisconnect: The client hung up, and the work was dropped.
    """
    lanes: Lanes = request.app.state.lanes
    ticket.start_clock(_deadline_of(request))
    if is_short:
        try:
            return lanes.run_here(job, ticket)
        except GiveWay:
            pass  # It has a picture in it that takes long.
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (a coroutine runs in one)
    watch = _Watch(request, task)
    timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, watch.start)
    try:
        return await lanes.run(job, ticket)
    except asyncio.CancelledError:
        if not watch.client_is_gone:
            raise
        task.uncancel()
        raise ClientDisconnect from None
    finally:
        timer.cancel()
        watch.stop()


def _deadline_of(request: Request) -> float:
    asked = request.headers.get(DEADLINE_HEADER)
    return deadline_seconds(asked, request.app.state.settings.deadline_seconds)


def deadline_seconds(asked: str | None, seconds: float) -> float:
    """Return how long the work may take: the setting, or less if the client asks for less.

    Args:
        asked: The header as sent, or None if it was not.
        seconds: The setting.

    Raises:
        InvalidParameter: The header says no such time.
    """
    if asked is None:
        return seconds
    try:
        wanted = float(asked)
    except ValueError:
        wanted = math.nan
    if not wanted > 0:
        raise InvalidParameter(f"{DEADLINE_HEADER}: a positive number of seconds is expected")
    return min(wanted, seconds)


class _Watch:
    """Cancels a task when the client of its request hangs up."""

    def __init__(self, request: Request, task: asyncio.Task[object]) -> None:
        self.client_is_gone = False
        self._request = request
        self._task = task
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._wait())

    def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None  # Cancelled, it knows of this: a circle.

    async def _wait(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.client_is_gone = True
        self._task.cancel()
