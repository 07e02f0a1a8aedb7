"""The service's connections compared with stock uvicorn's, with the same application.

Each stream of bytes is sent to both servers in the same pieces. The responses must be identical,
except for the date and the request id, unless the difference is one of `Difference`.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.app import create_app
from service.http.batcher import Batcher
from service.http.protocol import ServiceProtocol
from service.settings import Settings
from tests.service.conftest import ARTIFACTS

CONCURRENT_STREAMS = 24
SECONDS = 60
MIN_STREAMS = 1000

END = b"GET /v2?end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
"""The last request of a stream: both servers close the connection after its response."""


INVALID = b"Invalid HTTP request received."


class Difference(Enum):
    """Where the service differs from stock uvicorn, and why."""

    UPGRADE = "stock uvicorn reads the body of a request with Upgrade as a request (RFC 9110, 7.8)"
    CODING = "a transfer coding other than chunked is a 501 (RFC 9112, 6.1), there 400 or ignored"
    PIPELINE = "stock uvicorn drops a complete request followed by garbage or an incomplete one"
    CONTINUE = "HTTP/1.0 has no 100 Continue (RFC 9110, 10.1.1)"


class Stream(NamedTuple):
    pieces: Sequence[bytes]
    difference: Difference | None = None


def request(
    body: bytes | None = None,
    *lines: str,
    method: str = "POST",
    path: str = "/predict",
    version: str = "1.1",
    host: str = "Host: a",
) -> bytes:
    fields = [f"{method} {path} HTTP/{version}", *([host] if host else []), *lines]
    if body is not None:
        fields.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*fields, "", ""]).encode("latin-1") + (body or b"")


def chunked(body: bytes, size: int, *lines: str, end: bytes = b"0\r\n\r\n") -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return request(None, "Transfer-Encoding: chunked", *lines) + chunks + end


def pieces_of(data: bytes, *cuts: int) -> list[bytes]:
    ends = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in pairwise(ends) if end > start]


GET = request(None, method="GET", path="/livez")
JSON_BODY = b'{"instances": [[' + b",".join([b"7"] * 784) + b"]]}"


def streams(boot: bytes) -> Iterator[Stream]:
    """Yield every stream; the random ones are the same in each run."""
    chance = random.Random(1)  # noqa: S311 (no secret)
    small = request(boot)
    bad = request(b"no image")
    json = request(JSON_BODY, "Content-Type: application/json")
    v2 = request(b'{"inputs": []}', path="/v2/models/fashion_mnist/infer")
    unknown = request(b"x", path="/nowhere")
    kinds = [small, bad, json, v2, unknown, GET, chunked(boot, 100), request(b"", method="PUT")]
    # A split at every byte, of one request and of two.
    whole = bad + GET + END
    for cut in range(1, len(whole)):
        yield Stream(pieces_of(whole, cut))
    whole = chunked(b"no image", 3) + END
    for cut in range(1, len(whole)):
        yield Stream(pieces_of(whole, cut))
    for cut in range(1, len(small), 7):
        yield Stream(pieces_of(small + END, cut))
    # A byte at a time.
    for one in (bad, v2, GET, unknown):
        yield Stream(pieces_of(one + END, *range(1, len(one + END))))
    # Large bodies that look like requests, between other requests, cut anywhere.
    nested = request(b"\r\n\r\n".join([GET, b"x" * 5000, GET] * 20))
    large = [nested, chunked(GET * 500, 9000), request(GET * 200, path="/nowhere"), small, GET]
    for _ in range(40):
        data = nested + b"".join(chance.choices(large, k=chance.randint(0, 3))) + END
        yield Stream(pieces_of(data, *chance.sample(range(1, len(data)), chance.randint(0, 4))))
    # Pipelines of everything, cut anywhere.
    for _ in range(250):
        data = b"".join(chance.choices(kinds, k=chance.randint(2, 6))) + END
        cuts = chance.sample(range(1, len(data)), chance.randint(0, 4))
        yield Stream(pieces_of(data, *cuts))
    yield from framings(boot)
    yield from damaged(chance, kinds)


def framings(boot: bytes) -> Iterator[Stream]:  # noqa: PLR0912 (it is a list)
    """Yield variants of lengths, chunks, versions, targets and headers."""
    size = f"Content-Length: {len(boot)}"
    for length in ("+5", "-1", "0x5", "5 5", "5,5", "", "1e3", "99999999999999999999", " 5", "5 "):
        yield Stream([request(None, f"Content-Length: {length}") + b"12345" + END])
    for lines in (
        [size, size],
        [size, "Content-Length: 1"],
        [size, "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", size],
        ["Content-Length : 5"],
        [" Content-Length: 5"],
        ["Content-Length: 5", " folded: x"],
        ["X: a", "\tfolded"],
        ["X:", "Y:  "],
        ["X: a\x00b"],
        ["X: a\rb"],
        ["X: \x7f"],
        ["X: \xff"],
        ["X y: a"],
        [": a"],
        ["no colon"],
        ["X" * 5000 + ": a"],
        ["Content-Type: image/png", "Content-Type: application/json"],
        ["Content-Type: image/png", "content-type: image/png"],
        ["Authorization: Bearer a", "Authorization: Bearer b"],
        ["X-API-Key: a", "X-API-Key: b"],
        ["Host: b"],
        ["Inference-Header-Content-Length: 1", "Inference-Header-Content-Length: 2"],
        ["X-Request-Timeout: 1", "X-Request-Timeout: 2"],
        ["Accept: a/b", "Accept: c/d"],
        ["X-Request-ID: a", "X-Request-ID: b"],
        ["traceparent: 00-" + "1" * 32, "traceparent: 00-" + "2" * 32],
        ["Content-Encoding: gzip"],
        ["Content-Encoding: br"],
        ["Expect: 100-continue"],
        ["Expect: something"],
        ["Connection: close"],
        ["Connection: keep-alive"],
        ["Connection: foo, close"],
        ["Origin: https://a.example"],
        ["Forwarded: for=a"],
        ["Cookie: a=b", "Cookie: c=d"],
    ):
        for method, path in (("POST", "/predict"), ("POST", "/nowhere"), ("GET", "/livez")):
            body = boot if method == "POST" else None
            yield Stream([request(body, *lines, method=method, path=path) + END])
    for end in (
        b"0\r\n\r\n",
        b"0\r\nX: trailer\r\n\r\n",
        b"0;a=b\r\n\r\n",
        b"000\r\n\r\n",
        b"0\n\n",
        b"0 \r\n\r\n",
        b"-1\r\n\r\n",
        b"g\r\n\r\n",
        b"\r\n0\r\n\r\n",
        b"ffffffffffffffff1\r\n\r\n",
        b"0\r\n\r\n\r\n",
    ):
        yield Stream([chunked(b"no image", 4, end=end) + END])
        yield Stream([chunked(b"no image", 4, end=end) + END + END])
    for chunk_size in (1, 3, 100):
        yield Stream([chunked(boot, chunk_size) + END])
    yield Stream([request(None, "Transfer-Encoding: Chunked") + b"1\r\nx\r\n0\r\n\r\n" + END])
    for coding in ("gzip", "identity", "gzip, chunked", "chunked, gzip", "chunked;q=1", "xchunked"):
        data = request(None, f"Transfer-Encoding: {coding}") + b"1\r\nx\r\n0\r\n\r\n" + END
        yield Stream([data], Difference.CODING)
    for host in ("", "Host:", "Host: a b", "Host: a/b", "Host: [::1]", "Host: a:80", "Host: a@b"):
        for version in ("1.1", "1.0"):
            for path in ("/predict", "/nowhere", "/livez"):
                yield Stream([request(boot, host=host, version=version, path=path) + END])
    for version in ("1.0", "0.9", "1.2", "2.0", "9", "1.1 ", "01.1", "1"):
        yield Stream([request(boot, version=version) + END])
        yield Stream([request(None, method="GET", path="/livez", version=version) + END])
    for target in (
        *("*", "http://b/livez", "http://b/predict", "//b/livez", "/livez?", "/livez#a", "/livez/"),
        *("/%6civez", "/livez%00", "/predict/", "/predict?top_k=1", "/predict?top_k=x", "livez"),
        *("/predict?top_k=1&top_k=2", "/../livez", "/./livez", "/livez;a", "/\xe9", "/a b", ""),
    ):
        for method in ("GET", "POST"):
            body = boot if method == "POST" else None
            yield Stream([request(body, method=method, path=target) + END])
    for method in (
        "HEAD",
        "OPTIONS",
        "DELETE",
        "PATCH",
        "TRACE",
        "get",
        "FOO",
        "M-SEARCH",
        "PURGE",
    ):
        yield Stream([request(None, method=method, path="/livez") + END])
        yield Stream([request(b"x", method=method) + END])
    for before in (b"\r\n", b"\r\n\r\n", b"\n", b" ", b"\x00", b"\xef\xbb\xbf"):
        yield Stream([before + GET + END])
        yield Stream([GET + before + END])
    for new_line in (b"\n", b"\r", b"\n\r"):
        yield Stream([GET.replace(b"\r\n", new_line) + END])
    # More or less body than is announced; a body that looks like a request.
    for announced in (0, 5, len(boot) - 1, len(boot) + 1):
        yield Stream([request(None, f"Content-Length: {announced}") + boot + END])
    for body in (GET, END, GET * 5, b"\r\n\r\n" * 50, b"0\r\n\r\n"):
        yield Stream([request(body) + END])
        yield Stream(pieces_of(request(body) + END, 30, 60))
        yield Stream([chunked(body, 7) + END])
        yield Stream([request(body, method="GET", path="/livez") + END])
    for token in ("h2c", "websocket", "anything"):
        upgrade = ("Connection: Upgrade", f"Upgrade: {token}")
        for path in ("/predict", "/nowhere"):
            yield Stream([request(boot, *upgrade, path=path) + END], Difference.UPGRADE)
            head, body = request(boot, *upgrade, path=path).split(b"\r\n\r\n", 1)
            yield Stream([head + b"\r\n\r\n", body + END], Difference.UPGRADE)
        yield Stream(
            [request(None, *upgrade, method="GET", path="/livez") + END], Difference.UPGRADE
        )
    yield Stream([request(None, method="CONNECT", path="a:80") + END])
    yield Stream([request(boot, "Expect: 100-continue", version="1.0")], Difference.CONTINUE)
    for garbage in (b"\x00\r\n\r\n", b"nonsense\r\n\r\n", b"GET / HTTP/9\r\n\r\n"):
        yield Stream([GET + request(boot) + garbage], Difference.PIPELINE)
        yield Stream([request(boot), garbage])


def damaged(chance: random.Random, kinds: Sequence[bytes]) -> Iterator[Stream]:
    """Yield requests with a byte of the head changed, left out or doubled."""
    for _ in range(350):
        data = bytearray(chance.choice(kinds))
        place = chance.randrange(min(len(data), data.index(b"\r\n\r\n") + 2))
        kind = chance.randrange(3)
        if kind == 0:
            data[place] = chance.choice(b"\x00\r\n :\x7f\xff,;Aa0\t/%")
        elif kind == 1:
            del data[place]
        else:
            data.insert(place, data[place])
        yield Stream([bytes(data) + END + END])


@pytest.fixture(scope="module")
def app() -> Any:
    app = create_app(Settings.model_validate({"artifacts": ARTIFACTS, "engine": "litert"}))
    app.state.repository.open()
    return app


async def served(app: Any, protocol: type[HttpToolsProtocol]) -> uvicorn.Server:
    config = uvicorn.Config(app, http=protocol, log_config=None, ws="none", lifespan="off", port=0)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    server.lifespan.state.update({"fast_path": Batcher(app.state)})
    await server.startup()
    return server


async def exchange(port: int, pieces: Sequence[bytes]) -> bytes:
    """Send each piece in its own packet; return everything received."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        async with asyncio.timeout(SECONDS):
            for piece in pieces:
                writer.write(piece)
                if len(pieces) > 1:
                    await asyncio.sleep(0.002 if len(pieces) < 20 else 0)
            while chunk := await reader.read(65536):
                received += chunk
    except (ConnectionError, TimeoutError) as error:
        received += f"<{type(error).__name__}>".encode()
    finally:
        writer.close()
    return received


