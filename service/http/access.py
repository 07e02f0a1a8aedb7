"""Lets in who has an API key for what is asked, and answers 401 or 403 otherwise."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from service.http.errors import request_error
from service.errors import RequestError
from service.keys import KeyRing, Scope
from service.telemetry.record import Observation

_OPEN = {"/", "/docs", "/openapi.json", "/livez", "/readyz"}
_OPEN_FOLDERS = ("/web/", "/v2/health/")
"""What tells nothing of anybody's work: health for those who watch over the process, the page and
the documentation, neither of which can do anything without a key."""

_SENT = {b"authorization", b"x-api-key"}


def required_scope(path: str) -> Scope | None:
    """Return what a key must allow for this path, known or not; None if no key is needed."""
    if path in _OPEN or path.startswith(_OPEN_FOLDERS):
        return None
    if path == "/metrics":
        return "observe"
    if path.startswith("/v2/repository/") and path != "/v2/repository/index":
        return "administer"
    return "predict"


class AccessMiddleware:
    """Stands before the routes, so that one that is added is closed until it is opened here."""

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self.app = app
        self.keys = keys

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # A path is looked up without the prefix that a proxy or another application put before it.
        required = required_scope(scope["path"].removeprefix(scope.get("root_path", "")))
        if required is not None:
            request = Request(scope, receive)
            sent = {k.decode(): v.decode("latin-1") for k, v in scope["headers"] if k in _SENT}
            seen: Observation = request.state.observation
            try:
                key = self.keys.identify(sent)
                seen.key = key.name
                key.require(required)
            except RequestError as error:
                response = await request_error(request, error)
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)
