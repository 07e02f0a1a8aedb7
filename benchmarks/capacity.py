"""The cost of an image and of a request, and the machines that a load needs.

    python -m benchmarks.capacity

As many clients as it takes to saturate one service process send images, alternating between the
forms of requests. The cost is the process's CPU time as the kernel counts it, so the clients on the
same machine do not distort it. The median of the rounds is divided into cores. The tables are in
benchmarks/CAPACITY.md.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import OK, HTTPConnection
from math import ceil
from pathlib import Path

from benchmarks.process_tree import cpu_seconds
from benchmarks.server import service
from benchmarks.tensor_overhead import INFER, JSON_LENGTH_HEADER, binary_request

IMAGE = Path(__file__).parent.parent / "tests/data/png/0000-ankle-boot.png"
CLIENTS = 4
ROUNDS = 3
SECONDS = 6
BATCH = 256
WARM_UP_REQUESTS = 50
LOADS = (1_000, 100_000, 10_000_000)
HEADROOM = 0.6
"""Planned utilisation of a core: queues grow without bound as it approaches 1."""
CORES_PER_MACHINE = 32


@dataclass(frozen=True)
class RequestForm:
    """One form of request."""

    name: str
    images: int
    path: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Cost:
    """What a form of request costs the service.

    Attributes:
        cpu_us: Microseconds of CPU time per image.
        request_bytes: Bytes per image on the wire.
        resident_mb: Resident memory of the process at the end, in megabytes.
    """

    form: RequestForm
    cpu_us: float
    request_bytes: float
    resident_mb: float


def request_forms() -> list[RequestForm]:
    """Return the forms of requests, the most expensive first."""
    image = IMAGE.read_bytes()
    pixels = [number % 256 for number in range(784)]
    instances = json.dumps({"instances": [pixels] * 64}).encode()
    return [
        RequestForm("one PNG a request", 1, "/predict", image, {"Content-Type": "image/png"}),
        binary_tensor(1),
        RequestForm(
            "64 as JSON numbers", 64, "/predict", instances, {"Content-Type": "application/json"}
        ),
        binary_tensor(BATCH),
    ]


def binary_tensor(images: int) -> RequestForm:
    """Return the form that sends images as a binary tensor."""
    head, body = binary_request(images)
    headers = {JSON_LENGTH_HEADER: str(head), "Content-Type": "application/octet-stream"}
    return RequestForm(f"{images} as a binary tensor", images, INFER, body, headers)


def measure(form: RequestForm) -> Cost:
    """Saturate one process, and divide its CPU time by the number of images it classified."""
    with service() as server:
        connection = HTTPConnection("127.0.0.1", server.port)
        for _ in range(WARM_UP_REQUESTS):
            send(connection, form)
        process = server.pid
        counts = [0] * CLIENTS
        end = time.monotonic() + SECONDS

        def client(number: int) -> None:
            client_connection = HTTPConnection("127.0.0.1", server.port)
            while time.monotonic() < end:
                send(client_connection, form)
                counts[number] += 1
            client_connection.close()

        before = cpu_seconds(process)
        threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        images = sum(counts) * form.images
        spent = cpu_seconds(process) - before
        resident = resident_mb(process)
    return Cost(form, 1e6 * spent / images, len(form.body) / form.images, resident)


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Return the median round."""
    return sorted(costs, key=lambda cost: cost.cpu_us)[len(costs) // 2]


def request_and_image(one: Cost, batch: Cost) -> tuple[float, float]:
    """Return the cost of a request and of each image in it, in microseconds of CPU time.

    A request of n images costs a + n b; one image and one batch give two equations.
    """
    images = batch.form.images
    image = (images * batch.cpu_us - one.cpu_us) / (images - 1)
    return one.cpu_us - image, image


def send(connection: HTTPConnection, form: RequestForm) -> None:
    """Send one request and read the whole response."""
    connection.request("POST", form.path, form.body, dict(form.headers))
    response = connection.getresponse()
    content = response.read()
    if response.status != OK:
        raise RuntimeError(content.decode())


def resident_mb(process: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def table(costs: list[Cost]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| images sent as | CPU an image | bytes an image | memory a process |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {c.form.name} | {c.cpu_us:,.0f} µs | {c.request_bytes:,.0f} | {c.resident_mb:.0f} MB |"
        for c in costs
    ]
    lines += [
        "",
        "| images a second | sent as | cores | memory | machines | incoming |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for load in LOADS:
        for cost in costs:
            cores = load * cost.cpu_us / 1e6 / HEADROOM
            processes = ceil(cores)
            machines = ceil(processes / CORES_PER_MACHINE)
            lines.append(
                f"| {load:,} | {cost.form.name} | {cores:,.1f} | "
                f"{processes * cost.resident_mb / 1e3:,.1f} GB | {machines:,} | "
                f"{load * cost.request_bytes * 8 / 1e9:,.2f} Gbit/s |"
            )
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    rounds = [[measure(form) for form in request_forms()] for _ in range(ROUNDS)]
    costs = [median_cost(of_form) for of_form in zip(*rounds, strict=True)]
    request, image = request_and_image(costs[1], costs[-1])
    print(f"An image costs {image:,.0f} µs of CPU, its request {request:,.0f} µs by V2 and")
    print(f"{costs[0].cpu_us - image:,.0f} µs by /predict, which includes decoding a PNG.\n")
    print(table(costs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
