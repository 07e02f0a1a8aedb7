"""Answers what the server gives up on when its time to drain is over."""

import asyncio

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.capacity.admission import Admission
from service.http.errors import request_error
from service.errors import Draining


class EndingMiddleware:
    """Turns the cancellation of a request at the very end into an answer that says so."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app = app
        self.admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_answered = False

        async def watch(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or is_answered or self.admission.is_open:
                raise
            task.uncancel()
            error = Draining("the service stopped before the answer was ready")
            response = await request_error(Request(scope, receive), error)
            await response(scope, receive, send)
