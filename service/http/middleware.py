"""What every HTTP request passes before its route: record, API key, headers, CORS, shutdown."""

import asyncio
import logging
from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from service.capacity.admission import Admission
from service.errors import Draining, RequestError
from service.http.dependencies import JSON_LENGTH_HEADER
from service.http.inference import DEADLINE_HEADER
from service.http.messages import (
    INTERNAL_ERROR,
    REQUEST_ID_HEADER,
    SECURITY_HEADERS,
    describe,
    error_response,
    headers_of,
    request_error,
)
from service.keys import KeyRing, Scope
from service.telemetry.instrumentation import Instrumentation

logger = logging.getLogger(__name__)

_OPEN = {"/", "/docs", "/openapi.json", "/livez", "/readyz"}
_OPEN_FOLDERS = ("/web/", "/v2/health/")
"""What needs no key: health, and the page and documentation, which can do nothing without one."""

_SENT = [
    *("Authorization", "X-API-Key", "Content-Encoding", "traceparent", "tracestate"),
    *(DEADLINE_HEADER, REQUEST_ID_HEADER, JSON_LENGTH_HEADER),
]
_READ = [REQUEST_ID_HEADER, JSON_LENGTH_HEADER, "Retry-After", "Warning", "traceresponse", "ETag"]
"""Headers that pages of other origins may send, and read, beside those that are always allowed."""

_TRACED = {b"x-request-id", b"traceparent", b"tracestate"}
_KEYS = {b"authorization", b"x-api-key"}


def required_scope(path: str) -> Scope | None:
    """Return what a key must allow for this path, known or not; None if no key is needed."""
    if path in _OPEN or path.startswith(_OPEN_FOLDERS):
        return None
    if path == "/metrics":
        return "observe"
    if path.startswith("/v2/repository/") and path != "/v2/repository/index":
        return "administer"
    return "predict"


class RequestMiddleware:
    """Has every request recorded and checked before the routes.

    A route that is added is closed to requests without a key until it is opened here.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        instrumentation: Instrumentation,
        admission: Admission,
        keys: KeyRing | None,
        cors_origins: Sequence[str],
        root_path: str,
    ) -> None:
        self.app = app
        self._instrumentation = instrumentation
        self._admission = admission
        self._keys = keys
        self._root_path = root_path
        self._inner: ASGIApp = self._check_and_answer
        if cors_origins:
            # Before the key is checked: a browser asks for permission without one, and reads why
            # it got a 401.
            self._inner = CORSMiddleware(
                self._check_and_answer,
                allow_origins=cors_origins,
                allow_methods=["GET", "HEAD", "POST", "PUT"],
                allow_headers=_SENT,
                expose_headers=_READ,
            )

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"].startswith(f"{self._root_path}/"):  # The proxy has left it on.
            scope["path"] = scope["path"].removeprefix(self._root_path)
        headers = {k.decode(): v.decode("latin-1") for k, v in scope["headers"] if k in _TRACED}
        record = self._instrumentation.begin(headers)
        describe(record, scope)
        scope.setdefault("state", {})["record"] = record
        request = Request(scope, receive)
        is_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                record.status = message["status"]
                fields = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    fields.setdefault(name, value)
                fields[REQUEST_ID_HEADER] = record.request_id
                fields.update(headers_of(record))
            await send(message)

        try:
            try:
                await self._inner(scope, receive, send_with_headers)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or is_started or self._admission.is_open:
                    raise
                task.uncancel()  # The time to drain is over.
                error = Draining("the service stopped before the answer was ready")
                await request_error(request, error)(scope, receive, send_with_headers)
            except Exception as error:
                reason = type(error).__name__
                logger.exception(
                    "request %s failed: %s", record.request_id, reason, extra={"request": record}
                )
                if is_started:
                    raise  # The server cuts the answer short.
                response = error_response(request, 500, "internal_error", INTERNAL_ERROR)
                await response(scope, receive, send_with_headers)
        except BaseException:
            record.fail()
            raise
        finally:
            # Whether or not the method was right, the router says which route it found.
            record.route = getattr(scope.get("route"), "path_format", "other")
            self._instrumentation.end(record)

    async def _check_and_answer(self, scope: Connection, receive: Receive, send: Send) -> None:
        try:
            if self._keys is not None:
                _check_key(self._keys, scope)
        except RequestError as error:
            await request_error(Request(scope, receive), error)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _check_key(keys: KeyRing, scope: Connection) -> None:
    # A path is looked up without the prefix that a proxy or another application put before it.
    required = required_scope(scope["path"].removeprefix(scope.get("root_path", "")))
    if required is not None:
        headers = {k.decode(): v.decode("latin-1") for k, v in scope["headers"] if k in _KEYS}
        key = keys.identify(headers)
        scope["state"]["record"].key = key.name
        key.require(required)
