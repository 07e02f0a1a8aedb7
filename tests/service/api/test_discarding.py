import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from service.api.discarding import Discarding

pytestmark = pytest.mark.skipif(not Discarding.is_possible, reason="Linux alone drops unread")


class Unread:
    """The receiving end of a connection, and what became of it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.fate = asyncio.Event()
        self.is_discarded = self.is_ended = False

    def fileno(self) -> int:
        return self._connection.fileno()

    def discarded(self) -> None:
        self.is_discarded = True
        self.fate.set()

    def ended(self) -> None:
        self.is_ended = True
        self.fate.set()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection's sending and receiving end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()
    with sender, receiver:
        receiver.setblocking(False)
        yield sender, receiver


def in_loop(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


def test_exactly_so_many_bytes_are_thrown_away(ends: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = ends

    async def test() -> None:
        discarding, unread = Discarding(), Unread(receiver)
        discarding.begin(unread, 3_000_000)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, sender.sendall, bytes(3_000_000) + b"next")
        await unread.fate.wait()
        assert unread.is_discarded
        assert await loop.sock_recv(receiver, 100) == b"next"

    in_loop(test)


def test_an_end_before_that_is_told(ends: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = ends

    async def test() -> None:
        discarding, unread = Discarding(), Unread(receiver)
        discarding.begin(unread, 1000)
        sender.sendall(bytes(999))
        await asyncio.sleep(0.1)
        assert not unread.fate.is_set()
        sender.close()
        await unread.fate.wait()
        assert unread.is_ended

    in_loop(test)


def test_a_connection_that_is_closed_is_left_alone(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    sender, receiver = ends

    async def test() -> None:
        discarding, unread, other = Discarding(), Unread(receiver), Unread(sender)
        discarding.begin(unread, 1000)
        discarding.begin(other, 4)
        discarding.stop(unread)
        discarding.stop(unread)
        receiver.send(b"body")
        sender.sendall(bytes(1000))
        await other.fate.wait()
        await asyncio.sleep(0.1)
        assert other.is_discarded
        assert not unread.fate.is_set()

    in_loop(test)
