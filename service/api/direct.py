"""Answers the common request without FastAPI's machinery.

Finding the route and what its endpoint depends on takes FastAPI longer than the network takes for a
picture, and comes to the same each time unless there is a query. The OpenAPI document, validation
and errors stay those of the usual way, which answers whatever has a query.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.errors import client_disconnect, request_error
from service.errors import RequestError


@dataclass(frozen=True, slots=True)
class Direct:
    """An endpoint with what it depends on filled in.

    Attributes:
        path_format: As that of the route it stands for.
        answer: Does what the route does for a request without a query.
    """

    path_format: str
    answer: Callable[[Request], Awaitable[Response]]


class DirectMiddleware:
    """Takes the requests that have a short way, by method and path, and passes on all others."""

    def __init__(self, app: ASGIApp, routes: Mapping[tuple[str, str], Direct]) -> None:
        self.app = app
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        direct = None
        if scope["type"] == "http" and not scope["query_string"]:
            direct = self.routes.get((scope["method"], scope["path"]))
        if direct is None:
            await self.app(scope, receive, send)
            return
        scope["route"] = direct
        request = Request(scope, receive, send)
        try:
            response = await direct.answer(request)
        except RequestError as error:
            response = await request_error(request, error)
        except ClientDisconnect as error:
            response = await client_disconnect(request, error)
        await response(scope, receive, send)
