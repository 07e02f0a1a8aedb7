"""The server's HTTP connections under load: each in its turn, and refused as early as can be."""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.api.connection import ServiceProtocol
from service.api.discarding import DISCARDING, Discarding
from service.api.pictures import LONG_BODY_BYTES
from service.api.predict import SHORT_BODY_BYTES
from service.api.refusal import REFUSAL, Answer, Refusal
from service.api.turns import TURNS, Turns

FIRST_REQUEST_SECONDS = 1.0
"""How long a connection on which nothing has come yet outlasts the end of the others."""


class FairProtocol(ServiceProtocol):
    """Keeps what one connection sends from holding up the others."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._turns: Turns | None = self.app_state.get(TURNS)
        self._discarding: Discarding | None = self.app_state.get(DISCARDING)
        self._refusal: Refusal | None = self.app_state.get(REFUSAL)
        self._is_new = True
        self._held = b""
        self._is_in_message = False
        self._is_refused = self._reads_heads = False
        self._missing_bytes = 0
        self._is_last = False
        self._rest_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.scheme == "https":  # What arrives has to be read, to know what it is.
            self._discarding = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._held = b""
        self._stop_rest_timer()
        if self._discarding is not None:
            self._discarding.stop(self)
        super().connection_lost(exc)

    def eof_received(self) -> None:
        self.take_turn()
        super().eof_received()

    def shutdown(self) -> None:
        if self._is_new:
            # Who has just connected is about to ask something, and is then told of the end.
            self._is_new = False
            self.loop.call_later(FIRST_REQUEST_SECONDS, self.shutdown)
            return
        self.take_turn()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        self._is_new = False
        if self._held or self._has_to_wait(data):
            self._hold(data)
        else:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        if len(data) <= LONG_BODY_BYTES or self._is_in_message or not self._may_discard():
            super().data_received(data)
        else:
            self._receive_head_first(data)
        if (self._is_refused or self._reads_heads) and not self.transport.is_closing():
            self._read_on()

    def _read_on(self) -> None:
        """Choose what becomes of what arrives next."""
        if not self._is_refused:
            self._read_as(self)
        elif self._discarding is not None:
            self.flow.pause_reading()
            self._discarding.begin(self, self._missing_bytes)

    def _may_discard(self) -> bool:
        return (
            self._discarding is not None and self._refusal is not None and self._refusal.is_likely
        )

    def _read_as(self, reader: asyncio.BaseProtocol) -> None:
        """Have another protocol take in what arrives; which one, is asked when reading begins."""
        self._reads_heads = reader is not self
        self.transport.set_protocol(reader)
        if not self.flow.read_paused:
            self.transport.pause_reading()
            self.transport.resume_reading()

    def _has_to_wait(self, data: bytes) -> bool:
        """Return whether this may begin work, POST or PUT, and others come first.

        Health, which is asked for with GET, goes ahead; and what is long, as it was the last time
        if only the head is read, is not begun by its head.
        """
        return (
            data.startswith(b"P")
            and not self._reads_heads
            and len(data) <= 2 * SHORT_BODY_BYTES
            and self._turns is not None
            and self._turns.are_over()
        )

    def _hold(self, data: bytes) -> None:
        assert self._turns is not None  # noqa: S101 (nothing is held without)
        self._unset_keepalive_if_required()
        if not self._held:
            self._turns.wait(self)
        self._held += data
        self.flow.pause_reading()

    def _receive_head_first(self, data: bytes) -> None:
        """Take in the body only if it is not refused by its head: to look at it is to copy it."""
        end = data.find(b"\r\n\r\n") + 4
        super().data_received(data[:end])
        rest = len(data) - end
        if self._is_refused and rest < self._missing_bytes:
            self._missing_bytes -= rest
        elif not self.transport.is_closing():
            super().data_received(data[end:])

    def take_turn(self) -> None:
        """Go on with what came when it was the turn of others."""
        data, self._held = self._held, b""
        if data and not self.transport.is_closing():
            self.flow.resume_reading()
            self._receive(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()  # It may answer the one before.
        self._is_in_message = True

    def on_headers_complete(self) -> None:
        if (
            self._refusal is not None
            and self._refusal.is_likely
            and not self._is_answering
            and not self.flow.write_paused
            and not self.root_path
        ):
            answer = self._refusal.answer(
                self.parser.get_method(), self.url, self.headers, self.client
            )
            if answer is not None:
                self._head_complete()
                self._refuse_with(answer)
                return
        super().on_headers_complete()

    def _refuse_with(self, answer: Answer) -> None:
        self._is_refused = True
        self._missing_bytes = answer.refused_bytes
        is_last = not self.parser.should_keep_alive()
        if is_last:
            answer.headers["Connection"] = "close"
        self._is_last = "Connection" in answer.headers
        fields = [
            *self.server_state.default_headers,
            *((name.encode(), value.encode()) for name, value in answer.headers.items()),
        ]
        lines = [STATUS_LINE[answer.status], *(b"%b: %b\r\n" % field for field in fields), b"\r\n"]
        self.transport.write(b"".join([*lines, answer.body]))
        self._expect_rest()

    def on_body(self, body: bytes) -> None:
        if self._is_refused:
            self._missing_bytes -= len(body)
        else:
            super().on_body(body)

    def fileno(self) -> int:
        """See `discarding.Unread`."""
        file: int = self.transport.get_extra_info("socket").fileno()
        return file

    def discarded(self) -> None:
        """See `discarding.Unread`."""
        # The one there was waits for the body. This is how uvicorn makes it.
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        assert self._discarding is not None  # noqa: S101 (it calls)
        if not self._reads_heads:
            self._read_as(self._discarding.head_reader(self))
        self.flow.resume_reading()
        self.on_message_complete()

    def ended(self) -> None:
        """See `discarding.Unread`."""
        self.transport.close()

    def on_message_complete(self) -> None:
        self._is_in_message = False
        if self._rest_timer is not None:
            self._stop_rest_timer()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        if not self._is_refused:
            super().on_message_complete()
            return
        self._is_refused = False
        if self._is_last:
            self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_in_message and not self.transport.is_closing():
            self._expect_rest()

    def _expect_rest(self) -> None:
        """Bound the time of a body that nobody reads, because its request has been answered."""
        if self._refusal is not None:
            self._rest_timer = self.loop.call_later(
                self._refusal.receive_seconds, self.transport.close
            )

    def _stop_rest_timer(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
