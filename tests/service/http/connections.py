"""Raw connections, for requests and responses that HTTP clients do not expose."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import httpx


class RawResponse(NamedTuple):
    status: int
    head: bytes
    """Status line and headers."""
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name."""
        pairs = (line.split(": ", 1) for line in self.head.decode("latin-1").split("\r\n")[1:])
        return {name.lower(): value for name, value in pairs}

    @property
    def without_date(self) -> tuple[bytes, list[bytes], bytes]:
        """The response without its date, and with sorted headers."""
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


def request_head(
    length: int | None,
    *lines: str,
    method: str = "POST",
    path: str = "/predict",
    version: str = "1.1",
) -> bytes:
    """Return the head of a request with a body of this length, or without a body."""
    fields = [f"{method} {path} HTTP/{version}", "Host: localhost"]
    if length is not None:
        fields.append(f"Content-Length: {length}")
    return "\r\n".join([*fields, *lines, "", ""]).encode("latin-1")


def full_request(body: bytes, *lines: str, method: str = "POST", path: str = "/predict") -> bytes:
    """Return a request with its body."""
    return request_head(len(body), *lines, method=method, path=path) + body


def read_responses(connection: socket.socket, count: int) -> list[RawResponse]:
    """Read exactly this many responses; fail if more data has arrived."""
    answers: list[RawResponse] = []
    received = b""
    while len(answers) < count:
        while b"\r\n\r\n" not in received:
            received += _receive(connection)
        lines, _, received = received.partition(b"\r\n\r\n")
        length = _body_length(lines)
        while len(received) < length:
            received += _receive(connection)
        answers.append(RawResponse(int(lines[9:12]), lines, received[:length]))
        received = received[length:]
    assert not received
    return answers


def read_response(connection: socket.socket) -> RawResponse:
    [answer] = read_responses(connection, 1)
    return answer


def statuses(answers: Sequence[RawResponse]) -> list[int]:
    return [answer.status for answer in answers]


def read_until_close(connection: socket.socket) -> bytes:
    """Read until the server closes the connection, or resets it because it left data unread."""
    received = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def read_responses_until_close(connection: socket.socket) -> list[RawResponse]:
    """Read complete responses until the server closes the connection."""
    connection.settimeout(20)
    received = read_until_close(connection)
    answers = []
    while received:
        lines, _, received = received.partition(b"\r\n\r\n")
        length = _body_length(lines)
        answers.append(RawResponse(int(lines[9:12]), lines, received[:length]))
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
