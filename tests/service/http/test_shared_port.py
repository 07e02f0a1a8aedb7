"""Connections are divided among the workers of a port, and each is accepted by one of them."""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from service.http import shared_port
from service.http.fair_connection import FairProtocol
from service.http.open_connections import BRIEF_SECONDS, OPEN_CONNECTIONS, OpenConnections
from service.http.shared_port import SharedPort, SharingLoop

SECONDS = 10
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def application(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


class Worker:
    """What a worker has of a port: all of them are in one event loop here."""

    def __init__(self, directory: Path, number: int) -> None:
        self.open = OpenConnections(directory, number)
        self._state = ServerState()
        self._config = uvicorn.Config(
            application, http=FairProtocol, log_config=None, ws="none", lifespan="off"
        )
        self._config.load()

    @property
    def connections(self) -> int:
        return len(self._state.connections)

    def serve(self) -> FairProtocol:
        return FairProtocol(
            config=self._config,
            server_state=self._state,
            app_state={OPEN_CONNECTIONS: self.open},
        )

    def end(self) -> None:
        for connection in list(self._state.connections):
            connection.shutdown()


class Scene:
    """A port, who listens there, and who connects."""

    def __init__(self, directory: Path) -> None:
        self.bound = socket.create_server(("127.0.0.1", 0))
        self.workers = [Worker(directory, number) for number in range(2)]
        self.ports: list[tuple[socket.socket, SharedPort]] = []
        self.streams: list[Streams] = []

    async def listen(self, worker: Worker) -> SharedPort:
        own = self.bound.dup()
        port = await asyncio.get_running_loop().create_server(
            worker.serve, sock=own, ssl=None, backlog=100
        )
        assert isinstance(port, SharedPort)
        self.ports.append((own, port))
        return port

    async def connect(self, count: int) -> None:
        address = self.bound.getsockname()
        connecting = (asyncio.open_connection(*address) for _ in range(count))
        self.streams += await asyncio.gather(*connecting)

    async def close(self) -> None:
        for own, port in self.ports:
            port.close()
            await port.wait_closed()
            own.close()
        for worker in self.workers:
            worker.end()
        for _, writer in self.streams:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        self.bound.close()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def run(test: Callable[[], Coroutine[Any, Any, None]], scene: Scene) -> None:
    async def play() -> None:
        try:
            await test()
        finally:
            await scene.close()

    with asyncio.Runner(loop_factory=SharingLoop) as runner:
        runner.run(play())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("count", [2, 16, 61])
def test_connections_that_come_at_once_are_divided(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(shared_port, "POLITE_SECONDS", 0.05)

    async def test() -> None:
        for worker in scene.workers:
            await scene.listen(worker)
        await scene.connect(count)
        await until(lambda: sum(worker.connections for worker in scene.workers) == count)
        counts = [worker.connections for worker in scene.workers]
        assert max(counts) - min(counts) <= max(1, count // 8)
        for reader, writer in scene.streams:
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 204 No Content\r\n"

    run(test, scene)


def test_who_has_more_leaves_those_that_come_to_the_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_port, "POLITE_SECONDS", 0.2)  # Longer than the other may take.

    async def test() -> None:
        first, second = scene.workers
        await scene.listen(first)
        await scene.connect(6)
        await until(lambda: first.connections == 6)
        await scene.listen(second)
        await scene.connect(6)
        await until(lambda: first.connections + second.connections == 12)
        assert first.connections == second.connections == 6

    run(test, scene)


def test_those_that_were_closed_make_room(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_port, "POLITE_SECONDS", 0.2)

    async def test() -> None:
        first, second = scene.workers
        await scene.listen(first)
        await scene.connect(4)
        await until(lambda: first.connections == 4)
        await scene.listen(second)
        for _, writer in scene.streams:
            writer.close()
        await until(lambda: first.connections == 0)
        await asyncio.sleep(2 * BRIEF_SECONDS)
        await scene.connect(4)
        await until(lambda: first.connections + second.connections == 4)
        assert first.connections == second.connections == 2

    run(test, scene)


def test_one_that_could_have_them_and_does_not_is_not_waited_for(scene: Scene) -> None:
    async def test() -> None:
        busy, awake = scene.workers
        busy.open.serve(0)
        await scene.listen(awake)
        await scene.connect(5)
        await until(lambda: awake.connections == 5)

    run(test, scene)


def test_one_that_is_closed_takes_no_more_and_gets_none_left(scene: Scene) -> None:
    async def test() -> None:
        ending, staying = scene.workers
        port = await scene.listen(ending)
        await scene.connect(3)
        await until(lambda: ending.connections == 3)
        port.close()
        await scene.listen(staying)
        await scene.connect(8)
        await until(lambda: staying.connections == 8)
        assert ending.connections == 3
        assert not staying.open.are_more_than_others()

    run(test, scene)


def test_it_can_be_closed_while_it_leaves_one_to_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_port, "POLITE_SECONDS", 0.05)

    async def test() -> None:
        other, worker = scene.workers
        port = await scene.listen(worker)
        await scene.connect(1)
        await until(lambda: worker.connections == 1)
        other.open.serve(0)
        await scene.connect(1)
        await asyncio.sleep(0.01)
        port.close()
        await asyncio.sleep(0.1)
        assert worker.connections == 1

    run(test, scene)


@contextmanager
def no_more_files() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(file.name) for file in Path("/proc/self/fd").iterdir())
    with ExitStack() as files:
        files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, limits[1]))
        with suppress(OSError):
            while True:
                files.enter_context(Path(os.devnull).open())
        yield


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="files are counted under /proc")
def test_without_files_it_waits_and_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_port, "RETRY_SECONDS", 0.05)

    async def test() -> None:
        worker = scene.workers[0]
        await scene.listen(worker)
        with socket.create_connection(scene.bound.getsockname()):
            with no_more_files(), caplog.at_level(logging.WARNING):
                await until(lambda: "no connection can be accepted" in caplog.text)
            assert worker.connections == 0
            await until(lambda: worker.connections == 1)

    run(test, scene)


def test_without_a_socket_it_listens_as_any_loop(scene: Scene) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        assert not isinstance(server, SharedPort)
        server.close()

    run(test, scene)
