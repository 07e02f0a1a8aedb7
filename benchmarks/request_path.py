"""What the service spends on a request beside decoding and inference, next to the least there is.

    python -m benchmarks.request_path [--profile]

The service's application and a script of twenty lines (FastAPI and the same engine; no validation,
limits, metrics or request ids) answer the same requests in one process, by turns, called as a
server calls them: no sockets, one core. Beside them stands decoding and inference alone, in a loop.
"""

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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from starlette.types import ASGIApp

from benchmarks.pictures import small_png
from service.app import create_app
from service.artifact import INT8_FLATBUFFER
from service.settings import Settings
from service.sources import open_source

ROUNDS = 25
REQUESTS_A_ROUND = 100
PROFILED_REQUESTS = 3000

Work = Callable[[], Awaitable[object]]


def main() -> int:
    """Print the ratios, or with `--profile` where the service's time goes."""
    logging.disable(logging.INFO)  # A line a request would be measured as well.
    settings = Settings(log_level="warning")
    app = create_app(settings)
    app.state.repository.open()
    with asyncio.Runner() as runner:
        runner.run(profile(app) if "--profile" in sys.argv else compare(app, settings))
    return 0


async def compare(app: ASGIApp, settings: Settings) -> None:
    """Measure by turns and print medians over the rounds, with the middle half."""
    source = open_source(settings.artifacts, settings.cache)
    flatbuffer = source.directory(source.versions()[0]) / INT8_FLATBUFFER
    script = twenty_lines(flatbuffer)
    for form, (body, media_type) in bodies().items():
        works: dict[str, Work] = {
            "service": lambda b=body, m=media_type: ask(app, b, m),  # type: ignore[misc]
            "script": lambda b=body, m=media_type: ask(script, b, m),  # type: ignore[misc]
            "alone": alone(flatbuffer, body, media_type),
        }
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(ROUNDS):
            for name, work in works.items():
                start = time.perf_counter()
                for _ in range(REQUESTS_A_ROUND):
                    await work()
                seconds[name].append((time.perf_counter() - start) / REQUESTS_A_ROUND)
        print(f"{form}: {1e6 * statistics.median(seconds['service']):.0f} µs a request (median)")
        for other, meaning in (
            ("script", "times as fast as the script"),
            ("alone", "of the limit"),
        ):
            ratios = [o / s for o, s in zip(seconds[other], seconds["service"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"  {middle:.2f} {meaning} (half of {ROUNDS} rounds {low:.2f} to {high:.2f})")


async def profile(app: ASGIApp) -> None:
    """Print what takes the time of a request with a PNG."""
    body, media_type = bodies()["PNG"]
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(PROFILED_REQUESTS):
        await ask(app, body, media_type)
    profiler.disable()
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(40)


def bodies() -> dict[str, tuple[bytes, str]]:
    """Return one picture as a file and as numbers, with its media type."""
    png = small_png()
    with Image.open(io.BytesIO(png)) as image:
        rows = np.asarray(image).tolist()
    numbers = json.dumps({"instances": [rows]}).encode()
    return {"PNG": (png, "image/png"), "JSON": (numbers, "application/json")}


def twenty_lines(flatbuffer: Path) -> ASGIApp:
    """Return what one writes to have something that works."""
    os.environ["FLATBUFFER"] = str(flatbuffer)
    from benchmarks.peers.apps.plain_script import app  # noqa: PLC0415 (it loads what was named)

    return app


def alone_per_second(flatbuffer: Path, seconds: float) -> dict[str, float]:
    """Return how often a second one picture is decoded and classified in a loop, by its form."""
    return {
        form: asyncio.run(_rate(alone(flatbuffer, *body), seconds))
        for form, body in bodies().items()
    }


async def _rate(work: Work, seconds: float) -> float:
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        await work()
        count += 1
    return count / elapsed


def alone(flatbuffer: Path, body: bytes, media_type: str) -> Work:
    """Return decoding and inference of one body without any HTTP."""
    interpreter = Interpreter(str(flatbuffer), num_threads=1)
    network = interpreter.get_signature_runner("serving_default")

    async def work() -> object:
        if media_type == "application/json":
            pixels = np.array(json.loads(body)["instances"], np.float32)
        else:
            pixels = np.asarray(Image.open(io.BytesIO(body)), np.float32)
        images = pixels.reshape(-1, 28, 28, 1) / np.float32(255)
        return network(images=images)["probabilities"]

    return work


async def ask(app: ASGIApp, body: bytes, media_type: str) -> None:
    """Call an application as a server does, and read its answer."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return messages.pop()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope(len(body), media_type), receive, send)
    if statuses != [200]:
        raise RuntimeError(f"answers with status {statuses}")


def scope(length: int, media_type: str) -> dict[str, Any]:
    """Return what a server knows of a request to `/predict`."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict",
        "raw_path": b"/predict",
        "root_path": "",
        "query_string": b"",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", media_type.encode()),
            (b"content-length", str(length).encode()),
        ],
        "state": {},
    }


if __name__ == "__main__":
    sys.exit(main())
