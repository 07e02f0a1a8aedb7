"""Admits inference requests, receives their bodies, and runs their jobs."""

import asyncio
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from .. import errors
from ..capacity.admission import Admission, Deferred, Permit
from ..capacity.pools import Pools
from ..settings import Settings

DEADLINE_HEADER = "X-Request-Timeout"

# Sixteen 28×28 images as JSON numbers: about a millisecond, as long as handing off to a thread.
INLINE_BODY_BYTES = 49152
# Longer uploads are large jobs, which are rejected unread if the queue is too long.
LARGE_BODY_BYTES = 65536
PATIENCE_SECONDS = 0.02  # Before watching for a disconnect: most jobs are done by then.

_PACKED_PIECE_BYTES = 65536
_MAX_MEMBERS = 1000
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}  # 16 selects gzip.

MAX_ITEMS, MAX_PATH = 500, 4096  # Headers or query parameters, and bytes.

HOST = re.compile(r"([A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")

_SINGLE = {  # Headers that are ambiguous when repeated.
    *(b"host", b"content-length", b"content-type", b"content-encoding", b"authorization"),
    *(b"x-api-key", DEADLINE_HEADER.lower().encode(), b"inference-header-content-length"),
}

T = TypeVar("T")


def check_headers(scope: Any) -> None:
    """Raise RequestError if the head is too long, or ambiguous (RFC 9112, section 3.2)."""
    count = max(len(scope["headers"]), scope["query_string"].count(b"&"))
    if count > MAX_ITEMS or len(scope["path"]) > MAX_PATH:
        limits = f"{MAX_ITEMS} headers or query parameters, or {MAX_PATH} bytes of path"
        raise errors.RequestError(f"the request has more than {limits}")
    names = Counter(name for name, _ in scope["headers"])
    if twice := [name.decode() for name in sorted(_SINGLE) if names[name] > 1]:
        raise errors.RequestError(f"{', '.join(twice)}: the header must not be repeated")
    host = dict(scope["headers"]).get(b"host", b"" if scope["http_version"] == "1.1" else b"_")
    if not HOST.fullmatch(host.decode("latin-1")):
        raise errors.RequestError("host: the header is missing or is not a host")


def admit(request: Request, images: int = 1) -> Permit:
    """Accept a request before its body is read, if there is capacity for so many images.

    `run` reserves them: a client that never sends its body must not hold capacity.
    """
    admission: Admission = request.app.state.admission
    begin = getattr(request.state, "body_begins", math.inf)
    admission.check(images, begin)
    return admission.admit(request.state.record, images=0, begin=begin)


