"""Many connections that have work at once do not hold up whoever asks for something else."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from itertools import chain

import httpx
import pytest

from service.http import turns as turns_module
from service.http.turns import TURN_REQUESTS, Turns
from service.settings import Settings
from tests.service.conftest import ARTIFACTS, serve


class Waiting:
    def __init__(self, go_on: Callable[[], None]) -> None:
        self.take_turn = go_on


def test_so_many_go_on_in_a_turn_and_the_rest_in_those_after_it_in_order() -> None:
    async def run() -> list[list[int]]:
        turns = Turns()
        rounds: list[list[int]] = [[]]
        count = 3 * TURN_REQUESTS
        for number in range(count):
            if turns.are_over():
                turns.wait(Waiting(lambda n=number: rounds[-1].append(n)))  # type: ignore[misc]
            else:
                rounds[-1].append(number)
        while sum(map(len, rounds)) < count:
            rounds.append([])
            await asyncio.sleep(0)
        return rounds

    rounds = [one for one in asyncio.run(run()) if one]
    assert list(chain.from_iterable(rounds)) == list(range(3 * TURN_REQUESTS))
    assert list(map(len, rounds)) == [TURN_REQUESTS] * 3


def test_a_long_turn_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "TURN_SECONDS", -1.0)

    async def run() -> None:
        assert Turns().are_over()

    asyncio.run(run())


def test_whoever_comes_later_waits_behind_those_who_wait() -> None:
    async def run() -> None:
        turns = Turns()
        for _ in range(TURN_REQUESTS):
            assert not turns.are_over()
        went_on: list[str] = []
        turns.wait(Waiting(lambda: went_on.append("first")))
        assert turns.are_over()
        turns.wait(Waiting(lambda: went_on.append("second")))
        await asyncio.sleep(0)
        assert went_on == ["first", "second"]
        assert not turns.are_over()

    asyncio.run(run())


@pytest.fixture
def one_a_turn(monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A client of a server that begins one request a turn, so that almost all have to wait."""
    monkeypatch.setattr(turns_module, "TURN_REQUESTS", 1)
    with serve(Settings(artifacts=ARTIFACTS, engine="litert")) as client:
        yield client


def connect(client: httpx.Client) -> socket.socket:
    url = client.base_url
    return socket.create_connection((url.host, url.port or 80), timeout=20)


def answers(connection: socket.socket, count: int) -> list[bytes]:
    """Read whole answers, in order."""
    with connection.makefile("rb") as file:
        bodies = []
        for _ in range(count):
            lines = list(iter(file.readline, b"\r\n"))
            [length] = [line for line in lines if line.lower().startswith(b"content-length")]
            bodies.append(lines[0] + file.read(int(length.split(b":")[1])))
    return bodies


def test_those_who_had_to_wait_are_answered_each_in_its_own_order(
    one_a_turn: httpx.Client, boot_png: bytes
) -> None:
    request = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
    good, bad = request % (len(boot_png), boot_png), request % (3, b"bad")
    slow = b"PUT /predict?top_k=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nbad"
    connections = [connect(one_a_turn) for _ in range(40)]
    for _ in range(3):
        for connection in connections:
            connection.sendall(good[:150])
        for connection in connections:
            connection.sendall(good[150:])
            connection.sendall(bad + slow)
            connection.sendall(good)
        for connection in connections:
            given = answers(connection, 4)
            assert [one[9:12] for one in given] == [b"200", b"400", b"400", b"200"]
    for connection in connections:
        connection.close()


def test_what_waits_when_the_service_drains_is_answered(boot_png: bytes) -> None:
    request = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (
        len(boot_png),
        boot_png,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns_module, "TURN_REQUESTS", 0)  # Nobody's turn ever comes.
        with serve(Settings(artifacts=ARTIFACTS, engine="litert")) as client:
            connection = connect(client)
            connection.sendall(request)
            assert client.get("/readyz").status_code == 200
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.settimeout(20)
    assert answers(connection, 1)[0].startswith(b"HTTP/1.1 200 ")
    connection.close()
