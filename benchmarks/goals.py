"""Each goal for speed and size, and the measured value.

    python -m benchmarks.goals

Throughput is measured as the CPU time per image, as the kernel counts it, because the load on the
machine affects it less than elapsed time. `alone` is the same work in a loop in its own process.
Takes about four minutes. Needs wrk.
"""

import asyncio
import http.client
import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from ai_edge_litert.interpreter import Interpreter, SignatureRunner
from PIL import Image
from tqdm import tqdm

from benchmarks.images import jpeg, large_png, small_png
from benchmarks.load import closed_loop, open_loop, post
from benchmarks.peers.contenders import Request, batch, protocols
from benchmarks.peers.generator import load
from benchmarks.process_tree import cpu_seconds, proportional_mib
from benchmarks.scaling import two_worker_gains
from benchmarks.server import Server, free_port, service, wait_until_ready
from benchmarks.tensor_overhead import INFER, JSON_LENGTH_HEADER, binary_request
from service.capacity.admission import Admission
from service.capacity.pools import available_processors
from service.images.decode import ImageReader
from service.model.artifact import INT8_FLATBUFFER
from service.model.engines.litert import IMAGES_AT_ONCE
from service.model.store import open_source
from service.settings import Settings
from service.telemetry.record import RequestRecord

IMAGES = 256
ROUNDS = 5
BATCH_ROUNDS = 15
REQUESTS_PER_ROUND = 12
SECONDS = 2
STARTS = 5
WORKERS = 4
CONNECTIONS = (1, 16, 256)
LARGE_SIDE = 256
LARGE_IMAGES = 64
FORMS_IN_FLIGHT = 8
PNG = Request("/predict", "image/png", small_png())


def main() -> int:
    """Measure and print one line per goal."""
    sections = (
        batch_invariance,
        large_batches,
        scaling_by_processors,
        latency,
        start_and_memory,
        scaling_by_connections_and_workers,
        cost_by_protocol,
        feature_maps,
    )
    lines = [line for section in tqdm(sections, unit="section") for line in section()]
    print("\n".join(lines))
    return 0


def batch_invariance() -> list[str]:
    """Compare the probabilities of single images with those of the same images in a batch."""
    random = np.random.default_rng(0)
    images = random.random((IMAGES, 28, 28, 1), np.float32)
    run = network()
    alone = np.concatenate([run(images=images[i : i + 1])["probabilities"] for i in range(IMAGES)])
    batched = run(images=images)["probabilities"]
    difference = float(np.abs(alone - batched).max())
    return [f"a probability alone and in a batch of {IMAGES}: difference {difference:g}"]


def large_batches() -> list[str]:
    """Compare 256 images per request, in three forms, with the network alone on as many threads.

    One connection per processor keeps all processors busy in both cases.
    """
    head, tensor = binary_request()
    form, content_type = multipart([small_png()] * IMAGES)
    headers = {JSON_LENGTH_HEADER: str(head), "Content-Type": "application/octet-stream"}
    numbers = batch(IMAGES)
    requests = {
        "binary tensor": (INFER, tensor, headers, 0.8),
        "JSON": (numbers.path, numbers.body, {"Content-Type": numbers.media_type}, 0.5),
        "multipart PNGs": ("/predict", form, {"Content-Type": content_type}, None),
    }
    networks = [network_runner() for _ in range(available_processors())]
    permit = Admission(max_images=1, max_bytes=1).admit(RequestRecord(""))
    decode = partial(ImageReader("auto", (28, 28), permit).read, small_png())
    shares: dict[str, list[float]] = {name: [] for name in requests}
    decoding: list[float] = []
    with service() as server:
        clients = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in networks]
        for _ in range(BATCH_ROUNDS):
            alone = cpu_per_call(networks, REQUESTS_PER_ROUND)
            decoding.append(cpu_per_call([decode], IMAGES) * IMAGES / alone)
            for name, (path, body, fields, _) in requests.items():
                before = cpu_seconds(server.pid)
                calls = [partial(send, client, path, body, fields) for client in clients]
                run_concurrently(calls, REQUESTS_PER_ROUND)
                spent = (cpu_seconds(server.pid) - before) / REQUESTS_PER_ROUND / len(clients)
                shares[name].append(alone / spent)
    lines = []
    for name, (*_, goal) in requests.items():
        low, share, high = statistics.quantiles(shares[name], n=4)
        goal_text = f"goal {goal:.0%}" if goal else "the network and decoding alone would be "
        if goal is None:
            goal_text += f"{1 / (1 + statistics.median(decoding)):.0%}"
        lines.append(
            f"{IMAGES} images as {name}: {share:.0%} of the network alone "
            f"(half of {BATCH_ROUNDS} rounds {low:.0%} to {high:.0%}; {goal_text})"
        )
    return lines


