"""Receives a request body, never more of it than allowed and never for longer."""

import asyncio
import zlib
from collections.abc import Mapping
from functools import partial

from starlette.requests import Request

from service.capacity.admission import Ticket
from service.http.admission import run
from service.errors import (
    BodyTooLarge,
    EmptyBody,
    InvalidEncoding,
    RequestTimeout,
    UnsupportedMediaType,
)
from service.telemetry.record import finish
from service.settings import Settings

# The sum says which of its formats zlib is to expect.
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def check_announced(headers: Mapping[str, str], max_bytes: int) -> str:
    """Return the encoding of a body, `identity` if it has none, by the head of its request.

    Args:
        headers: Found by names in lower case.
        max_bytes: Most that a body may have.

    Raises:
        UnsupportedMediaType: It is another than gzip and deflate.
        BodyTooLarge: The body is too large by its own account.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity" and encoding not in _WINDOW_BITS:
        raise UnsupportedMediaType(
            f"Content-Encoding {encoding!r}: send the body as it is, or with gzip or deflate"
        )
    # The server has checked that the header is a number.
    if int(headers.get("content-length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    return encoding


async def read_body(request: Request, ticket: Ticket) -> bytes:
    """Read the whole body, and unpack it if it is compressed.

    Raises:
        BodyTooLarge: It has more than `max_body_bytes`, by its own account, by count or unpacked,
            or comes in more than `max_chunks`. What a client announces as too large is refused
            before any of it is read.
        RequestTimeout: It is not complete after `receive_seconds`.
        Overloaded: There is no room for it.
        EmptyBody: It has no bytes.
        UnsupportedMediaType: It is compressed with something other than gzip and deflate.
        InvalidEncoding: It says it is compressed and is not, or is cut short.
    """
    settings: Settings = request.app.state.settings
    encoding = check_announced(request.headers, settings.max_body_bytes)
    try:
        async with asyncio.timeout(settings.receive_seconds):
            body = await _receive(request, settings, ticket)
    except TimeoutError as error:
        raise RequestTimeout(
            f"the body was not complete after {settings.receive_seconds:g} seconds"
        ) from error
    finish("receive")
    if encoding != "identity":
        unpack = partial(_unpack, body, encoding, settings.max_body_bytes, ticket)
        body = await run(request, ticket, unpack)
    if not body:
        raise EmptyBody("the request has no body: send a picture, a form of files, or JSON")
    return body


async def _receive(request: Request, settings: Settings, ticket: Ticket) -> bytes:
    # Joined at the end: a buffer that grows leaves holes of all sizes behind.
    chunks: list[bytes] = []
    length = 0
    async for chunk in request.stream():
        length += len(chunk)
        if length > settings.max_body_bytes:
            raise _too_large(settings.max_body_bytes)
        if len(chunks) == settings.max_chunks:
            raise BodyTooLarge(f"the body comes in more than {settings.max_chunks} chunks")
        ticket.hold_bytes(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _unpack(body: bytes, encoding: str, max_bytes: int, ticket: Ticket) -> bytes:
    finish("queue")
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        unpacked = unpacker.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise InvalidEncoding(f"the body is not valid {encoding}: {error}") from error
    if len(unpacked) > max_bytes:
        raise _too_large(max_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidEncoding(f"the body is not one whole {encoding} stream")
    ticket.hold_bytes(len(unpacked))
    finish("decode")
    return unpacked


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {max_bytes} bytes")
