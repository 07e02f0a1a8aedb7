"""The server's HTTP connections under overload: long work is refused as early as can be."""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.http.connection import ServiceProtocol
from service.http.discarding import DISCARDING, Discarding
from service.http.heads import KnownHead, end_of_head
from service.http.pictures import LONG_BODY_BYTES
from service.http.refusal import REFUSAL, Answer, LongRequest, Refusal


class RefusingProtocol(ServiceProtocol):
    """Refuses on seeing a head, and neither parses nor keeps the body behind it.

    Whoever is refused tries again, with the same head: the parser need not see that either.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._discarding: Discarding | None = self.app_state.get(DISCARDING)
        self._refusal: Refusal | None = self.app_state.get(REFUSAL)
        self._is_refused = self._is_last = False
        self._missing_bytes = 0
        self._parser_waits = False
        self._rest_timer: asyncio.TimerHandle | None = None
        self._known_refused: KnownHead[LongRequest] | None = None
        # Of what the parser is fed at once:
        self._new_refused: LongRequest | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.scheme == "https":  # What arrives has to be read, to know what it is.
            self._discarding = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_rest_timer()
        if self._discarding is not None:
            self._discarding.stop(self)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self._discarding is not None:
            self._discarding.hurry(self)
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        if not self._is_between or not self._may_discard():
            self._take_in(data)
        elif not self._refuses_again(data):
            if len(data) > LONG_BODY_BYTES:
                self._take_in_head_first(data)
            else:
                self._take_in(data)
        if self._is_refused and self._discarding is not None and not self.transport.is_closing():
            self.flow.pause_reading()
            self._discarding.begin(self, self._missing_bytes)

    def _may_discard(self) -> bool:
        return (
            self._discarding is not None and self._refusal is not None and self._refusal.is_likely
        )

    def _refuses_again(self, data: bytes) -> bool:
        """Return whether this is a request with a known head, and refused."""
        if (
            self._known_refused is None
            or not self._is_at_rest
            or (found := self._known_refused.match(data)) is None
        ):
            return False
        start, size = found
        missing = start + size - len(data)
        if missing <= 0:
            return False  # There may be another request behind it.
        assert self._refusal is not None  # noqa: S101 (it was asked whether it is likely)
        answer = self._refusal.answer(self._known_refused.head, size, self.client)
        if answer is None:
            return False
        self._unset_keepalive_if_required()
        self._is_between = self._parser_waits = False
        self._refuse_with(answer, missing, is_last=answer.is_last)
        return True

    def _take_in(self, data: bytes) -> None:
        """Have the parser look at data, and learn what a head looks like that is refused."""
        was_between = self._is_between
        self._new_refused = None
        super().data_received(data)
        if self._new_refused is not None and was_between and self._begun == 1:
            self._known_refused = KnownHead.learn(data[: end_of_head(data)], self._new_refused)

    def _take_in_head_first(self, data: bytes) -> None:
        """Take in the body only if it is not refused by its head: to look at it is to copy it."""
        end = end_of_head(data)
        self._take_in(data[:end])
        rest = len(data) - end
        if self._is_refused and rest < self._missing_bytes:
            self._missing_bytes -= rest
        elif rest and not self.transport.is_closing():
            self._take_in(data[end:])

    def on_headers_complete(self) -> None:
        if not self._refuses():
            super().on_headers_complete()

    def _refuses(self) -> bool:
        """Return whether a request is refused of which the parser has seen the head."""
        if (
            self._refusal is None
            or not self._refusal.is_likely
            or self._is_answering
            or self.flow.write_paused
            or self.root_path
        ):
            return False
        found = self._refusal.read(self.parser.get_method(), self.url, self.headers)
        if found is None:
            return False
        request, size = found
        answer = self._refusal.answer(request, size, self.client)
        if answer is None:
            return False
        self._head_complete()
        self._parser_waits = True
        is_last = answer.is_last or not self.parser.should_keep_alive()
        self._refuse_with(answer, size, is_last=is_last)
        if not is_last:
            self._new_refused = request
        return True

    def _refuse_with(self, answer: Answer, missing: int, *, is_last: bool) -> None:
        self._is_refused = True
        self._missing_bytes = missing
        self._is_last = is_last
        lines = [STATUS_LINE[answer.status]]
        lines += (b"%b: %b\r\n" % field for field in self.server_state.default_headers)
        lines += (answer.fields, b"Connection: close\r\n\r\n" if is_last else b"\r\n", answer.body)
        self.transport.write(b"".join(lines))
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
        if self._parser_waits:
            # For the body. This is how uvicorn makes one.
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.on_message_complete()
        if not self.transport.is_closing():
            assert self._discarding is not None  # noqa: S101 (it calls)
            self._discarding.expect_head(self)

    def head_received(self, data: bytes) -> None:
        """See `discarding.Unread`."""
        if not self.transport.is_closing():
            self.flow.resume_reading()
            RefusingProtocol.data_received(self, data)  # It has waited for its turn.

    def read_on(self) -> None:
        """See `discarding.Unread`."""
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def ended(self) -> None:
        """See `discarding.Unread`."""
        self.transport.close()

    def on_message_complete(self) -> None:
        if self._rest_timer is not None:
            self._stop_rest_timer()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        if not self._is_refused:
            super().on_message_complete()
            return
        self._is_between = True
        self._is_refused = False
        if self._is_last:
            self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_between and not self.transport.is_closing():
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