_VARYING = re.compile(rb"(date|x-request-id): [^\r]*\r\n|\"request_id\":\"[^\"]*\"")


def comparable(received: bytes) -> list[bytes]:
    """Return the responses without date and request id, and with sorted headers."""
    parts = re.split(rb"(?=HTTP/1\.1 \d\d\d )", _VARYING.sub(b"", received))
    answers = []
    for part in filter(None, parts):
        head, _, body = part.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        answers.append(b"\n".join([first, *sorted(lines), b"", body]))
    return answers


def difference(stream: Stream, ours: list[bytes], stock: list[bytes]) -> Difference | None:
    """Return which of the documented differences it is, or None."""
    if stock and INVALID in stock[-1]:
        whole = [answer for answer in ours if INVALID not in answer]
        if whole[: len(stock) - 1] == stock[:-1] and len(whole) >= len(stock):
            return Difference.PIPELINE
    return stream.difference


def test_responses_equal_stock_uvicorns_except_for_documented_differences(
    app: Any, boot_png: bytes
) -> None:
    async def compare() -> tuple[list[str], Counter[Difference], int]:
        ours, stock = [await served(app, kind) for kind in (ServiceProtocol, HttpToolsProtocol)]
        ports = [server.servers[0].sockets[0].getsockname()[1] for server in (ours, stock)]
        wrong: list[str] = []
        seen: Counter[Difference] = Counter()
        limit = asyncio.Semaphore(CONCURRENT_STREAMS)

        async def one(stream: Stream) -> None:
            async with limit:
                answers = await asyncio.gather(*(exchange(port, stream.pieces) for port in ports))
            first, second = map(comparable, answers)
            kind = difference(stream, first, second) if first != second else None
            if kind is not None:
                seen[kind] += 1
            elif first != second:
                wrong.append(f"{stream.pieces}\n--- ours\n{first!r}\n--- stock\n{second!r}")

        every = list(streams(boot_png))
        await asyncio.gather(*map(one, every))
        for server in (ours, stock):
            server.should_exit = True
            await server.shutdown()
        return wrong, seen, len(every)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        wrong, seen, count = runner.run(compare())
    assert count >= MIN_STREAMS
    assert not wrong, f"{len(wrong)} of {count}:\n\n" + "\n\n".join(wrong[:20])
    assert set(seen) == set(Difference), "a documented difference did not occur"
