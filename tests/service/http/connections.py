"""Raw connections, for what an HTTP client does not send or does not show."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import httpx


class Answer(NamedTuple):
    status: int
    head: bytes
    """Status line and headers."""
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """By names in lower case."""
        pairs = (line.split(": ", 1) for line in self.head.decode("latin-1").split("\r\n")[1:])
        return {name.lower(): value for name, value in pairs}

    @property
    def undated(self) -> tuple[bytes, list[bytes], bytes]:
        """All of it but for the time, and the order of the headers."""
        first, *lines = self.head.split(b"\r\n")
        return first, sorted(line for line in lines if not line.startswith(b"date:")), self.body


def connect(client: httpx.Client, *, receive_bytes: int | None = None) -> socket.socket:
    """Open another connection to the server of a client."""
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(20)
    connection.connect((client.base_url.host, client.base_url.port or 80))
    return connection


def head(
    length: int | None,
    *lines: str,
    method: str = "POST",
    path: str = "/predict",
    version: str = "1.1",
) -> bytes:
    """Return the head of a request whose body has so many bytes, or that has none."""
    fields = [f"{method} {path} HTTP/{version}", "Host: localhost"]
    if length is not None:
        fields.append(f"Content-Length: {length}")
    return "\r\n".join([*fields, *lines, "", ""]).encode("latin-1")


def whole(body: bytes, *lines: str, method: str = "POST", path: str = "/predict") -> bytes:
    """Return a request with its body."""
    return head(len(body), *lines, method=method, path=path) + body


def read_answers(connection: socket.socket, count: int) -> list[Answer]:
    """Read that many answers; more must not have come."""
    answers: list[Answer] = []
    received = b""
    while len(answers) < count:
        while b"\r\n\r\n" not in received:
            received += _receive(connection)
        lines, _, received = received.partition(b"\r\n\r\n")
        length = _body_length(lines)
        while len(received) < length:
            received += _receive(connection)
        answers.append(Answer(int(lines[9:12]), lines, received[:length]))
        received = received[length:]
    assert not received
    return answers


def read_answer(connection: socket.socket) -> Answer:
    [answer] = read_answers(connection, 1)
    return answer


def statuses(answers: Sequence[Answer]) -> list[int]:
    return [answer.status for answer in answers]


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the server closes the connection, or resets it because it left data unread."""
    received = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def read_last_answers(connection: socket.socket) -> list[Answer]:
    """Read whole answers until the server closes the connection, at once."""
    connection.settimeout(20)
    received = read_to_end(connection)
    answers = []
    while received:
        lines, _, received = received.partition(b"\r\n\r\n")
        length = _body_length(lines)
        answers.append(Answer(int(lines[9:12]), lines, received[:length]))
        received = received[length:]
    return answers


def _body_length(lines: bytes) -> int:
    return int(lines.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0])


def _receive(connection: socket.socket) -> bytes:
    chunk = connection.recv(65536)
    assert chunk, "the server closed the connection"
    return chunk


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed the connection; unread data makes that a reset."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
