"""The server's HTTP connections: uvicorn's, with limits on heads and a fast path before ASGI.

For an image of the data set, the task, the middleware and the router that a request passes in an
ASGI application take longer than decoding and the network. So requests are offered to a fast path
first: it answers small inference requests that have arrived whole, and rejects large ones if the
service is overloaded. Everything else goes to the application, which is complete without it.
"""

import asyncio
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

UVICORN_INTERNALS = ("_start_asgi_task", "_unset_keepalive_if_required")
"""The private names used here. Tests run with the oldest and the newest uvicorn that pyproject.toml
allows."""

HEAD_SECONDS = 10.0
"""From the first byte of a request, or from the connection, to the end of its headers."""

MAX_HEAD_BYTES = 64 * 1024
"""Most bytes of a request line and headers, not counting the packet in which they begin."""

BODY_SECONDS = 0.05
"""How long the fast path waits for the body; many clients send it in a packet of its own."""

FIRST_REQUEST_SECONDS = 1.0
"""How long a new connection may still send its first request after the server shuts down."""


class Reply(NamedTuple):
    """A whole answer; `fields` are header lines, each with its line end."""

    status: int
    fields: bytes
    body: bytes
    closes: bool = False


class FastPath(Protocol):
    """What answers requests before ASGI; the lifespan state has it as `fast_path`."""

    receive_seconds: float
    """How long the rest of a skipped body may take to arrive."""

    def match(self, scope: Any) -> Any:
        """Return what `submit` needs to answer a request, a Reply that rejects it, or None."""

    def submit(self, connection: "ServiceProtocol", cycle: Any, match: Any) -> None:
        """Answer a request that has arrived whole, soon, by `respond` or `fall_back`."""

    def flush(self) -> None:
        """Answer some of the requests that wait."""


class ServiceProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._fast_path: FastPath | None = self.app_state.get("fast_path")
        self._match: Any = None  # of the request whose body is still to come
        self._body_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._is_in_head = self._is_in_message = self._closes_after_message = self._is_refused = (
            False
        )
        self._waiting: RequestResponseCycle | None = None  # with the batcher
        self._is_new = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._body_timer, self._rest_timer):
            if timer is not None:
                timer.cancel()
        self._match = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._is_new = False
        if self._is_refused:
            return
        if self._head_timer is not None:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.parser.get_method() == b"CONNECT":
                self._refuse(400)
            elif not self.transport.is_closing():
                self._start_over(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400)
        if self._is_in_head and self._head_timer is None:
            self._start_head_timer()  # It only costs its time if the head ends in another packet.
        elif self._head_timer is not None and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431)

    def _start_over(self, rest: bytes) -> None:
        """Read a request as if it did not ask for another protocol (RFC 9110, section 7.8)."""
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += (b"%b: %b" % field for field in self.headers if field[0] != b"upgrade")
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def eof_received(self) -> None:
        # A client that sends no more may well wait for an answer; the transport closes behind this.
        while self._waiting is not None:
            assert self._fast_path is not None  # noqa: S101 (it has the request)
            self._fast_path.flush()
        super().eof_received()

    def shutdown(self) -> None:
        if self._is_new:  # A client that has just connected is about to send a request.
            self._is_new = False
            self.loop.call_later(FIRST_REQUEST_SECONDS, self.shutdown)
        else:
            super().shutdown()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        self._is_in_head = self._is_in_message = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if not self._asks_for_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._asks_for_upgrade():
            return  # It starts over without.
        self._is_in_message = False
        super().on_message_complete()
        if self._match is not None:
            self._submit(self.cycle, self._match)
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
            self._start_keep_alive_timer()
        if self._closes_after_message:
            self.transport.close()

    def _asks_for_upgrade(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Offer a request, whose head is known, to the fast path."""
        if self._fast_path is None or self.flow.write_paused:
            match = None
        else:
            match = self._fast_path.match(cycle.scope)
        if match is None:
            super()._start_asgi_task(cycle, app)
        elif isinstance(match, Reply):
            self.respond(cycle, match)
        elif cycle.more_body:
            self._match = match
            self._body_timer = self.loop.call_later(BODY_SECONDS, self._give_up, cycle)
        else:
            self._submit(cycle, match)

    def _submit(self, cycle: RequestResponseCycle, match: Any) -> None:
        self._match, self._waiting = None, cycle
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        assert self._fast_path is not None  # noqa: S101 (the match is its own)
        self._fast_path.submit(self, cycle, match)

    def _give_up(self, cycle: RequestResponseCycle) -> None:
        self._match = self._body_timer = None
        self.fall_back(cycle)

    # Responses.

    def fall_back(self, cycle: RequestResponseCycle) -> None:
        """Leave a request to the application, before anything of the response is sent."""
        self._waiting = None
        if not cycle.disconnected:
            super()._start_asgi_task(cycle, self.app)

    def respond(self, cycle: RequestResponseCycle, reply: Reply) -> None:
        """Send a whole response."""
        self._waiting = None
        if cycle.disconnected or self.transport.is_closing():
            return
        cycle.keep_alive = cycle.keep_alive and not reply.closes
        lines = [STATUS_LINE[reply.status]]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        lines += (reply.fields, end, reply.body)
        self.transport.write(b"".join(lines))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            # To close before the body has come would be to reset the connection.
            self._closes_after_message = cycle.more_body
            if not self._closes_after_message:
                self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_in_message or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()  # It is not idle.
        if not self._is_in_head and self.cycle.response_complete:
            # The rest of its body is skipped, and has its time as well.
            seconds = self._fast_path.receive_seconds if self._fast_path else HEAD_SECONDS
            self._rest_timer = self.loop.call_later(seconds, self.transport.close)

    def _start_keep_alive_timer(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _start_head_timer(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse, 408)

    def _refuse(self, status: int) -> None:
        """Stop reading and send an error, unless earlier responses are still in progress."""
        self._is_refused = True
        is_idle = self.cycle is None or self.cycle.response_complete
        is_own_body = self._is_in_message and not self._is_in_head and not self.pipeline
        if self.transport.is_closing():
            return
        if not is_idle and not is_own_body:
            self.flow.pause_reading()
            self.cycle.keep_alive = False  # It is the last of them.
        elif not is_idle and self.cycle.response_started:
            self.transport.close()
        elif status == HTTPStatus.BAD_REQUEST:
            self.send_400_response("Invalid HTTP request received.")
        else:
            line = STATUS_LINE[status]
            self.transport.write(line + b"connection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()
