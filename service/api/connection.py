"""The server's HTTP connections: with a limit on what comes before a request, and a short way."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.short_way import SHORT_WAY, ShortWay

HEAD_SECONDS = 10.0
"""From the first byte of a request, or from the connection, to the end of its headers."""

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line and headers. One read more may be in memory before it is noticed."""

BODY_PATIENCE_SECONDS = 0.05
"""How long the short way waits for a body that many clients send behind the headers."""


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


class ServiceProtocol(BoundedHeadProtocol):
    """Answers what may go the short way itself, and hands all else to the application."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._short_way: ShortWay | None = self.app_state.get(SHORT_WAY)
        self._is_short = False
        self._body = b""
        self._body_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave_short_way()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self._is_short:  # It would be taken for an idle connection.
            self._take_usual_way()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_short and self._body_timer is None:
            self._body_timer = self.loop.call_later(BODY_PATIENCE_SECONDS, self._take_usual_way)

    def on_message_begin(self) -> None:
        # A request in the same packet as the one before it is no idle time.
        self._unset_keepalive_if_required()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_short = (
            self._short_way is not None
            and not self._is_answering
            and not self.flow.write_paused
            and not self.root_path
            and self.parser.get_http_version() == "1.1"
            and self._short_way.takes(self.parser.get_method(), self.url, self.headers)
        )
        if self._is_short:
            self._head_complete()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._is_short:
            self._body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_short:
            assert self._short_way is not None  # noqa: S101 (it was asked)
            answer = self._short_way.answer(
                self.parser.get_method(), self.headers, self._body, self.client
            )
            if answer is not None:
                self._leave_short_way()
                self._respond(*answer)
                return
            self._take_usual_way()
        super().on_message_complete()

    def _respond(self, headers: bytes, body: bytes) -> None:
        lines = [b"HTTP/1.1 200 OK\r\n"]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        keep_alive = self.parser.should_keep_alive()
        lines += (headers, b"\r\n" if keep_alive else b"connection: close\r\n\r\n", body)
        self.transport.write(b"".join(lines))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _take_usual_way(self) -> None:
        body = self._body
        self._leave_short_way()
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def _leave_short_way(self) -> None:
        self._is_short = False
        self._body = b""
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
