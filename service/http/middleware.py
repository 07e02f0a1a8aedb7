"""Middleware: request record, API key, header checks, CORS, HEAD, compression, shutdown."""

import asyncio
import logging
import re
from urllib.parse import quote

from starlette.datastructures import MutableHeaders, State
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from ..capacity.admission import Admission
from ..errors import INTERNAL_ERROR, Draining, RequestError
from ..keys import KeyRing, Scope
from ..telemetry.instrumentation import Instrumentation
from ..telemetry.record import RequestRecord
from . import messages
from .dependencies import JSON_LENGTH_HEADER
from .inference import DEADLINE_HEADER, check_headers
from .messages import REQUEST_ID_HEADER, SECURITY_HEADERS

logger = logging.getLogger(__name__)

# These need no key: health, and the page and documentation, whose own requests do need one.
_OPEN = {"", "/", "/docs", "/openapi.json", "/livez", "/readyz"}
_OPEN_FOLDERS = ("/web/", "/swagger/", "/v2/health/")

_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-[0-9]{1,18})", re.IGNORECASE)

# Headers that pages of other origins may send and read, besides the CORS-safelisted ones.
_SENT = [
    *("Authorization", "X-API-Key", "Content-Encoding", "traceparent", "tracestate"),
    *(DEADLINE_HEADER, REQUEST_ID_HEADER, JSON_LENGTH_HEADER),
]
_READ = [REQUEST_ID_HEADER, JSON_LENGTH_HEADER, "Retry-After", "Warning", "traceresponse", "ETag"]

# Response bodies are written in pieces; longer ones count as bytes in flight until sent.
PIECE_BYTES = 65536
MIN_COMPRESSED_BYTES = 4096


def required_scope(path: str) -> Scope | None:
    """Return the scope that a path, existing or not, requires; None if it needs no key."""
    if path in _OPEN or path.startswith(_OPEN_FOLDERS):
        return None
    if path == "/metrics":
        return "observe"
    if path.startswith("/v2/repository/") and path != "/v2/repository/index":
        return "administer"
    return "predict"


class _Answer:
    """Completes the headers of a response and applies backpressure to its body."""

    def __init__(self, record: RequestRecord, send: Send, admission: Admission) -> None:
        self.is_started = False
        self._record, self._send, self._admission = record, send, admission
        self._start: Message | None = None  # Sent once the body's bytes are reserved.

    async def send(self, message: Message) -> None:
        """Send a message; raises Overloaded, before anything is sent, if the body is too large."""
        if message["type"] == "http.response.start":
            self._start, self._record.status = message, message["status"]
            fields = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                fields.setdefault(name, value)
            fields.update(messages.headers_of(self._record))
            return
        body = message.get("body", b"")
        with self._admission.hold(len(body) if len(body) > PIECE_BYTES else 0):
            if self._start is not None:
                self.is_started = True
                await self._send(self._start)
                self._start = None
            last = max(0, len(body) - 1) // PIECE_BYTES * PIECE_BYTES
            for begin in range(0, last, PIECE_BYTES):
                piece = body[begin : begin + PIECE_BYTES]
                await self._send({**message, "body": piece, "more_body": True})
            await self._send({**message, "body": body[last:]} if last else message)


class RequestMiddleware:
    """Records and checks every request before the routes; a new route requires a key by default."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self.app = app
        self._compressed = GZipMiddleware(app, MIN_COMPRESSED_BYTES, compresslevel=1)
        self._instrumentation: Instrumentation = state.instrumentation
        self._admission: Admission = state.admission
        self._keys: KeyRing | None = state.keys
        self._root_path: str = state.settings.root_path
        self._inner: ASGIApp = self._check_and_answer
        if state.settings.cors_origins:
            # Outside the key check: preflight requests have no key, and pages may read a 401.
            self._inner = CORSMiddleware(
                self._check_and_answer,
                allow_origins=state.settings.cors_origins,
                allow_methods=["GET", "HEAD", "POST", "PUT"],
                allow_headers=_SENT,
                expose_headers=_READ,
            )

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = dict(scope)  # The server uses the original again.
        if f"{scope['path']}/".startswith(f"{self._root_path}/"):  # The proxy did not strip it.
            scope["path"] = scope["path"].removeprefix(self._root_path)
        request = Request(scope, receive)
        # Without the prefix of a proxy or a parent application.
        request.state.path = scope["path"].removeprefix(scope.get("root_path", ""))
        record = request.state.record = self._instrumentation.begin(request.headers)
        messages.describe(record, scope)
        answer = _Answer(record, send, self._admission)
        try:
            try:
                await self._inner(scope, receive, answer.send)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or answer.is_started or self._admission.is_open:
                    raise
                task.uncancel()  # Cancelled because the drain timed out.
                error = Draining("the service stopped before the answer was ready")
                await messages.request_error(request, error)(scope, receive, answer.send)
            except Exception as error:
                name = type(error).__name__
                extra = {"request": record}
                logger.exception("request %s failed: %s", record.request_id, name, extra=extra)
                if answer.is_started:
                    raise  # The server aborts the response.
                response = messages.error_response(request, 500, "internal_error", INTERNAL_ERROR)
                await response(scope, receive, answer.send)
        except BaseException:
            record.fail()
            raise
        finally:
            # The router sets the route even if the method does not match.
            record.route = getattr(scope.get("route"), "path_format", "other")
            self._instrumentation.end(record)

    async def _check_and_answer(self, scope: Connection, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        required = required_scope(request.state.path)
        try:
            check_headers(scope)
            if self._keys is not None and required is not None:
                key = self._keys.identify(request.headers)
                request.state.record.key = key.name
                key.require(required)
            await self._answer(scope, receive, send)
        except RequestError as error:
            await messages.request_error(request, error)(scope, receive, send)

    async def _answer(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer HEAD like GET, compress with a separate ETag, and make redirects relative."""
        is_head = scope["method"] == "HEAD"
        fields = MutableHeaders(raw=list(scope["headers"]))
        takes_gzip = messages.weights(fields.get("Accept-Encoding", "")).get("gzip", 0) > 0
        fields["Accept-Encoding"] = "gzip" if takes_gzip else "identity"
        tags = fields.get("If-None-Match", "")
        if takes_gzip and tags:
            fields["If-None-Match"] = tags.replace('-gzip"', '"')
        span = _RANGE.fullmatch(fields.get("Range", ""))
        if span is None or int(span[1] or 0) > int(span[2] or 1e18):
            del fields["Range"]  # Invalid ranges are ignored (RFC 9110); so are several.
        scope["method"] = "GET" if is_head else scope["method"]
        scope["headers"] = fields.raw

        async def send_adapted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                is_known = message["status"] == 304 and tags != fields.get("If-None-Match", "")
                if "ETag" in headers and (is_known or "Content-Encoding" in headers):
                    headers["ETag"] = headers["ETag"].removesuffix('"') + '-gzip"'
                if "Vary" in headers:  # Page files already have one from their own compression.
                    names = map(str.strip, headers["Vary"].split(","))
                    headers["Vary"] = ", ".join(dict.fromkeys(names))
                if "Location" in headers:  # Redirects only add or remove trailing slashes.
                    bare = scope["path"].rstrip("/") or self._root_path
                    name = quote(bare.rpartition("/")[2])
                    query = f"?{scope['query_string'].decode('latin-1')}".rstrip("?")
                    up = "../" * (len(scope["path"]) - len(bare))
                    headers["Location"] = (up + name if up else f"{name}/") + query
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        await self._compressed(scope, receive, send_adapted)
