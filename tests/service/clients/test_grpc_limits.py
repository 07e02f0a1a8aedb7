"""Limits on what gRPC clients send or leave unread, over real sockets."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2 as pb

from service.keys import make_key
from tests.service.conftest import (
    samples_of,
    serve_process,
    unused_port,
    wait_for,
    wait_until_ready,
)

MIB = 1 << 20
SECRET, KEY = make_key("client", ["predict"])
METADATA = (("x-api-key", SECRET),)
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
NAME = b"\x0a\x0dfashion_mnist"  # The field model_name.


class Server(NamedTuple):
    client: httpx.Client
    address: tuple[str, int]
    pid: int

    def memory(self) -> float:
        """Return the resident memory in MiB."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096 / MIB

    def call(self, message: bytes, method: str = INFER) -> tuple[grpc.StatusCode, str]:
        """Send a message; return the status code and details of the call."""
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(":".join(map(str, self.address)), options) as channel:
            try:
                channel.unary_unary(method)(message, metadata=METADATA, timeout=30)
            except grpc.RpcError as error:
                return error.code(), error.details()
        return grpc.StatusCode.OK, ""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    port, grpc_port = unused_port(), unused_port()
    arguments = (f"--grpc-port={grpc_port}", "--engine=litert", f"--api-keys={KEY.line()}")
    with (
        serve_process(*arguments, "--receive-seconds=2", port=port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        wait_until_ready(client)
        yield Server(client, ("127.0.0.1", grpc_port), process.pid)


@pytest.fixture
def watched(server: Server) -> Iterator[list[tuple[float, float]]]:
    """Repeated samples of memory and of the latency of `/livez` while a test runs."""
    seen: list[tuple[float, float]] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.02):
            start = time.monotonic()
            assert server.client.get("/livez").status_code == 200
            seen.append((server.memory(), time.monotonic() - start))

    with ThreadPoolExecutor() as pool:
        watching = pool.submit(watch)
        yield seen
        is_over.set()
        watching.result()


def field(number: int, content: bytes) -> bytes:
    """Encode a field of bytes or of a message."""
    length, size = len(content), b""
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


MANY = 15 * MIB // 2
OVERSIZED = {
    "inputs": NAME + field(5, b"") * MANY,
    "outputs": NAME + field(6, b"") * MANY,
    "parameters": NAME + field(4, b"") * MANY,
    "raw contents": NAME + field(7, b"") * MANY,
    "parameters of an input": NAME + field(5, field(4, b"") * MANY),
    "parameters of an output": NAME + field(6, field(2, b"") * MANY),
    "shape": NAME + field(5, field(3, b"\x01" * 15 * MIB)),
    "shape, unpacked": NAME + field(5, b"\x18\x01" * MANY),
    "numbers": NAME + field(5, field(5, field(5, b"\x01" * 15 * MIB))),
    "elements": NAME + field(5, field(5, field(8, b"") * MANY)),
    "unknown fields": NAME + b"\x78\x00" * MANY,
}


def test_message_with_too_many_fields_is_rejected_before_it_is_parsed(
    server: Server, watched: list[tuple[float, float]]
) -> None:
    before = server.memory()
    for name, message in OVERSIZED.items():
        code, reason = server.call(message)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED, name
        assert "more fields or numbers than any image needs" in reason
    with ThreadPoolExecutor(8) as pool:  # Of the maximum size, concurrently.
        codes = [code for code, _ in pool.map(server.call, [OVERSIZED["inputs"]] * 8)]
    assert set(codes) <= {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
    assert max(memory for memory, _ in watched) < before + 200
    assert max(seconds for _, seconds in watched) < 5  # Parsing in the event loop took 17 s.


@pytest.mark.parametrize(
    "message",
    [
        b"\xff" * 20,
        NAME + b"\x2a\x05\x0a",  # A truncated input.
        NAME + b"\x2a\x02\x22\x05" + bytes(5),  # A parameter longer than its input.
        NAME + b"\x7b\x08\x7c" + b"\x2a\x00" * 2000,  # A group hides the fields after it.
        b"\x0a" + b"\xff" * 9 + b"\x01" + NAME,  # A length of 2**63.
    ],
    ids=["no field", "truncated", "overlapping", "group", "length"],
)
def test_malformed_message_is_an_invalid_argument(server: Server, message: bytes) -> None:
    code, reason = server.call(message)
    assert (code, reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "not a message of the type ModelInferRequest",
    )


def test_messages_other_than_inference_have_a_small_size_limit(server: Server) -> None:
    for method in ("ModelMetadata", "RepositoryIndex", "ModelStatistics"):
        message = b"\x78\x00" * 40_000
        code, reason = server.call(message, f"/inference.GRPCInferenceService/{method}")
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "at most 65536 bytes" in reason


class RawClient:
    """A minimal HTTP/2 client, which can send part of a message or leave a response unread."""

    def __init__(self, server: Server, method: str = INFER, *, key: str = SECRET) -> None:
        self.socket = socket.create_connection(server.address)
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self._frame(4, 0, b"", stream=0))
        headers = {
            ":method": "POST", ":scheme": "http", ":path": method, ":authority": "localhost",
            "content-type": "application/grpc", "te": "trailers", "x-api-key": key,
        }  # fmt: skip
        # Literal fields without indexing.
        block = b"".join(
            b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in headers.items()
        )
        self.socket.sendall(self._frame(1, 4, block))
        self.window = self.connection_window = 65535
        self.ended = False
        self._unread = b""

    @staticmethod
    def _frame(kind: int, flags: int, payload: bytes, *, stream: int = 1) -> bytes:
        return (
            struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload
        )

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Send within the flow-control window, for at most three seconds."""
        deadline = time.monotonic() + 3
        while data and not self.ended and time.monotonic() < deadline:
            size = min(16384, self.window, self.connection_window, len(data))
            if size > 0:
                chunk, data = data[:size], data[size:]
                self.window -= size
                self.connection_window -= size
                try:
                    self.socket.sendall(self._frame(0, int(last and not data), chunk))
                except OSError:
                    self.ended = True
            self.read(0 if size > 0 else 0.05)

    def read(self, seconds: float) -> None:
        """Process received frames: window updates, pings and the end of the call."""
        self.socket.settimeout(seconds or 0.0001)
        try:
            received = self.socket.recv(1 << 20)
            self.ended |= not received
            self._unread += received
        except TimeoutError:
            pass
        except OSError:
            self.ended = True
        while len(self._unread) >= 9:
            length = int.from_bytes(self._unread[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", self._unread[3:9])
            if len(self._unread) < 9 + length:
                return
            payload, self._unread = self._unread[9 : 9 + length], self._unread[9 + length :]
            if kind == 8:
                (increment,) = struct.unpack(">I", payload)
                if stream:
                    self.window += increment
                else:
                    self.connection_window += increment
            elif kind == 4 and not flags & 1:
                for at in range(0, length, 6):
                    name, value = struct.unpack(">HI", payload[at : at + 6])
                    if name == 4:
                        self.window += value - 65535
                self.socket.sendall(self._frame(4, 1, b"", stream=0))
            elif kind == 6 and not flags & 1:
                self.socket.sendall(self._frame(6, 1, payload, stream=0))
            self.ended |= kind == 3 or (kind in (0, 1) and bool(flags & 1)) or kind == 7


PREFIX = b"\0" + struct.pack(">I", 16 * MIB)


def send_incomplete_message(server: Server, key: str) -> bool:
    """Send 15 of 16 MiB and wait; return whether the call was ended."""
    raw = RawClient(server, key=key)
    with raw.socket:
        raw.send(PREFIX + bytes(15 * MIB))
        deadline = time.monotonic() + 20
        while not raw.ended and time.monotonic() < deadline:
            raw.read(0.1)
    return raw.ended


def test_message_without_a_valid_key_is_not_received(
    server: Server, watched: list[tuple[float, float]]
) -> None:
    before = server.memory()
    with ThreadPoolExecutor(40) as pool:
        assert all(pool.map(lambda _: send_incomplete_message(server, "wrong"), range(40)))
    assert max(memory for memory, _ in watched) < before + 50


def test_concurrently_received_messages_are_limited_and_stalled_ones_dropped(
    server: Server, watched: list[tuple[float, float]]
) -> None:
    before = server.memory()
    with ThreadPoolExecutor(16) as pool:
        stalled = [pool.submit(send_incomplete_message, server, SECRET) for _ in range(16)]
        time.sleep(0.5)
        code, reason = server.call(NAME)  # It is answered nevertheless.
        assert (code, reason) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "0 inputs, expected one: images or image",
        )
        assert all(future.result() for future in stalled)
    assert max(memory for memory, _ in watched) < before + 200


def test_incomplete_message_ends_the_call_after_a_timeout(server: Server) -> None:
    raw = RawClient(server)
    with raw.socket:
        raw.send(PREFIX + b"\0")
        start = time.monotonic()
        while not raw.ended:
            raw.read(0.1)
            assert time.monotonic() - start < 20
    assert time.monotonic() - start > 1.5


def test_stalled_health_checks_do_not_delay_another(server: Server) -> None:
    stalled = [RawClient(server, "/grpc.health.v1.Health/Check", key="none") for _ in range(40)]
    for raw in stalled:
        raw.send(PREFIX + b"\0")
    start = time.monotonic()
    assert server.call(b"", "/grpc.health.v1.Health/Check")[0] is grpc.StatusCode.OK
    assert time.monotonic() - start < 10  # Four at a time for 2 s each would take 20 s.
    for raw in stalled:
        raw.socket.close()


def test_byte_limits_may_exceed_the_maximum_of_grpc() -> None:
    port, grpc_port = unused_port(), unused_port()
    limits = ("--max-body-bytes=3000000000", "--max-bytes-in-flight=6000000000")
    with (
        serve_process(f"--grpc-port={grpc_port}", "--engine=litert", *limits, port=port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
        grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        wait_until_ready(client)
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=60) == b"\x08\x01"  # SERVING


def test_health_watches_are_limited_and_end_with_the_service() -> None:
    port, grpc_port = unused_port(), unused_port()
    with (
        serve_process(f"--grpc-port={grpc_port}", "--engine=litert", port=port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
        grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        wait_until_ready(client)
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
        watches = [watch(b"", timeout=60) for _ in range(64)]
        assert {next(each) for each in watches} == {b"\x08\x01"}  # SERVING
        with pytest.raises(grpc.RpcError) as caught:
            next(watch(b"", timeout=60))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        process.terminate()
        for each in watches:
            assert list(each) == [b"\x08\x02"]  # NOT_SERVING, and the end
        assert process.wait(timeout=30) == 0


def test_call_that_started_before_a_drain_is_answered() -> None:
    port, grpc_port = unused_port(), unused_port()
    is_draining = threading.Event()

    def messages() -> Iterator[bytes]:
        is_draining.wait(20)
        yield NAME

    with (
        serve_process(f"--grpc-port={grpc_port}", "--engine=litert", port=port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
        grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        wait_until_ready(client)
        begun = channel.stream_unary(INFER).future(messages(), timeout=60)
        time.sleep(0.5)  # Its headers have arrived.
        process.terminate()
        wait_for(lambda: client.get("/readyz").status_code == 503)
        with pytest.raises(grpc.RpcError) as new:
            channel.unary_unary(INFER)(NAME, timeout=20)
        assert new.value.code() is grpc.StatusCode.UNAVAILABLE
        is_draining.set()
        assert begun.exception().details() == "0 inputs, expected one: images or image"


def test_unread_response_keeps_its_capacity() -> None:
    port, grpc_port = unused_port(), unused_port()
    arguments = (f"--grpc-port={grpc_port}", "--engine=litert", "--max-images-in-flight=14")
    with (
        serve_process(*arguments, "--max-images=7", port=port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        wait_until_ready(client)
        server = Server(client, ("127.0.0.1", grpc_port), process.pid)
        message = request_for_layers_of_seven_images()
        unread = [RawClient(server), RawClient(server, STREAM)]
        for raw in unread:
            raw.send(b"\0" + struct.pack(">I", len(message)) + message, last=True)

        def in_flight() -> float:
            return samples_of(client.get("/metrics").text)["fashion_mnist_images_in_flight"]

        wait_for(lambda: in_flight() == 14)
        time.sleep(0.5)
        assert in_flight() == 14
        assert server.call(message)[0] is grpc.StatusCode.UNAVAILABLE
        for raw in unread:
            raw.socket.close()
        wait_for(lambda: in_flight() == 0)
        assert server.call(message)[0] is grpc.StatusCode.OK
        counted = samples_of(client.get("/metrics").text)
    series = f'fashion_mnist_requests_total{{method="gRPC",route="{INFER}",status="%d"}}'
    assert counted[series % 400] == 2  # Of disconnected clients.
    assert series % 500 not in counted


def request_for_layers_of_seven_images() -> bytes:
    message: Any = pb.ModelInferRequest(model_name="fashion_mnist_layers")
    message.inputs.add(name="images", datatype="UINT8", shape=[7, 784])
    message.raw_input_contents.append(bytes(7 * 784))
    content: bytes = message.SerializeToString()
    return content
