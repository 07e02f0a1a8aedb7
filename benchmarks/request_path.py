"""The cost of the service beyond decoding and inference, compared with a minimal server.

    python -m benchmarks.request_path [--profile | --check]

The service's application and a script of twenty lines (FastAPI and the same engine; no validation,
limits, metrics or request ids) alternately answer the same requests in one process, each behind its
own server code but without sockets, on one connection and on 16. The baseline is decoding and
inference alone, in a loop. The measure is CPU time, which depends less on other load than elapsed
time. With `--check` the exit status says whether the service is faster than the script by the
required ratio, which also depends a little on the machine.
"""

import argparse
import asyncio
import cProfile
import io
import json
import logging
import os
import pstats
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
import uvloop
from ai_edge_litert.interpreter import Interpreter
from fastapi import FastAPI
from PIL import Image
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from benchmarks.images import small_png
from benchmarks.load import post
from service.app import create_app
from service.http.batcher import Batcher
from service.http.protocol import ServiceProtocol
from service.model.artifact import INT8_FLATBUFFER
from service.model.store import open_source
from service.settings import Settings

ROUNDS = 25
REQUESTS_PER_ROUND = 96
CONNECTIONS = 16
PROFILED_REQUESTS = 3000
MIN_RATIO = 1.3
"""Ratio of the service's speed to the script's."""

Work = Callable[[], Awaitable[object]]


