"""Divides the connections that come to the port of several workers among them.

All workers are told of a connection, and the first to accept it has it. That is the one that is
awake: when a client opens its connections at once, one worker has accepted all of them before
another is there, and answers them alone for as long as they stay open. So whoever has more than
another leaves the next to it for a moment; after that it takes what is still there, for the other
may be busy or gone.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvloop

from service.http.fair_connection import FairProtocol
from service.http.open_connections import OPEN_CONNECTIONS, OpenConnections

POLITE_SECONDS = 0.001
"""How long a connection is left to others: the shortest time that the event loop measures."""

RETRY_SECONDS = 1.0
"""Without files or memory for another connection, after which it is tried again."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

logger = logging.getLogger(__name__)


class SharingLoop(uvloop.Loop):
    """An event loop that listens on a socket it is given as one of several workers."""

    async def create_server(self, *arguments: Any, **options: Any) -> Any:
        """Listen as `asyncio.loop.create_server` does, or as a `SharedPort` on a given socket."""
        if (listening := options.pop("sock", None)) is None:
            return await super().create_server(*arguments, **options)
        return SharedPort(self, listening, *arguments, **options)


class SharedPort:
    """Accepts connections from a socket that other workers accept from as well.

    Args:
        loop: Of this worker.
        listening: Bound to the port.
        factory: Makes what serves a connection.
        ssl: With which it is encrypted, if it is.
        backlog: Connections that may wait to be accepted.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listening: socket.socket,
        factory: Callable[[], FairProtocol],
        *,
        ssl: ssl.SSLContext | None,
        backlog: int,
    ) -> None:
        self._loop = loop
        self._listening = listening
        self._factory = factory
        self._ssl = ssl
        # Each connection knows of it, and this one is let go again.
        self._open: OpenConnections = factory().app_state[OPEN_CONNECTIONS]
        self._was_polite = False
        self._pause: asyncio.TimerHandle | None = None
        self._beginning: set[asyncio.Task[None]] = set()
        listening.setblocking(False)
        listening.listen(backlog)
        self._resume()
        self._open.serve(0)

    def close(self) -> None:
        """Accept no more."""
        self._open.close()
        if self._pause is None:
            self._loop.remove_reader(self._listening)
        else:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """Return: there is nothing to wait for."""

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._accept)

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(seconds, self._resume)

    def _accept(self) -> None:
        if not self._was_polite and self._open.are_more_than_others():
            self._was_polite = True
            self._rest(POLITE_SECONDS)
            return
        self._was_polite = False
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # Another worker was faster, or the client has gone.
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            logger.warning("no connection can be accepted: %s", error)
            self._rest(RETRY_SECONDS)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._begin(connection))
        self._beginning.add(task)
        self._count()
        task.add_done_callback(self._begun)

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._beginning.discard(task)
        self._count()

    def _count(self) -> None:
        self._open.accept(len(self._beginning))

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, connection, ssl=self._ssl)
        except OSError:  # The client has gone, or does not speak TLS.
            connection.close()
