"""What is done to every answer of a route: HEAD, compression, and addresses behind a proxy."""

import re
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIN_COMPRESSED_BYTES = 4096

_TAKES_GZIP = re.compile(r"(?:^|,)\s*gzip\s*(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))(?:;|,|$)", re.I)


class AnswerMiddleware:
    """Answers HEAD like GET, compresses for clients that take gzip, and keeps addresses relative.

    A compressed answer has an ETag of its own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = GZipMiddleware(app, MIN_COMPRESSED_BYTES, compresslevel=1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        fields = MutableHeaders(raw=list(scope["headers"]))
        takes_gzip = _TAKES_GZIP.search(fields.get("Accept-Encoding", "")) is not None
        fields["Accept-Encoding"] = "gzip" if takes_gzip else "identity"
        tags = fields.get("If-None-Match", "")
        if takes_gzip and tags:
            fields["If-None-Match"] = tags.replace('-gzip"', '"')
        if not fields.get("Range", "").startswith("bytes="):
            del fields["Range"]  # Another unit is to be ignored.
        method = "GET" if is_head else scope["method"]
        inner = {**scope, "method": method, "headers": fields.raw}

        async def send_adapted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                is_known = message["status"] == 304 and tags != fields.get("If-None-Match", "")
                if "ETag" in headers and (is_known or "Content-Encoding" in headers):
                    headers["ETag"] = headers["ETag"].removesuffix('"') + '-gzip"'
                if "Location" in headers:  # It differs in the slashes at the end.
                    bare = scope["path"].rstrip("/")
                    name = quote(bare.rpartition("/")[2])
                    query = f"?{scope['query_string'].decode('latin-1')}".rstrip("?")
                    up = "../" * (len(scope["path"]) - len(bare))
                    headers["Location"] = (up + name if up else f"{name}/") + query
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(inner, receive, send_adapted)
        finally:
            if "route" in inner:
                scope["route"] = inner["route"]
