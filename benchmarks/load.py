"""A load generator that sends prepared bytes, at a fixed rate or back to back."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Result:
    """The responses.

    Attributes:
        seconds: Latency of each response, by status.
        unsent: Requests that were due while every connection was waiting for a response.
        elapsed: Seconds from the first request to the last response.
    """

    seconds: dict[int, list[float]] = field(default_factory=dict)
    unsent: int = 0
    elapsed: float = 0.0

    @property
    def counts(self) -> Counter[int]:
        """Number of responses by status."""
        return Counter({status: len(times) for status, times in self.seconds.items()})

    def rate(self, status: int = 200) -> float:
        """Return the responses per second of one status."""
        return self.counts[status] / self.elapsed

    def percentile(self, percent: float, status: int = 200) -> float:
        """Return a percentile of the latency of one status, in seconds."""
        times = sorted(self.seconds[status])
        return times[min(len(times) - 1, int(len(times) * percent / 100))]


class Connection:
    """One keep-alive connection, reopened when the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return the status and body of the response."""
        is_reused = self._streams is not None
        await self.open()
        try:
            head = await self._send(request)
        except (ConnectionError, asyncio.IncompleteReadError):
            if not is_reused:
                raise
            # The server may close an idle connection at any time.
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
        """Connect if not connected."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)

    async def _send(self, request: bytes) -> bytes:
        assert self._streams is not None  # noqa: S101
        reader, writer = self._streams
        writer.write(request)
        return await reader.readuntil(b"\r\n\r\n")

    def close(self) -> None:
        """Close the connection."""
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
    """Send requests back to back on each connection.

    Args:
        port: On loopback.
        requests: Sent in turn.
        connections: Number of connections.
        seconds: No request starts after this time.
        pause: Seconds between a response and the next request of a connection.
    """
    end = time.perf_counter() + seconds

    async def send_repeatedly(result: Result, connection: Connection, first: int) -> None:
        index = first
        while time.perf_counter() < end:
            await _timed(result, connection, requests[index % len(requests)])
            index += 1
            if pause:
                await asyncio.sleep(pause)

    return await _with_connections(port, connections, send_repeatedly)


async def open_loop(
    port: int, request: bytes, *, rate: float, connections: int, seconds: float
) -> Result:
    """Send at a fixed rate, independent of the responses (an open-loop load).

    Args:
        port: On loopback.
        request: Sent repeatedly.
        rate: Requests per second.
        connections: Maximum in flight; requests due beyond it count as unsent.
        seconds: Duration.
    """
    result = Result()
    idle = [Connection(port) for _ in range(connections)]
    connection_pool = list(idle)
    tasks: set[asyncio.Task[None]] = set()

    async def send(connection: Connection) -> None:
        await _timed(result, connection, request)
        idle.append(connection)

    # Connect before the load: many simultaneous connects would delay each other.
    for connection in connection_pool:
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
    for connection in connection_pool:
        connection.close()
    return result


async def _timed(result: Result, connection: Connection, request: bytes) -> None:
    start = time.perf_counter()
    status, _ = await connection.exchange(request)
    result.seconds.setdefault(status, []).append(time.perf_counter() - start)


async def _with_connections(
    port: int, count: int, send_repeatedly: Callable[[Result, Connection, int], Awaitable[None]]
) -> Result:
    result = Result()
    connections = [Connection(port) for _ in range(count)]
    start = time.perf_counter()
    await asyncio.gather(
        *(
            send_repeatedly(result, connection, index)
            for index, connection in enumerate(connections)
        )
    )
    result.elapsed = time.perf_counter() - start
    for connection in connections:
        connection.close()
    return result