async def run(
    request: Request, permit: Permit, job: Callable[[], T], *, is_inline: bool = False
) -> T:
    """Run the work of a request whose body was received, inline or in a pool.

    An inline job that raises Deferred (a large image) starts again in the pool. If the client
    disconnects, the job is cancelled. Raises RequestError or ClientDisconnect.
    """
    settings: Settings = request.app.state.settings
    pools: Pools = request.app.state.pools
    permit.start_deadline(deadline_seconds(request.headers, settings.deadline_seconds))
    permit.reserve_images(1)
    if is_inline:
        try:
            return pools.run_inline(job, permit)
        except Deferred:
            pass
    running = asyncio.create_task(pools.run(job, permit))
    disconnected = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait({running, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise ClientDisconnect
        return running.result()
    finally:
        running.cancel()
        disconnected.cancel()
        # Break the cycle of exception and frame, which would keep images until garbage collection.
        del running, disconnected


async def _wait_for_disconnect(request: Request) -> None:
    await asyncio.sleep(PATIENCE_SECONDS)
    while (await request.receive())["type"] != "http.disconnect":
        pass


def deadline_seconds(headers: Mapping[str, str], most: float) -> float:
    """Return the time limit of a job: `most`, or less if the client asks for less."""
    text = headers.get(DEADLINE_HEADER.lower())
    if text is None:
        return most
    try:
        wanted = float(text)
    except ValueError:
        wanted = math.nan
    if not wanted > 0:
        raise errors.InvalidParameter(f"{DEADLINE_HEADER}: expected a positive number of seconds")
    return min(wanted, most)


def check_head(headers: Mapping[str, str], max_bytes: int) -> str:
    """Return the body's content coding; header names are in lower case.

    Raises RequestError for an unsupported coding or a Content-Length above `max_bytes`.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity" and coding not in _WINDOW_BITS:
        raise errors.UnsupportedMediaType(
            f"Content-Encoding {coding!r}: send the body uncompressed, or with gzip or deflate"
        )
    # The server has already validated the number.
    if int(headers.get("content-length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    return coding


async def read_body(request: Request, permit: Permit, *, may_be_large: bool = False) -> bytes:
    """Read and decompress the body; it may be that of a large job.

    Raises RequestError if it exceeds a limit of bytes, chunks or time, is empty, or is not valid
    in its content coding, or if a large job would wait too long.
    """
    settings: Settings = request.app.state.settings
    # Permanent errors take precedence over 503, which invites a retry.
    coding = check_head(request.headers, settings.max_body_bytes)
    if may_be_large and int(request.headers.get("Content-Length", 0)) > LARGE_BODY_BYTES:
        seconds = deadline_seconds(request.headers, settings.deadline_seconds)
        request.app.state.pools.check_large_job(seconds)
        permit.is_large = True
    try:
        begin = getattr(request.state, "body_begins", asyncio.get_running_loop().time())
        async with asyncio.timeout_at(begin + settings.receive_seconds):
            body = await _receive(request, settings, permit)
    except TimeoutError as error:
        raise errors.RequestTimeout(
            f"the body was not complete after {settings.receive_seconds:g} seconds"
        ) from error
    permit.record.record_phase("receive")
    if coding != "identity":
        job = partial(_decompress, body, coding, settings.max_body_bytes, permit)
        body = await run(request, permit, job)
    if not body:
        raise errors.EmptyBody("no body: send an image, a form with files, or JSON")
    return body


async def _receive(request: Request, settings: Settings, permit: Permit) -> bytes:
    # A growing buffer would fragment the heap.
    chunks: list[bytes] = []
    length = 0
    async for chunk in request.stream():
        length += len(chunk)
        if length > settings.max_body_bytes:
            raise _too_large(settings.max_body_bytes)
        if len(chunks) == settings.max_chunks:
            raise errors.BodyTooLarge(f"the body has more than {settings.max_chunks} chunks")
        permit.reserve_bytes(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _decompress(body: bytes, coding: str, max_bytes: int, permit: Permit) -> bytes:
    permit.record.record_phase("queue")
    parts: list[bytes] = []
    length, members, decompressor = 0, 0, None
    for begin in range(0, len(body), _PACKED_PIECE_BYTES):
        rest = body[begin : begin + _PACKED_PIECE_BYTES]
        permit.check()
        while rest:
            if decompressor is None or (decompressor.eof and coding == "gzip"):
                members += 1  # A gzip file may have several (RFC 1952).
                decompressor = zlib.decompressobj(_WINDOW_BITS[coding])
            if decompressor.eof or members > _MAX_MEMBERS:
                raise errors.InvalidEncoding(f"the body has too many {coding} streams")
            try:
                parts.append(decompressor.decompress(rest, max_bytes + 1 - length))
            except zlib.error as error:
                raise errors.InvalidEncoding(f"the body is not valid {coding}: {error}") from error
            length += len(parts[-1])
            if length > max_bytes:
                raise _too_large(max_bytes)
            rest = decompressor.unused_data
    if decompressor is None or not decompressor.eof:
        raise errors.InvalidEncoding(f"the {coding} stream is incomplete")
    permit.reserve_bytes(length)
    permit.record.record_phase("decode")
    return b"".join(parts)


def _too_large(max_bytes: int) -> errors.BodyTooLarge:
    return errors.BodyTooLarge(f"the body is larger than {max_bytes} bytes")
