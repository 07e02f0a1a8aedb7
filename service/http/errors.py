"""What goes wrong, as the answer a client gets."""

import logging
from collections.abc import Mapping
from http import HTTPMethod, HTTPStatus

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from service.http.headers import SECURITY_HEADERS
from service.http.observation import HEADER
from service.errors import InvalidParameter, RequestError
from service.telemetry.record import Observation

logger = logging.getLogger(__name__)

_PROTOCOLS = ("/v1/", "/v2/")
"""Paths whose clients expect `{"error": "…"}`, which is all their protocols define."""

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def add_error_handlers(app: FastAPI) -> None:
    """Have every error of `app` answered as `schemas.ErrorResponse`, or as its protocol has it."""
    app.add_exception_handler(RequestError, request_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, client_disconnect)
    app.add_exception_handler(Exception, _internal_error)


def _respond(
    request: Request,
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    seen: Observation = request.state.observation
    seen.rejected = code
    if f"{request.url.path}/".startswith(_PROTOCOLS):
        body = orjson.dumps({"error": message})
    else:
        body = error_document(code, message, seen.request_id)
    return Response(body, status, headers, media_type="application/json")


def error_document(code: str, message: str, request_id: str) -> bytes:
    """Return `schemas.ErrorResponse` as JSON."""
    error = {"code": code, "message": message, "request_id": request_id}
    return orjson.dumps({"error": error})


async def request_error(request: Request, error: Exception) -> Response:
    """Answer what was raised on purpose."""
    assert isinstance(error, RequestError)  # noqa: S101 (what it is registered for)
    return _respond(request, error.status, error.code, str(error), error.headers)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    name = first["loc"][-1]
    return await request_error(request, InvalidParameter(f"{name}: {first['msg']}"))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = _HTTP_CODES.get(error.status_code, "invalid_request")
    message = f"{request.method} {request.url.path}: {error.detail}"
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": _allowed_methods(request)}
    return _respond(request, error.status_code, code, message, headers)


def _allowed_methods(request: Request) -> str:
    """Return every method of the path; the router names those of the first route it tried."""
    return ", ".join(
        method
        for method in HTTPMethod
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    )


async def client_disconnect(request: Request, _: Exception) -> Response:
    """Answer a client that hung up."""
    # Nobody is left to read this; it only keeps a client that hung up from being logged as ours.
    return _respond(request, 400, "client_disconnected", "the client closed the connection")


async def _internal_error(request: Request, error: Exception) -> Response:
    # Starlette raises the error again behind this answer, and the server logs its traceback.
    request_id = request.state.observation.request_id
    logger.error("request %s failed: %s", request_id, type(error).__name__)
    # It answers from outside the middleware that adds these.
    message = "an error on our side; the log has its details"
    return _respond(
        request, 500, "internal_error", message, {HEADER: request_id, **SECURITY_HEADERS}
    )