def main() -> int:
    """Print the ratios, or with `--profile` a profile of the service.

    Returns:
        1 if `--check` is set and a ratio to the script is below `MIN_RATIO`, else 0.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--profile", action="store_true", help="show where the time goes")
    kinds.add_argument("--check", action="store_true", help=f"fail under {MIN_RATIO}")
    options = parser.parse_args()
    logging.disable(logging.INFO)  # Without the access log.
    settings = Settings(log_level="warning")
    app = create_app(settings)
    app.state.repository.open()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # As in the service.
        if options.profile:
            runner.run(profile(app))
            return 0
        ratios = runner.run(compare(app, settings))
    return int(options.check and min(ratios.values()) < MIN_RATIO)


async def compare(app: FastAPI, settings: Settings) -> dict[str, float]:
    """Measure alternately; print medians over the rounds, with the interquartile range.

    Returns:
        Ratio of the service's speed to the script's, by the form of the image.
    """
    ratios = {}
    source = open_source(settings.artifacts, settings.cache)
    flatbuffer = source.directory(source.versions()[0]) / INT8_FLATBUFFER
    script = plain_script(flatbuffer)
    for form, (body, media_type) in bodies().items():
        request = post("/predict", body, media_type)
        baseline = without_http(flatbuffer, body, media_type)
        for count in (1, CONNECTIONS):
            calls: dict[str, Work] = {
                "service": partial(send_to_each, connect_to_service(app, count), request),
                "script": partial(
                    send_to_each, connect(script, HttpToolsProtocol, {}, count), request
                ),
                "without HTTP": baseline,
            }
            seconds: dict[str, list[float]] = {name: [] for name in calls}
            for _ in range(ROUNDS):
                for name, call in calls.items():
                    times = REQUESTS_PER_ROUND // (1 if name == "without HTTP" else count)
                    start = time.process_time()
                    for _ in range(times):
                        await call()
                    seconds[name].append((time.process_time() - start) / REQUESTS_PER_ROUND)
            name = f"{form}, connections: {count}"
            ratios[name] = show(name, seconds)
    return ratios


def show(name: str, seconds: dict[str, list[float]]) -> float:
    """Print the time per request of each, and return the median ratio of service to script."""
    print(f"{name}: {1e6 * statistics.median(seconds['service']):.0f} µs per request (median)")
    medians = {}
    for other, meaning in (
        ("script", "times as fast as the script"),
        ("without HTTP", "of the time without HTTP"),
    ):
        ratios = [o / s for o, s in zip(seconds[other], seconds["service"], strict=True)]
        low, medians[other], high = statistics.quantiles(ratios, n=4)
        print(f"  {medians[other]:.2f} {meaning} (half of {ROUNDS} rounds {low:.2f} to {high:.2f})")
    return medians["script"]


async def profile(app: FastAPI) -> None:
    """Print a profile of requests with a PNG."""
    body, media_type = bodies()["PNG"]
    request = post("/predict", body, media_type)
    service = connect_to_service(app, 1)
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(PROFILED_REQUESTS):
        await send_to_each(service, request)
    profiler.disable()
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(40)


def connect_to_service(app: FastAPI, count: int) -> list["Connection"]:
    """Return connections to the service as `python -m service` serves it."""
    return connect(app, ServiceProtocol, {"fast_path": Batcher(app.state)}, count)


def connect(
    app: ASGIApp, protocol: type[HttpToolsProtocol], state: dict[str, Any], count: int
) -> list["Connection"]:
    """Return connections to one server.

    Args:
        app: The application.
        protocol: Reads requests and writes responses.
        state: State of the application's lifespan.
        count: Number of connections.
    """
    config = uvicorn.Config(app, http=protocol, log_config=None, access_log=False, ws="none")
    config.load()
    server = ServerState()
    return [Connection(protocol(config, server, state)) for _ in range(count)]


def bodies() -> dict[str, tuple[bytes, str]]:
    """Return one image as a file and as numbers, with its media type."""
    png = small_png()
    with Image.open(io.BytesIO(png)) as image:
        rows = np.asarray(image).tolist()
    numbers = json.dumps({"instances": [rows]}).encode()
    return {"PNG": (png, "image/png"), "JSON": (numbers, "application/json")}


def plain_script(flatbuffer: Path) -> ASGIApp:
    """Return the application of `benchmarks/peers/apps/plain_script.py`."""
    os.environ["FLATBUFFER"] = str(flatbuffer)
    from benchmarks.peers.apps.plain_script import app  # noqa: PLC0415 (it loads the model on import)

    return app


def without_http_us(flatbuffer: Path, seconds: float) -> dict[str, float]:
    """Return the CPU time to decode and classify one image in a loop, by its form."""
    return {
        form: asyncio.run(_cpu_us(without_http(flatbuffer, *body), seconds))
        for form, body in bodies().items()
    }


async def _cpu_us(call: Work, seconds: float) -> float:
    count, start = 0, time.process_time()
    while (elapsed := time.process_time() - start) < seconds:
        for _ in range(REQUESTS_PER_ROUND):
            await call()
        count += REQUESTS_PER_ROUND
    return 1e6 * elapsed / count


def without_http(flatbuffer: Path, body: bytes, media_type: str) -> Work:
    """Return decoding and inference of one body without any HTTP."""
    interpreter = Interpreter(str(flatbuffer), num_threads=1)
    network = interpreter.get_signature_runner("serving_default")

    async def call() -> object:
        if media_type == "application/json":
            pixels = np.array(json.loads(body)["instances"], np.float32)
        else:
            pixels = np.asarray(Image.open(io.BytesIO(body)), np.float32)
        images = pixels.reshape(-1, 28, 28, 1) / np.float32(255)
        return network(images=images)["probabilities"]

    return call


class Connection:
    """The server's side of a connection, without a socket."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._transport = _Sink()
        self._protocol = protocol
        self._protocol.connection_made(self._transport)

    def send(self, request: bytes) -> None:
        """Pass a request to the server."""
        self._transport.written.clear()
        self._protocol.data_received(request)

    @property
    def is_complete(self) -> bool:
        """Return whether the response is complete.

        Raises:
            RuntimeError: Its status is not 200.
        """
        cycle = self._protocol.cycle
        if not self._transport.written or not (cycle is None or cycle.response_complete):
            return False
        if not self._transport.written[0].startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"unexpected response {self._transport.written[0]!r}")
        return True


async def send_to_each(connections: Sequence[Connection], request: bytes) -> None:
    """Send a request on each connection at once, and wait for all responses."""
    for connection in connections:
        connection.send(request)
    for connection in connections:
        while not connection.is_complete:
            await asyncio.sleep(0)


class _Sink(asyncio.Transport):
    """A transport that collects what a server writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass  # No more data comes before the response.

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass  # Another connection is being measured.


if __name__ == "__main__":
    sys.exit(main())
