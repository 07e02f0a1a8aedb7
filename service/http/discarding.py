"""Throws away what arrives of bodies that nobody will read, and looks for what follows them.

Under overload that is most of what arrives. Linux can drop it without handing it over (MSG_TRUNC,
tcp(7)), and what is looked at every now and then is dropped much at a time. Whoever was refused may
well try again at once: the next head is looked for in the same way, a few times. The threads that
prepare pictures are interrupted the less.
"""

import asyncio
import ctypes
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

DISCARDING = "discarding"
"""Under which the application's lifespan hands it to the server's connections."""

SECONDS_BETWEEN_LOOKS = 0.02

SECONDS_OF_A_LOOK = 0.01
"""After which others have their turn; what was not looked at comes first the next time."""

LOOKS_FOR_A_HEAD = 2
"""After which the event loop is asked to tell: most connections stay idle for long."""

_HEAD_BYTES = 4096
"""Read at once where the rest may be thrown away: a server takes in a quarter of a megabyte, where
it is copied twice."""

_MOST_BYTES = 1 << 20
"""Dropped of one body at a look."""


class Unread(Protocol):
    """A connection that does not read while it is looked at."""

    def fileno(self) -> int:
        """Return the number of its socket's file."""

    def discarded(self) -> None:
        """Be told that all of the body has been thrown away."""

    def head_received(self, data: bytes) -> None:
        """Go on, with what arrived behind it, which begins with a head."""

    def read_on(self) -> None:
        """Go on: nothing has arrived behind it, or the end of the stream."""

    def ended(self) -> None:
        """Close: the client has sent no more than a part of the body."""


class Discarding:
    """The bodies that one event loop throws away."""

    is_possible = sys.platform == "linux"

    def __init__(self) -> None:
        self._missing: dict[Unread, int] = {}
        self._looks_left: dict[Unread, int] = {}
        self._room = ctypes.create_string_buffer(_HEAD_BYTES)
        # Python has recv(2) as a method of socket objects, which own their files.
        self._recv = _libc_recv(ctypes.CDLL)
        # Keeps the interpreter: it is done before another thread would give it back.
        self._recv_at_once = _libc_recv(ctypes.PyDLL)
        self._is_due = False

    def begin(self, connection: Unread, size: int) -> None:
        """Throw away the next `size` bytes, more than 0, of a connection that reads no more."""
        self._missing[connection] = size
        self._look_later()

    def expect_head(self, connection: Unread) -> None:
        """Look for what comes next on a connection that does not read."""
        self._looks_left[connection] = LOOKS_FOR_A_HEAD
        self._look_later()

    def hurry(self, connection: Unread) -> None:
        """Look for what comes next at once, for the last time, if it is looked for at all."""
        if self._looks_left.pop(connection, 0):
            self._look_for_head(connection, 1)

    def stop(self, connection: Unread) -> None:
        """Leave a connection that is closed alone, if it is known."""
        self._missing.pop(connection, None)
        self._looks_left.pop(connection, None)

    def _look_later(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(SECONDS_BETWEEN_LOOKS, self._look)

    def _look(self) -> None:
        self._is_due = False
        _each(self._looks_left, self._look_for_head)
        _each(self._missing, self._drop)
        if self._missing or self._looks_left:
            self._look_later()

    def _look_for_head(self, connection: Unread, looks_left: int) -> None:
        try:
            received = _receive(self._recv_at_once, connection, self._room, _HEAD_BYTES, 0)
        except BlockingIOError:
            if looks_left > 1:
                self._looks_left[connection] = looks_left - 1
            else:
                connection.read_on()
            return
        except OSError:
            received = 0
        if received:
            connection.head_received(ctypes.string_at(self._room, received))
        else:
            connection.read_on()  # The end is told to whoever reads again.

    def _drop(self, connection: Unread, missing: int) -> None:
        most = min(missing, _MOST_BYTES)
        try:
            dropped = _receive(self._recv, connection, None, most, socket.MSG_TRUNC)
        except BlockingIOError:
            self._missing[connection] = missing
            return
        except OSError:
            dropped = 0
        if not dropped:
            connection.ended()
        elif dropped < missing:
            self._missing[connection] = missing - dropped
        else:
            connection.discarded()


def _libc_recv(library: type[ctypes.CDLL]) -> Any:
    recv = library(None, use_errno=True).recv
    recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    recv.restype = ctypes.c_ssize_t
    return recv


def _receive(recv: Any, connection: Unread, room: object, most: int, flags: int) -> int:
    """Receive what has arrived; return how many bytes it was, 0 at the end of the stream.

    Raises:
        BlockingIOError: Nothing has arrived.
        OSError: The connection is broken.
    """
    received: int = recv(connection.fileno(), room, most, flags | socket.MSG_DONTWAIT)
    if received < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return received


def _each(connections: dict[Unread, int], look_at: Callable[[Unread, int], None]) -> None:
    """Look at each connection that is known by now, until the time is over.

    Whoever is to be looked at again puts itself behind the others.
    """
    end = time.monotonic() + SECONDS_OF_A_LOOK
    for _ in range(len(connections)):
        connection = next(iter(connections), None)
        if connection is None:
            return
        look_at(connection, connections.pop(connection))
        if time.monotonic() > end:
            return
