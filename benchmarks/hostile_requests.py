"""The worst cases of `benchmarks.hostile`, by name."""

import asyncio
import gzip
import io
import json
import socket
import struct
import urllib.request
import zlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image

from benchmarks.images import small_png
from benchmarks.load import get, post
from benchmarks.tensor_overhead import INFER, JSON_LENGTH_HEADER

MIB = 1 << 20

Case = Callable[[int, int], Awaitable[None]]
"""Takes the ports of HTTP and gRPC; cancelled when its time is over."""


class Client:
    """Many raw connections that read no response unless told to."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []  # Keeps the connections open.

    async def open(self, count: int, receive_bytes: int | None = None) -> Sequence[socket.socket]:
        """Open the connections."""
        loop = asyncio.get_running_loop()
        for _ in range(count):
            connection = socket.socket()
            connection.setblocking(False)
            if receive_bytes is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            await loop.sock_connect(connection, ("127.0.0.1", self._port))
            self._sockets.append(connection)
        return self._sockets[-count:]

    async def send(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Send the same bytes on every connection, piece by piece."""
        loop = asyncio.get_running_loop()
        for piece in pieces:
            sending = (loop.sock_sendall(connection, piece) for connection in self._sockets)
            await asyncio.gather(*sending, return_exceptions=True)
            await asyncio.sleep(pause)

    async def read(self) -> None:
        """Read and discard all responses."""
        loop = asyncio.get_running_loop()

        async def drop(connection: socket.socket) -> None:
            while await loop.sock_recv(connection, 65536):
                pass

        await asyncio.gather(*map(drop, self._sockets), return_exceptions=True)


def head(length: int, path: str = "/predict", *lines: str) -> bytes:
    """Return the head of a request that announces a body of this length."""
    fields = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *lines]
    return "\r\n".join([*fields, "", ""]).encode()


