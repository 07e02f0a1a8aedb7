"""The server's HTTP connections: uvicorn's, with limits on heads and a fast path before ASGI.

For a 28×28 image, an ASGI application's task, middleware and router take longer than decoding and
the network. A fast path therefore sees requests first: it answers small inference requests that
have arrived whole and rejects large ones under overload. All others go to the application.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from ..capacity.scheduling import FairScheduler

UVICORN_INTERNALS = ("_start_asgi_task", "_unset_keepalive_if_required")
"""Private names used here, tested with the oldest and newest uvicorn that pyproject.toml allows."""

HEAD_SECONDS = 10.0  # From the connection, or the first byte of a request, to the end of its head.
MAX_HEAD_BYTES = 64 * 1024  # Also of trailers. Not counting the packet in which the head begins.
BODY_SECONDS = 0.05  # The fast path waits for the rest of a body of several packets.
UNCOUNTED_BYTES = 4096  # It waits longer for a body of which no more has arrived: that is cheap.
FIRST_REQUEST_SECONDS = 1.0  # For a new connection to send a request after the server shuts down.
CHUNKED_PIECE_BYTES = 4096  # Parsed at a time of a chunked body: its chunks may have one byte each.

_HEAD_END = b"\r\n\r\n"


class _Flow(FlowControl):
    """Keeps reading paused while received bytes are unparsed."""

    is_held = False

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()


class Reply(NamedTuple):
    """A complete response; `fields` are header lines, each ending in CRLF."""

    status: int
    fields: bytes
    body: bytes
    closes: bool = False


class FastPath(Protocol):
    """Answers requests before ASGI; stored in the lifespan state as `fast_path`."""

    receive_seconds: float  # Limit for a body to arrive, even one that nobody reads.
    send_seconds: float  # Limit for a client to receive a response.
    scheduler: FairScheduler

    def match(self, scope: Any) -> Any:
        """Return an argument for `submit`, a Reply that rejects the request, or None."""

    def submit(self, connection: "ServiceProtocol", cycle: Any, match: Any) -> None:
        """Queue a complete request, to end in `respond` or `fall_back`."""


class ServiceProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._fast_path: FastPath = self.app_state["fast_path"]
        self._match: Any = None  # of the request whose body is still arriving
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._head_bytes = 0
        self._body_left = 0  # bytes of it that are still to be parsed, unless it is chunked
        self._held, self._held_from = b"", 0  # received and not yet parsed
        self._refusal = HTTPStatus.BAD_REQUEST
        self._is_in_head = self._is_in_message = self._is_chunked = self._is_due = False
        self._closes_after_message = self._is_refused = self._is_half_closed = self._is_used = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._match = None
        self._is_refused = True
        end = partial(self._end, exc)
        if self.cycle is None or self.cycle.response_complete:
            end()
        else:  # Spread out, because each wakes a task and many connections may end at once.
            self.cycle.disconnected = True
            self._fast_path.scheduler.begin_task(end)

    def _end(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        for name in list(self._timers):
            self._clear_timer(name)
        self.pipeline.clear()  # Cycles refer to the connection: all would wait for a collection.
        self.cycle = None  # type: ignore[assignment]  # as it is before the first request

    def _start_timer(self, name: str, seconds: float, callback: Callable[..., object]) -> None:
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, callback)

    def _clear_timer(self, name: str) -> bool:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def data_received(self, data: bytes) -> None:
        self._is_used = True
        if self._is_refused:
            return
        if self._held or self._is_answering() or not self._fast_path.scheduler.may_parse():
            self._hold(self._held[self._held_from :] + data)
        else:
            self._parse_some(data, 0)

    def _is_answering(self) -> bool:
        """Whether a complete request is still unanswered."""
        is_arriving = self._is_in_message and not self._is_in_head and not self.pipeline
        return not (is_arriving or self.cycle is None or self.cycle.response_complete)

    def _hold(self, data: bytes, begin: int = 0) -> None:
        if self.transport.is_closing():
            return
        self._held, self._held_from = data, begin
        self.flow.pause_reading()
        self._flow.is_held = True
        if not self._is_answering():
            self._parse_later(is_pipelined=begin > 0)

    def _parse_later(self, *, is_pipelined: bool) -> None:
        if not self._is_due:
            self._is_due = True
            self._fast_path.scheduler.later(self._parse_held, is_pipelined=is_pipelined)

    def _parse_held(self) -> None:
        self._is_due = False
        if self._is_refused or self._is_answering() or not self._held:
            return
        data, self._held, self._flow.is_held = self._held, b"", False
        self._parse_some(data, self._held_from)
        if self.transport.is_closing():
            return
        is_skipped = self.cycle is None or self.cycle.response_complete
        if is_skipped or len(self.cycle.body) <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()
        if self._is_half_closed:
            self._close_if_answered()

    def _parse_some(self, data: bytes, begin: int) -> None:
        """Parse up to the end of a head or body, and hold what may be another request.

        A blank line in a chunked body is harmless: it only splits the parsing.
        """
        end = len(data)
        if self._body_left:
            end = min(end, begin + self._body_left)
        elif (head := data.find(_HEAD_END, begin)) >= 0:
            end = head + len(_HEAD_END)
        if self._is_chunked:
            end = min(end, begin + CHUNKED_PIECE_BYTES)
        self._parse(memoryview(data)[begin:end])
        if end == len(data):
            self._limit_body()
        elif self._body_left and not self._is_refused:
            self._parse_some(data, end)
        else:
            self._hold(data, end)

    def _parse(self, data: bytes | memoryview) -> None:
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.parser.get_method() == b"CONNECT":
                self._refuse(400)
            elif not self.transport.is_closing():
                self._start_over(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserError:
            self._refuse(self._refusal)
        if self._is_in_head and "head" not in self._timers:
            self._start_head_timer()  # Not for a head that is complete in one packet.
        elif self._head_bytes > MAX_HEAD_BYTES and ("head" in self._timers or self._is_chunked):
            self._refuse(431)

    def _start_over(self, rest: bytes) -> None:
        """Parse a request again without its Upgrade header (RFC 9110, section 7.8)."""
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += (b"%b: %b" % field for field in self.headers if field[0] != b"upgrade")
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"\r\n".join([*lines, b"", rest]))

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Keep a half-closed connection open for the responses."""
        self._is_half_closed = True
        self._close_if_answered()
        return not self.transport.is_closing()

    def _close_if_answered(self) -> None:
        if not self._held and not self._is_answering():
            self._close()

    def shutdown(self) -> None:
        if self._match is not None:
            self._give_up()  # The application ends it if the drain times out.
        if not self._is_used or (self._held and not self._is_answering()):  # A request may come.
            self._is_used = True
            self.loop.call_later(FIRST_REQUEST_SECONDS, self.shutdown)
        else:
            super().shutdown()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        self._is_in_head = self._is_in_message = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._clear_timer("head")
        if self._asks_for_upgrade():
            return
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        self._body_left = int(dict(self.headers).get(b"content-length", 0))
        self._is_chunked, self._head_bytes = bool(codings), 0
        if codings and codings != [b"chunked"]:
            self._refusal = HTTPStatus.NOT_IMPLEMENTED
            raise NotImplementedError("a transfer coding other than chunked")
        self.expect_100_continue &= self.parser.get_http_version() != "1.0"
        self.scope["state"]["body_begins"] = self.loop.time()  # For `http.inference`, too.
        super().on_headers_complete()
        self.headers = []  # For trailers, which are no headers and are dropped (RFC 9110, 6.5.1).

    def on_body(self, body: bytes) -> None:
        self._body_left, self._head_bytes = max(0, self._body_left - len(body)), 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._asks_for_upgrade():
            return  # `_start_over` follows.
        if self._clear_timer("rest"):
            self.timeout_keep_alive_handler()  # The connection is idle only from now on.
        self._is_in_message = self._is_chunked = False
        super().on_message_complete()
        if (match := self._match) is not None:
            self._stop_waiting()
            self._fast_path.submit(self, self.cycle, match)
        if self._closes_after_message:
            self._close()

    def _asks_for_upgrade(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _start_asgi_task(self, cycle: RequestResponseCycle, _: Any) -> None:
        """Offer a request to the fast path once its head is parsed."""
        match = None if self.flow.write_paused else self._fast_path.match(cycle.scope)
        if match is None:
            self.fall_back(cycle)
        elif isinstance(match, Reply):
            self.respond(cycle, match)
        elif cycle.more_body:
            self._match = match  # Until the rest of the body arrives.
        else:
            self._fast_path.submit(self, cycle, match)

    def _limit_body(self) -> None:
        """Limit how long the fast path waits for a body that this packet has not completed."""
        if self._match is None:
            return
        name, seconds = "body", self._fast_path.receive_seconds
        if len(self.cycle.body) > UNCOUNTED_BYTES:  # The application counts and limits them.
            name, seconds = "counted", BODY_SECONDS
        self._start_timer(name, seconds, self._give_up)

    def _give_up(self) -> None:
        self._stop_waiting()
        self.fall_back(self.cycle)

    def _stop_waiting(self) -> None:
        self._match = None
        self._clear_timer("body")
        self._clear_timer("counted")

    # Responses.

    def fall_back(self, cycle: RequestResponseCycle) -> None:
        """Leave a request to the application; nothing of a response may have been sent."""
        self._fast_path.scheduler.begin_task(partial(self._begin_task, cycle))

    def _begin_task(self, cycle: Any) -> None:
        if not cycle.disconnected:
            write, is_closing = self.transport.write, self.transport.is_closing
            close = self._end_response  # Which the cycle calls once it has responded.
            cycle.transport = SimpleNamespace(write=write, is_closing=is_closing, close=close)
            super()._start_asgi_task(cycle, self.app)

    def respond(self, cycle: RequestResponseCycle, reply: Reply) -> None:
        """Send a complete response."""
        if cycle.disconnected or self.transport.is_closing():
            return
        cycle.keep_alive = cycle.keep_alive and not reply.closes
        start = [STATUS_LINE[reply.status]]
        start += (b"%b: %b\r\n" % field for field in self.server_state.default_headers)
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join([*start, reply.fields, end, reply.body]))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self._end_response()
        self.on_response_complete()

    def _end_response(self) -> None:
        """Close, but not before a body that may be on its way: that would reset the connection."""
        is_sent = self.cycle is not None and self.cycle.response_complete
        is_arriving = is_sent and self.cycle.more_body
        self._closes_after_message = is_arriving and not self.expect_100_continue
        if not self._closes_after_message:
            self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._limit_body()  # Of the next request, whose head had arrived.
        if self.transport.is_closing():
            self._close()
            return
        self._end_writing()
        if self._held:
            self._parse_later(is_pipelined=True)
        elif self._is_half_closed:
            self.loop.call_soon(self._close_if_answered)  # This packet may hold another request.
        if self._is_in_message and not self._is_in_head and self.cycle.response_complete:
            # Skip the rest of the body within the time limit of the whole body.
            waited = self.loop.time() - self.scope["state"]["body_begins"]
            self._start_timer("rest", self._fast_path.receive_seconds - waited, self._close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._limit_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_writing()

    def _limit_writing(self) -> None:
        self._start_timer("write", self._fast_path.send_seconds, self.transport.abort)

    def _end_writing(self) -> None:
        """Clear the send timer, which runs over all pauses, once the response is sent."""
        if self.cycle.response_complete and not self.flow.write_paused:
            self._clear_timer("write")

    def _close(self) -> None:
        """Close once the written bytes are received or `send_seconds` are over."""
        self.transport.close()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # Uvicorn notices only once it is closed.
        if self.transport.get_write_buffer_size():
            self._limit_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close unless a request has begun, which blank lines do not; else wait again."""
        if not (self._held or self._is_in_message or self._is_answering()):
            self._close()
            return
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _start_head_timer(self) -> None:
        self._head_bytes = 0
        self._start_timer("head", HEAD_SECONDS, partial(self._refuse, 408))

    def _refuse(self, status: int) -> None:
        """Stop reading, and send an error unless earlier responses are in progress."""
        self._is_refused = True
        is_idle = self.cycle is None or self.cycle.response_complete
        if self.transport.is_closing():
            return
        if self._is_answering():
            self.cycle.keep_alive = False  # Close after the last response.
            return
        if (is_idle and not self._closes_after_message) or not self.cycle.response_started:
            if status == HTTPStatus.BAD_REQUEST:
                self.send_400_response("Invalid HTTP request received.")
            else:
                line = STATUS_LINE[status]
                self.transport.write(line + b"connection: close\r\ncontent-length: 0\r\n\r\n")
        self._close()
