"""A connection that does not wait for ever for the headers of a request."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""From the first byte of a request, or from the connection, to the end of its headers."""

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line and headers. One read more may be in memory before it is noticed."""


class BoundedHeadProtocol(HttpToolsProtocol):
    """Closes connections whose headers come too slowly (408) or never end (431).

    uvicorn bounds the idle time between two requests, and leaves bodies to the application; the
    headers between the two are left to whoever sends them.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._is_in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_complete()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head and self._head_timer is None:
            self._expect_head()
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True  # A timer is only worth its time if it ends in another packet.

    def on_headers_complete(self) -> None:
        self._head_complete()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse, b"408 Request Timeout")

    def _head_complete(self) -> None:
        self._is_in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: bytes) -> None:
        self._head_complete()
        # Behind answers that are under way, nobody would know which request this is about.
        if not self.transport.is_closing() and not self._is_answering:
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
        self.transport.close()

    @property
    def _is_answering(self) -> bool:
        """Whether the application has a request of this connection that it has not answered."""
        return self.cycle is not None and not self.cycle.response_complete