def stalled(count: int, announced: int, sent: int, path: str = "/predict") -> Case:
    """Return a case of bodies that are sent only in part."""

    async def case(port: int, _: int) -> None:
        client = Client(port)
        await client.open(count)
        await client.send(head(announced, path) + bytes(min(sent, MIB)))
        for _ in range(1, sent // MIB):
            await client.send(bytes(MIB))
        await asyncio.sleep(3600)

    return case


def unread(count: int, make: Callable[[int], bytes], times: int = 1) -> Case:
    """Return a case of requests whose responses are never read; `make` takes the port."""

    async def case(port: int, _: int) -> None:
        client = Client(port)
        request = make(port)
        await client.open(count, receive_bytes=4096)
        await client.send(*[request] * times)
        await asyncio.sleep(3600)

    return case


def repeated(count: int, *requests: bytes) -> Case:
    """Return a case of complete requests, back to back on each connection."""

    async def case(port: int, _: int) -> None:
        async def send_repeatedly() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while True:
                for request in requests:
                    writer.write(request)
                    lines = (await reader.readuntil(b"\r\n\r\n")).lower()
                    start = lines.index(b"content-length:") + 15
                    await reader.readexactly(int(lines[start : lines.index(b"\r", start)]))
                    if b"connection: close" in lines:
                        writer.close()
                        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        await asyncio.gather(*(send_repeatedly() for _ in range(count)), return_exceptions=True)

    return case


async def head_and_body_apart(port: int, _: int) -> None:
    """Send head and body in separate packets on many connections, repeatedly."""
    client = Client(port)
    await client.open(600)
    reading = asyncio.create_task(client.read())
    while not reading.done():
        await client.send(head(len(small_png())), small_png(), pause=0.02)


def pipelined(count: int, request: bytes, times: int) -> Case:
    """Return a case of many small pipelined requests on each connection."""

    async def case(port: int, _: int) -> None:
        client = Client(port)
        await client.open(count)
        await asyncio.gather(client.send(request * times), client.read())

    return case


async def slow_heads(port: int, _: int) -> None:
    """Send request heads byte by byte on many connections."""
    client = Client(port)
    await client.open(1000)
    for byte in head(1):
        await client.send(bytes([byte]), pause=0.1)


async def tiny_chunks(port: int, _: int) -> None:
    """Send bodies in chunks of one byte on some connections."""
    client = Client(port)
    await client.open(16)
    start = "POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(start.encode(), *[b"1\r\nx\r\n" * 10_000] * 100)


def all_layers(port: int, images: int, *, is_binary: bool) -> bytes:
    """Return a V2 request for the feature maps of every layer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/model/summary") as answer:
        names = [layer["name"] for layer in json.load(answer)["layers"]]
    pixels = bytes(images * 784)
    tensor = {
        **{"name": "images", "shape": [images, 784], "datatype": "UINT8"},
        "parameters": {"binary_data_size": len(pixels)},
    }
    outputs = [{"name": name, "parameters": {"binary_data": is_binary}} for name in names]
    start = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    length = f"{JSON_LENGTH_HEADER}: {len(start)}"
    return head(len(start) + len(pixels), INFER, length) + start + pixels


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(image: Image.Image) -> bytes:
    """Return a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def png_with_inflating_chunks(kind: bytes, count: int) -> bytes:
    """Return a small PNG with compressed chunks that inflate to 1 MiB each."""
    start, end = small_png()[:33], small_png()[33:]
    name = b"ICC\0\0" if kind == b"iCCP" else b"a\0\0"
    return start + chunk(kind, name + zlib.compress(bytes(MIB), 9)) * count + end


def webp() -> bytes:
    """Return a lossless transparent WebP of 25 megapixels in a few bytes."""
    buffer = io.BytesIO()
    Image.new("RGBA", (5000, 5000)).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def large_image(mode: str) -> Image.Image:
    """Return an image of 25 megapixels."""
    rows = np.arange(5000, dtype=np.uint8)[:, None]
    channels = {"LA": 2, "RGBA": 4}[mode]
    return Image.fromarray(np.broadcast_to(rows[..., None], (5000, 5000, channels)).copy(), mode)


def repeated_image(count: int, make: Callable[[], bytes], query: str = "") -> Case:
    """Return a case of one image that some connections send back to back."""

    async def case(port: int, grpc_port: int) -> None:
        await repeated(count, post(f"/predict{query}", make()))(port, grpc_port)

    return case


def grpc_message(fields: int, kind: bytes) -> bytes:
    """Return a ModelInferRequest of almost 16 MiB that repeats an empty field."""
    return b"\x0a\x0dfashion_mnist" + kind * fields


def grpc_calls(count: int, kind: bytes) -> Case:
    """Return a case of messages of nearly 16 MiB with millions of empty fields."""

    async def case(_: int, port: int) -> None:
        import grpc  # noqa: PLC0415 (an optional requirement)

        message = grpc_message(8 * MIB - 100, kind)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

            async def send_repeatedly() -> None:
                while True:
                    try:
                        await call(message)
                    except grpc.aio.AioRpcError:
                        await asyncio.sleep(0)

            await asyncio.gather(*(send_repeatedly() for _ in range(count)))

    return case


async def grpc_stalled(_: int, port: int) -> None:
    """Send 15 of the 16 MiB of a message on 40 connections over raw HTTP/2, then stop."""
    client = Client(port)
    await client.open(40)
    fields = b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/inference.GRPCInferenceService/ModelInfer"),
            (b":authority", b"localhost"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        )
    )
    settings = frame(4, 0, 0, struct.pack(">HI", 4, (1 << 31) - 1))
    start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + frame(1, 4, 1, fields)
    await client.send(start + frame(0, 0, 1, b"\x00" + struct.pack(">I", 16 * MIB - 100)))
    reading = asyncio.create_task(client.read())
    while not reading.done():  # As much as flow control allows.
        await client.send(frame(0, 0, 1, bytes(16_000)) * 4, pause=0.005)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return an HTTP/2 frame."""
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


BOMB = gzip.compress(bytes(16 * MIB - 1), 9)
LIVEZ = get("/livez")

CASES: dict[str, Case] = {
    "nobody": stalled(1, 2, 1),
    "large announced": stalled(100, 65_537, 1),
    "small announced": stalled(2500, 400, 1),
    "nearly sent": stalled(60, 65_537, 65_536),
    "slow senders": stalled(40, 16 * MIB, 15 * MIB),
    "slow heads": slow_heads,
    "tiny chunks": tiny_chunks,
    "head and body apart": head_and_body_apart,
    "pipelined health": pipelined(16, LIVEZ, 1500),
    "pipelined nonsense": pipelined(16, post("/predict", b"x"), 1500),
    "pipelined in the hundreds": pipelined(600, LIVEZ, 200),
    "answers unread": unread(48, partial(all_layers, images=256, is_binary=True)),
    "JSON unread": unread(4, partial(all_layers, images=256, is_binary=False)),
    "small answers unread": unread(500, lambda _: get("/openapi.json"), 20),
    "gzip bombs": repeated(8, head(len(BOMB), "/predict", "Content-Encoding: gzip") + BOMB),
    "image of one line": repeated_image(
        4, lambda: png(Image.new("L", (25_000_000, 1))), "?prepare=plain"
    ),
    "text in images": repeated_image(32, lambda: png_with_inflating_chunks(b"zTXt", 46)),
    "profiles in images": repeated_image(8, lambda: png_with_inflating_chunks(b"iCCP", 46)),
    "transparent WebP": repeated_image(4, webp),
    "RGBA of 25 megapixels": repeated_image(4, lambda: png(large_image("RGBA"))),
    "gRPC outputs": grpc_calls(2, b"\x32\x00"),
    "gRPC inputs": grpc_calls(8, b"\x2a\x00"),
    "gRPC stalled": grpc_stalled,
}
"""The cases by name, in the order of the table."""
