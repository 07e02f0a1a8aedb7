import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from service.http.discarding import Discarding

pytestmark = pytest.mark.skipif(not Discarding.is_possible, reason="Linux alone drops unread")


class Unread:
    """The receiving end of a connection, and what became of it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.fates: list[str | bytes] = []
        self.has_fate = asyncio.Event()

    def fileno(self) -> int:
        return self._connection.fileno()

    def discarded(self) -> None:
        self._meet("discarded")

    def head_received(self, data: bytes) -> None:
        self._meet(data)

    def read_on(self) -> None:
        self._meet("reads on")

    def ended(self) -> None:
        self._meet("ended")

    def _meet(self, fate: str | bytes) -> None:
        self.fates.append(fate)
        self.has_fate.set()


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
        await unread.has_fate.wait()
        assert unread.fates == ["discarded"]
        assert await loop.sock_recv(receiver, 100) == b"next"

    in_loop(test)


def test_an_end_before_that_is_told(ends: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = ends

    async def test() -> None:
        discarding, unread = Discarding(), Unread(receiver)
        discarding.begin(unread, 1000)
        sender.sendall(bytes(999))
        await asyncio.sleep(0.1)
        assert not unread.fates
        sender.close()
        await unread.has_fate.wait()
        assert unread.fates == ["ended"]

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
        await other.has_fate.wait()
        await asyncio.sleep(0.1)
        assert other.fates == ["discarded"]
        assert not unread.fates

    in_loop(test)


def test_what_comes_next_is_looked_for(ends: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = ends

    async def test() -> None:
        discarding, unread = Discarding(), Unread(receiver)
        discarding.expect_head(unread)
        sender.sendall(b"POST /predict" + bytes(100_000))
        await unread.has_fate.wait()
        [data] = unread.fates
        assert data[:13] == b"POST /predict"
        assert len(data) < 20_000
        await asyncio.sleep(0.1)
        assert len(unread.fates) == 1

    in_loop(test)


@pytest.mark.parametrize("is_over", [True, False])
def test_whoever_sends_nothing_is_not_looked_at_for_long(
    ends: tuple[socket.socket, socket.socket], is_over: bool
) -> None:
    sender, receiver = ends

    async def test() -> None:
        discarding, unread = Discarding(), Unread(receiver)
        discarding.expect_head(unread)
        if is_over:
            sender.close()
        await unread.has_fate.wait()
        sender.close()
        await asyncio.sleep(0.1)
        assert unread.fates == ["reads on"]

    in_loop(test)


def test_whoever_is_not_looked_at_in_time_comes_first_the_next_time(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.http.discarding.SECONDS_OF_A_LOOK", 0.0)
    sender, receiver = ends
    order = []

    class Slow(Unread):
        def read_on(self) -> None:
            time.sleep(0.001)
            order.append(self)
            super().read_on()

    async def test() -> None:
        discarding = Discarding()
        everyone = [Slow(receiver) for _ in range(5)]
        for unread in everyone:
            discarding.expect_head(unread)
        sender.close()
        for unread in everyone:
            await unread.has_fate.wait()
        assert order == everyone

    in_loop(test)


def test_whoever_hurries_is_told_at_once(ends: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = ends

    async def test() -> None:
        discarding, unread = Discarding(), Unread(receiver)
        discarding.hurry(unread)
        assert not unread.fates
        for data in (b"POST", b""):
            discarding.expect_head(unread)
            sender.sendall(data)
            discarding.hurry(unread)
        assert unread.fates == [b"POST", "reads on"]
        await asyncio.sleep(0.1)
        assert len(unread.fates) == 2

    in_loop(test)
