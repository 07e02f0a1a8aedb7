"""The server's HTTP connections when there are many: each in its turn."""

import asyncio
from typing import Any

from service.http.open_connections import OPEN_CONNECTIONS, OpenConnections
from service.http.predict import SHORT_BODY_BYTES
from service.http.refusing_connection import RefusingProtocol
from service.http.turns import TURNS, Turns

FIRST_REQUEST_SECONDS = 1.0
"""How long a connection on which nothing has come yet outlasts the end of the others."""


class FairProtocol(RefusingProtocol):
    """Keeps what one connection sends from holding up the others."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._turns: Turns | None = self.app_state.get(TURNS)
        self._open: OpenConnections | None = self.app_state.get(OPEN_CONNECTIONS)
        self._made_at = self.loop.time()
        self._is_new = True
        self._held = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._open is not None:
            self._open.serve(len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        self._held = b""
        super().connection_lost(exc)
        if self._open is not None:
            self._open.serve(len(self.connections))
            self._open.lose(self.loop.time() - self._made_at)

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
            super().data_received(data)

    def _has_to_wait(self, data: bytes) -> bool:
        """Return whether this may begin work, POST or PUT, and others come first.

        Health, which is asked for with GET, goes ahead, and what is long is not begun by its head.
        """
        return (
            data.startswith(b"P")
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

    def take_turn(self) -> None:
        """Go on with what came when it was the turn of others."""
        data, self._held = self._held, b""
        if data and not self.transport.is_closing():
            self.flow.resume_reading()
            super().data_received(data)