def scaling_by_processors() -> list[str]:
    """Compare the throughput of forms on all processors with that on one.

    The forms hold small or large images, and several are in flight. Threads of one worker, or one
    worker per processor, answer them.
    """
    kinds = {
        f"{IMAGES} small PNGs": (small_png(), IMAGES),
        f"{LARGE_IMAGES} PNGs of {LARGE_SIDE}×{LARGE_SIDE}": (large_png(LARGE_SIDE), LARGE_IMAGES),
    }
    processors = available_processors()
    pinned = service(processors={max(os.sched_getaffinity(0))})
    lines = []
    with pinned as one, service() as threads, service(f"--workers={processors}") as workers:
        for name, (image, images) in kinds.items():
            body, content_type = multipart([image] * images)
            request = Request("/predict", content_type, body)
            rates = [
                [forms_per_second(each, request) for each in (one, threads, workers)]
                for _ in range(ROUNDS)
            ]
            by_threads, by_workers = (
                statistics.quantiles([each[index] / each[0] for each in rates], n=4)
                for index in (1, 2)
            )
            lines.append(
                f"throughput of forms of {name} on {processors} processors, relative to one: "
                f"one worker per processor {spread(by_workers)}, "
                f"threads of one worker {spread(by_threads)}"
            )
    return lines


def forms_per_second(server: Server, request: Request) -> float:
    """Return the forms answered per second with several in flight."""
    form = post(request.path, request.body, request.media_type)
    loop = closed_loop(server.port, [form], connections=FORMS_IN_FLIGHT, seconds=SECONDS)
    return asyncio.run(loop).rate()


def spread(quartiles: Sequence[float]) -> str:
    """Return the median and the interquartile range of the rounds."""
    low, middle, high = quartiles
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def latency() -> list[str]:
    """Measure the latency of small images at half the peak rate, and of one large photograph."""
    small = post(PNG.path, PNG.body, PNG.media_type)
    large = post("/predict", jpeg(4000, 3000), "image/jpeg")
    with service() as server:

        async def measure() -> tuple[float, float, float]:
            peak = await closed_loop(server.port, [small], connections=16, seconds=SECONDS)
            half = await open_loop(
                server.port, small, rate=peak.rate() / 2, connections=64, seconds=2 * SECONDS
            )
            photographs = await closed_loop(server.port, [large], connections=1, seconds=SECONDS)
            return peak.rate(), half.percentile(99), photographs.percentile(50)

        peak, p99, photograph = asyncio.run(measure())
    return [
        f"99th percentile at half of a peak of {peak:,.0f}/s: {1000 * p99:.1f} ms (goal 5 ms)",
        f"a JPEG of 12 megapixels: {1000 * photograph:.0f} ms (goal 120 ms)",
    ]


def start_and_memory() -> list[str]:
    """Measure the time from process start to readiness, and the memory of four workers."""
    seconds = []
    for _ in range(STARTS):
        port = free_port()
        begin = time.perf_counter()
        with subprocess.Popen([sys.executable, "-m", "service", f"--port={port}"]) as process:
            wait_until_ready(port)
            seconds.append(time.perf_counter() - begin)
            process.terminate()
    with service(f"--workers={WORKERS}") as server:
        load(server.port, PNG, connections=16, seconds=SECONDS)
        memory = proportional_mib(server.pid) * 1.048576 / WORKERS
    return [
        f"ready after {min(seconds):.2f} s at best, {statistics.median(seconds):.2f} s in the "
        f"median of {STARTS} starts (goal 1 s)",
        f"memory of {WORKERS} workers: {memory:.0f} MB each (PSS, goal 90 MB)",
    ]


