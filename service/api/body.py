"""Receives a request body, never more of it than allowed."""

from starlette.requests import Request

from service.errors import BodyTooLarge, EmptyBody, UnsupportedMediaType
from service.observation import finish


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """Read the whole body.

    Raises:
        BodyTooLarge: It has more than `max_bytes`, by its own account or by count. What a client
            announces as too large is refused before any of it is read.
        EmptyBody: It has no bytes.
        UnsupportedMediaType: It is compressed.
    """
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedMediaType(f"Content-Encoding {encoding!r}: send the body as it is")
    # The server has checked that the header is a number.
    if int(request.headers.get("Content-Length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    finish("receive")
    if received == 0:
        raise EmptyBody("the request has no body: send a picture, a form of files, or JSON")
    return b"".join(chunks)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {max_bytes} bytes")
