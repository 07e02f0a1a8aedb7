"""A load generator that sends bytes made beforehand, at a pace or as fast as answers come."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Result:
    """What came back.

    Attributes:
        seconds: By status, how long each answer took.
        unsent: Requests that were due while every connection was waiting for an answer.
        elapsed: Seconds from the first request to the last answer.
    """

    seconds: dict[int, list[float]] = field(default_factory=dict)
    unsent: int = 0
    elapsed: float = 0.0

    @property
    def counts(self) -> Counter[int]:
        """How many answers there were of each status."""
        return Counter({status: len(times) for status, times in self.seconds.items()})

    def rate(self, status: int = 200) -> float:
        """Return the answers a second of one status."""
        return self.counts[status] / self.elapsed

    def percentile(self, percent: float, status: int = 200) -> float:
        """Return the seconds that `percent` of the answers of one status stayed within."""
        times = sorted(self.seconds[status])
        return times[min(len(times) - 1, int(len(times) * percent / 100))]


class Connection:
    """One keep-alive connection, opened again when the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return status and body of its answer."""
        is_reused = self._streams is not None
        await self.open()
        try:
            head = await self._send(request)
        except (ConnectionError, asyncio.IncompleteReadError):
            if not is_reused:
                raise
            # The server closes a connection that was idle for long, as it may at any time.
            self.close()
            await self.open()
            head = await self._send(request)
        assert self._streams is not None  # noqa: S101
        reader, _ = self._streams
        status = int(head[9:12])
        lower = head.lower()
        start = lower.index(b"\r\ncontent-length:") + 17
        body = await reader.readexactly(int(lower[start : lower.index(b"\r\n", start)]))
        if b"connection: close" in lower:
            self.close()
        return status, body

    async def open(self) -> None:
        """Connect, unless it is connected."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)

    async def _send(self, request: bytes) -> bytes:
        assert self._streams is not None  # noqa: S101
        reader, writer = self._streams
        writer.write(request)
        return await reader.readuntil(b"\r\n\r\n")

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def post(path: str, body: bytes, content_type: str = "application/octet-stream") -> bytes:
    """Return a whole HTTP request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str) -> bytes:
    """Return a whole HTTP request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def closed_loop(
    port: int, requests: Sequence[bytes], *, connections: int, seconds: float, pause: float = 0
) -> Result:
    """Have each connection send its next request when its last was answered.

    Args:
        port: On loopback.
        requests: Are sent in turn.
        connections: How many there are.
        seconds: After these no request is begun.
        pause: Seconds a connection waits between an answer and its next request.
    """
    end = time.perf_counter() + seconds

    async def converse(result: Result, connection: Connection, first: int) -> None:
        index = first
        while time.perf_counter() < end:
            await _timed(result, connection, requests[index % len(requests)])
            index += 1
            if pause:
                await asyncio.sleep(pause)

    return await _with_connections(port, connections, converse)


async def open_loop(
    port: int, request: bytes, *, rate: float, connections: int, seconds: float
) -> Result:
    """Send at a pace that does not care for answers, as the world does.

    Args:
        port: On loopback.
        request: Is sent again and again.
        rate: Requests a second.
        connections: The most that are in flight; what is due beyond them counts as unsent.
        seconds: How long it goes on.
    """
    result = Result()
    idle = [Connection(port) for _ in range(connections)]
    everyone = list(idle)
    tasks: set[asyncio.Task[None]] = set()

    async def send(connection: Connection) -> None:
        await _timed(result, connection, request)
        idle.append(connection)

    for connection in everyone:  # Beforehand: so many at once would wait for one another.
        await connection.open()
    start = time.perf_counter()
    due = 0
    while (now := time.perf_counter() - start) < seconds:
        while due < now * rate:
            due += 1
            if idle:
                task = asyncio.create_task(send(idle.pop()))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                result.unsent += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)
    result.elapsed = time.perf_counter() - start
    for connection in everyone:
        connection.close()
    return result


async def _timed(result: Result, connection: Connection, request: bytes) -> None:
    start = time.perf_counter()
    status, _ = await connection.ask(request)
    result.seconds.setdefault(status, []).append(time.perf_counter() - start)


async def _with_connections(
    port: int, count: int, converse: Callable[[Result, Connection, int], Awaitable[None]]
) -> Result:
    result = Result()
    connections = [Connection(port) for _ in range(count)]
    start = time.perf_counter()
    await asyncio.gather(
        *(converse(result, connection, index) for index, connection in enumerate(connections))
    )
    result.elapsed = time.perf_counter() - start
    for connection in connections:
        connection.close()
    return result