def scaling_by_connections_and_workers() -> list[str]:
    """Measure the cost of a request on more connections, and the gain of a second worker."""
    costs: dict[int, list[float]] = {connections: [] for connections in CONNECTIONS}
    with service() as server:
        load(server.port, PNG, connections=16, seconds=1)
        for _ in range(ROUNDS):
            for connections in CONNECTIONS:
                costs[connections].append(cost(server, connections))
    return [
        "processor time of a request on "
        + ", ".join(
            f"{count} connections {1e6 * statistics.median(each):.0f} µs"
            for count, each in costs.items()
        )
        + " (goal: flat)",
        "two workers, each on a processor of its own: "
        f"{spread(statistics.quantiles(two_worker_gains(), n=4))} times one (goal 1.8)",
    ]


def cost_by_protocol() -> list[str]:
    """Measure the cost of one image per request in each protocol, alternating."""
    costs: dict[str, list[float]] = {name: [] for name in protocols()}
    with service() as server:
        load(server.port, PNG, connections=16, seconds=1)
        for _ in range(ROUNDS):
            for name, request in protocols().items():
                costs[name].append(cost(server, 16, request, seconds=1))
    return [
        "processor time of a request with one image, on 16 connections: "
        + ", ".join(
            f"{name} {1e6 * statistics.median(each):.0f} µs" for name, each in costs.items()
        )
    ]


def feature_maps() -> list[str]:
    """Measure all feature maps of one image, as numbers and as a PNG."""
    lines = []
    with service() as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        for form, goal in (("json", 5), ("png", 15)):
            times = []
            for _ in range(50):
                begin = time.perf_counter()
                send(connection, f"/feature-maps?format={form}", PNG.body, {})
                times.append(1000 * (time.perf_counter() - begin))
            lines.append(
                f"all feature maps as {form}: {statistics.median(times):.1f} ms, "
                f"{min(times):.1f} ms at best (goal {goal} ms)"
            )
    return lines


def network_runner(count: int = IMAGES) -> Callable[[], object]:
    """Return a function that runs the network on `count` images in the best batch size."""
    with Image.open(io.BytesIO(small_png())) as image:
        pixels = np.asarray(image, np.float32).reshape(1, 28, 28, 1) / np.float32(255)
    run, images = network(), np.repeat(pixels, IMAGES_AT_ONCE, axis=0)

    def run_all() -> None:
        for _ in range(count // IMAGES_AT_ONCE):
            run(images=images)

    return run_all


def network() -> SignatureRunner:
    """Return the network of the shipped model, as the service runs it, on one thread."""
    settings = Settings()
    source = open_source(settings.artifacts, settings.cache)
    directory = source.directory(source.versions()[0])
    interpreter = Interpreter(str(directory / INT8_FLATBUFFER), num_threads=1)
    return interpreter.get_signature_runner("serving_default")


def cpu_per_call(functions: Sequence[Callable[[], object]], times: int) -> float:
    """Return the CPU seconds per call in this process, with all threads running at once."""
    begin = time.process_time()
    run_concurrently(functions, times)
    return (time.process_time() - begin) / times / len(functions)


def run_concurrently(functions: Sequence[Callable[[], object]], times: int) -> None:
    """Run each function repeatedly, on a thread of its own."""

    def repeat(function: Callable[[], object]) -> None:
        for _ in range(times):
            function()

    with ThreadPoolExecutor(len(functions)) as pool:
        list(pool.map(repeat, functions))


def cost(
    server: Server, connections: int, request: Request = PNG, *, seconds: int = SECONDS
) -> float:
    """Return the CPU seconds per request that the service spends under load."""
    before = cpu_seconds(server.pid)
    answered = load(server.port, request, connections=connections, seconds=seconds).requests
    return (cpu_seconds(server.pid) - before) / answered


def send(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]
) -> None:
    """Send one request and read the whole response."""
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    content = response.read()
    if response.status != http.client.OK:
        raise RuntimeError(content.decode())


def multipart(files: list[bytes]) -> tuple[bytes, str]:
    """Return a multipart body of these files, and its Content-Type."""
    boundary = b"a-boundary-that-no-image-has"
    head = b'Content-Disposition: form-data; name="files"; filename="%d.png"\r\n\r\n'
    parts = [b"--%b\r\n" % boundary + head % i + file for i, file in enumerate(files)]
    body = b"\r\n".join([*parts, b"--%b--\r\n" % boundary])
    return body, f"multipart/form-data; boundary={boundary.decode()}"


if __name__ == "__main__":
    sys.exit(main())
