"""Responses of routes, fast path and load shedder: errors, headers, content negotiation."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPMethod, HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from ..errors import InvalidParameter, NotAcceptable, RequestError
from ..telemetry.logs import without_secrets
from ..telemetry.record import RequestRecord
from .protocol import Reply

JSON = "application/json"
FORM = "multipart/form-data"
IMAGE_MEDIA_TYPES = "image/png, image/jpeg, image/webp, image/gif, image/bmp, image/avif"

REQUEST_ID_HEADER = "X-Request-ID"

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # JSON and images load nothing; pages set their own policy.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

_FIXED_FIELDS = "".join(f"{name.lower()}: {value}\r\n" for name, value in SECURITY_HEADERS.items())

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_PROTOCOLS = ("/v1/", "/v2/")  # They define errors as `{"error": "…"}`.
_WEIGHT = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def describe(record: RequestRecord, scope: Any) -> None:
    """Record method, target and client of an ASGI scope."""
    method = scope["method"]
    record.method = method if method in _METHODS else "other"
    # Percent-encoded as sent, so that it cannot break a log line.
    target = scope.get("raw_path", b"").decode("ascii", "backslashreplace")
    query = scope["query_string"].decode("ascii", "backslashreplace")
    record.target = without_secrets(f"{target}?{query}") if query else target
    if scope.get("client"):
        host, port = scope["client"][:2]
        record.client = f"{host}:{port}"


def headers_of(record: RequestRecord) -> dict[str, str]:
    """Return the headers of a response that tell about its request."""
    headers = {REQUEST_ID_HEADER: record.request_id}
    if record.traceresponse:
        headers["traceresponse"] = record.traceresponse
    if record.warning:
        text = record.warning.encode("ascii", "backslashreplace").decode()  # It names the input.
        headers["Warning"] = f'199 - "{text}"'
    return headers


def reply(
    record: RequestRecord, body: bytes, media_type: str = JSON, headers: Mapping[str, str] = {}
) -> Reply:
    """Return a response that bypasses the middleware, with the headers it would add."""
    fields = {"Content-Length": str(len(body)), "Content-Type": media_type, **headers}
    fields |= headers_of(record)
    closes = fields.pop("Connection", "") == "close"
    lines = [f"{name.lower()}: {value}\r\n" for name, value in fields.items()]
    return Reply(record.status, "".join([*lines, _FIXED_FIELDS]).encode("latin-1"), body, closes)


def error_body(path: str, record: RequestRecord, code: str, message: str) -> bytes:
    """Record an error, and return it as JSON in the form of the API of `path`."""
    record.error_code = code
    if f"{path}/".startswith(_PROTOCOLS):
        return orjson.dumps({"error": message})
    error = {"code": code, "message": message, "request_id": record.request_id}
    return orjson.dumps({"error": error})


def error_response(
    request: Request, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Record an error, and return it as a response."""
    body = error_body(request.state.path, request.state.record, code, message)
    return Response(body, status, headers, media_type=JSON)


def request_error(request: Request, error: RequestError) -> Response:
    """Return a rejection as a response."""
    return error_response(request, error.status, error.code, str(error), error.headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer errors of FastAPI as `schemas.ErrorResponse`, or in the form of their protocol."""

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return request_error(request, InvalidParameter.first(error.errors()))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        code = _HTTP_CODES.get(error.status_code, "invalid_request")
        message = f"{request.method} {request.url.path}: {error.detail}"
        headers = error.headers
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = {"Allow": _allowed_methods(request, error.headers)}
            if request.method == "OPTIONS":
                return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
        return error_response(request, error.status_code, code, message, headers)

    @app.exception_handler(ClientDisconnect)
    async def on_disconnect(request: Request, _: ClientDisconnect) -> Response:
        # Never received, but it keeps the disconnect from being logged as a server error.
        return error_response(request, 400, "client_disconnected", "the client hung up")


def _allowed_methods(request: Request, stated: Mapping[str, str] | None) -> str:
    """Return every method of the path: the router lists only those of its first match."""
    allowed = {
        method
        for method in HTTPMethod
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    if not allowed and stated:  # A mounted folder of files.
        return f"{stated['Allow']}, OPTIONS"
    return ", ".join(sorted(allowed | {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set())))


def preferred(accept: str | None, offers: Sequence[str]) -> str:
    """Return the media type of `offers`, default first, that an Accept header ranks highest.

    A missing or empty header accepts anything (RFC 9110, section 12.5.1). Raises NotAcceptable.
    """
    stated = weights(accept or "*/*")
    # The most specific matching range applies.
    ranked = [
        next((stated[name] for name in (offer, f"{kind}/*", "*/*") if name in stated), 0)
        for offer in offers
        for kind in [offer.partition("/")[0]]
    ]
    if max(ranked) == 0:
        raise NotAcceptable(f"Accept: {accept}: the available formats are {', '.join(offers)}")
    return offers[ranked.index(max(ranked))]


def weights(header: str) -> dict[str, float]:
    """Return the weight, from 0 to 1, of each name in an Accept or Accept-Encoding header."""
    found: dict[str, float] = {}
    for item in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in item.split(";"))
        stated = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        # An invalid weight counts as 0.
        found.setdefault(name, min(float(stated), 1.0) if _WEIGHT.fullmatch(stated) else 0.0)
    return found
