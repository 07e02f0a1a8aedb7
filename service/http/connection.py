"""The server's HTTP connections: a short way for the common request, the application for others."""

import asyncio
from typing import Any

from service.http.bounded_head import BoundedHeadProtocol
from service.http.heads import Head, KnownHead, read_head
from service.http.predict import SHORT_BODY_BYTES
from service.http.short_way import SHORT_WAY, ShortWay

BODY_PATIENCE_SECONDS = 0.05
"""How long the short way waits for a body that many clients send behind the headers."""


class ServiceProtocol(BoundedHeadProtocol):
    """Has the short way answer what may go there, and hands all else to the application.

    What goes there is kept until it is answered, so that the application can still have it: parsed
    if the parser has seen it, and as it came if it was recognised before that.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._short_way: ShortWay | None = self.app_state.get(SHORT_WAY)
        self._waits = False
        self._is_between = True
        self._known: KnownHead[Head] | None = None
        self._recognised = b""
        self._head: Head | None = None
        self._body = b""
        self._is_whole = False
        self._keeps_alive = True
        self._body_timer: asyncio.TimerHandle | None = None
        # Of what the parser is fed at once:
        self._begun = self._body_bytes = 0
        self._new_head: Head | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        self._hurry()  # Whoever sends no more may well wait for an answer.
        super().eof_received()

    def shutdown(self) -> None:
        self._hurry()
        if self._head is not None or self._recognised:  # It would be taken for idle.
            self.take_usual_way()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        self._hurry()
        if self._recognised:
            data = self._recognised + data
            self._forget()
        if not self._recognises(data):
            self._feed(data)

    @property
    def is_alone(self) -> bool:
        """See `short_way.Asker`."""
        return len(self.connections) == 1

    @property
    def _is_at_rest(self) -> bool:
        """Whether what arrives next begins a message, whose answer could be sent at once."""
        return self._is_between and not (
            self._waits or self._recognised or self._is_answering or self.flow.write_paused
        )

    def _recognises(self, data: bytes) -> bool:
        """Return whether this is a known head with a body, or the beginning of one."""
        if (
            self._known is None
            or not self._is_at_rest
            or (found := self._known.match(data)) is None
        ):
            return False
        start, length = found
        missing = start + length - len(data)
        if missing < 0 or not 0 < length <= SHORT_BODY_BYTES:
            return False
        self._unset_keepalive_if_required()
        self._recognised = data
        if missing:
            self._expect_body()
        else:
            self._keeps_alive = True
            self._ask(self._known.head, data[start:])
        return True

    def _feed(self, data: bytes) -> None:
        """Hand data to the parser, and learn what the head in it looks like."""
        was_between = self._is_between
        self._begun = self._body_bytes = 0
        self._new_head = None
        super().data_received(data)
        if self._new_head is not None and was_between and self._begun == 1:
            head = data[: len(data) - self._body_bytes]
            self._known = KnownHead.learn(head, self._new_head)
        if self._head is not None and not self._is_whole and self._body_timer is None:
            self._expect_body()

    def on_message_begin(self) -> None:
        self._hurry()
        self._begun += 1
        self._is_between = False
        # A request in the same packet as the one before it is no idle time.
        self._unset_keepalive_if_required()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if (
            self._short_way is not None
            and not self._recognised
            and not self._is_answering
            and not self.flow.write_paused
            and not self.root_path
            and self.parser.get_http_version() == "1.1"
        ):
            self._head = read_head(self.parser.get_method(), self.url, self.headers)
        if self._head is None:
            super().on_headers_complete()
            return
        self._head_complete()
        self._keeps_alive = self.parser.should_keep_alive()
        if self._keeps_alive:
            self._new_head = self._head

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._head is not None:
            self._body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_between = True
        if self._head is not None:
            self._is_whole = True
            self._ask(self._head, self._body)
        else:
            super().on_message_complete()

    def _expect_body(self) -> None:
        self._body_timer = self.loop.call_later(BODY_PATIENCE_SECONDS, self.take_usual_way)

    def _ask(self, head: Head, body: bytes) -> None:
        assert self._short_way is not None  # noqa: S101 (the head is from there)
        self._stop_body_timer()  # It may be due before the answer is.
        self._waits = True
        if not self._short_way.ask(self, head, body):
            self.take_usual_way()

    def _hurry(self) -> None:
        """Have a request answered before anything else happens on the connection."""
        if self._waits:
            assert self._short_way is not None  # noqa: S101 (it was asked)
            self._short_way.answer()

    def take_answer(self, headers: bytes, body: bytes) -> None:
        """Send an answer of the short way; see `short_way.Asker`."""
        self._forget()
        if self.transport.is_closing():
            return
        lines = [b"HTTP/1.1 200 OK\r\n"]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        lines += (headers, b"\r\n" if self._keeps_alive else b"connection: close\r\n\r\n", body)
        self.transport.write(b"".join(lines))
        if not self._keeps_alive:
            self.transport.close()
        self.on_response_complete()

    def take_usual_way(self) -> None:
        """Hand the application what has come of a request; see `short_way.Asker`."""
        recognised, body, is_whole = self._recognised, self._body, self._is_whole
        is_parsed = self._head is not None
        if self.transport.is_closing():
            self._forget()
        elif recognised:
            self._waits = False
            super().data_received(recognised)
            self._forget()
        elif is_parsed:
            self._forget()
            super().on_headers_complete()
            # The parser has forgotten what it was asked for if the message is over.
            self.cycle.keep_alive = self.cycle.keep_alive and self._keeps_alive
            if body:
                super().on_body(body)
            if is_whole:
                super().on_message_complete()

    def _forget(self) -> None:
        self._waits = self._is_whole = False
        self._head = None
        self._body = self._recognised = b""
        self._stop_body_timer()

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
