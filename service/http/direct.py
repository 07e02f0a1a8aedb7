"""Routes of inference without the part of FastAPI that a request without a query does not need.

Matching nested routers, resolving dependencies and looking for a body to validate take as long as
the rest of what the event loop does for a request. Of a route that is called with nothing but its
path, all of that is known beforehand. Documentation, and requests with a query, are the routes' of
FastAPI; errors are answered by the same handlers.
"""

import re
from collections.abc import Awaitable, Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]


class DirectRoute(BaseRoute):
    """A route that knows no query.

    Args:
        template: Its path, with names in braces.
        endpoint: Answers its requests; finds in `path_params` what stands for the names.
        methods: HTTP's.
    """

    def __init__(self, template: str, endpoint: Endpoint, methods: Iterable[str]) -> None:
        self.path_format = template
        self._endpoint = endpoint
        self._methods = frozenset(methods)
        self._pattern = path_pattern(template)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a whole request or not at all: what is wrong with others, their routes tell."""
        if (
            scope["type"] != "http"
            or scope["query_string"]
            or scope.get("root_path")
            or scope["method"] not in self._methods
            or (found := self._pattern.fullmatch(scope["path"])) is None
        ):
            return Match.NONE, {}
        return Match.FULL, {"route": self, "path_params": found.groupdict()}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that matches."""
        response = await self._endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def path_pattern(template: str) -> re.Pattern[str]:
    """Return what matches the paths of a template whose names need no decoding.

    None of these characters is ever written in another way.
    """
    return re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[A-Za-z0-9._~-]+)", template))
