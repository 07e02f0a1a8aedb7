"""Throws away what arrives of bodies that nobody will read.

Under overload that is most of what arrives. Linux can drop it without handing it over (MSG_TRUNC,
tcp(7)), and what is looked at every now and then is dropped much at a time. The threads that
prepare pictures are interrupted the less.
"""

import asyncio
import socket
import sys
from typing import Protocol

DISCARDING = "discarding"
"""Under which the application's lifespan hands it to the server's connections."""

SECONDS_BETWEEN_LOOKS = 0.02

HEAD_BYTES = 16 * 1024
"""Read at once where the rest may be thrown away."""

_MOST_BYTES = 1 << 20
"""Dropped of one body at a look."""


class Unread(Protocol):
    """A connection that does not read what is thrown away."""

    def fileno(self) -> int:
        """Return the number of its socket's file."""

    def discarded(self) -> None:
        """Read on: all of the body has been thrown away."""

    def ended(self) -> None:
        """Close: the client has sent no more than a part of the body."""


class HeadReader(asyncio.BufferedProtocol):
    """Reads little of a connection until it is known whether the rest will be read.

    A server takes in a quarter of a megabyte at once, where it is copied twice. Whoever's last body
    was thrown away may well send another.
    """

    def __init__(self, connection: asyncio.Protocol, room: bytearray) -> None:
        self._connection, self._room = connection, room

    def get_buffer(self, sizehint: int) -> bytearray:
        del sizehint
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(bytes(memoryview(self._room)[:nbytes]))

    def eof_received(self) -> None:
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()


class Discarding:
    """The bodies that one event loop throws away."""

    is_possible = sys.platform == "linux"

    def __init__(self) -> None:
        self._missing: dict[Unread, int] = {}
        # The system asks for room, though it writes nothing; of this, no page is ever touched.
        self._room = bytearray(_MOST_BYTES)
        self._looks = False
        self._head_room = bytearray(HEAD_BYTES)

    def head_reader(self, connection: asyncio.Protocol) -> HeadReader:
        """Return what reads the next head of a connection."""
        return HeadReader(connection, self._head_room)

    def begin(self, connection: Unread, size: int) -> None:
        """Throw away the next `size` bytes, more than 0, of a connection that reads no more."""
        self._missing[connection] = size
        if not self._looks:
            self._look_later()

    def stop(self, connection: Unread) -> None:
        """Leave a connection that is closed alone, if it is known."""
        self._missing.pop(connection, None)

    def _look_later(self) -> None:
        self._looks = True
        asyncio.get_running_loop().call_later(SECONDS_BETWEEN_LOOKS, self._look)

    def _look(self) -> None:
        self._looks = False
        for connection, missing in list(self._missing.items()):
            try:
                dropped = self._drop(connection.fileno(), min(missing, _MOST_BYTES))
            except BlockingIOError:
                continue
            except OSError:
                dropped = 0
            if dropped and dropped < missing:
                self._missing[connection] = missing - dropped
                continue
            del self._missing[connection]
            if dropped:
                connection.discarded()
            else:
                connection.ended()
        if self._missing and not self._looks:
            self._look_later()

    def _drop(self, file: int, most: int) -> int:
        """Drop what has arrived; return how many bytes it was, 0 at the end of the stream.

        Raises:
            BlockingIOError: Nothing has arrived.
            OSError: The connection is broken.
        """
        # A socket object would close the file when it is forgotten; this one lets go of it.
        lent = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=file)
        try:
            return lent.recv_into(self._room, most, socket.MSG_TRUNC | socket.MSG_DONTWAIT)
        finally:
            lent.detach()
