"""How the service behaves at ten times its peak load.

    python -m benchmarks.overload [--shared]

The peak of a kind of request is the rate of eight connections that send back to back. Then requests
arrive at ten times that rate, independent of the responses; a request that is due while all
connections wait is not sent. Then the peak is measured again: the overload is compared with the
mean of the two peaks, because the speed of a shared machine varies. The deadline is the default.
Another process checks health throughout.

Real clients have machines of their own, so the clients here run on the last processor and the
service on the others. With --shared all use all processors: the load generator at ten times the
peak then takes processor time from the service.
"""

import argparse
import asyncio
import http.client
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing.connection import Connection as Pipe

import uvloop

from benchmarks.images import jpeg, small_png
from benchmarks.load import Result, closed_loop, open_loop, post
from benchmarks.server import Server, service

ROUNDS = 5
SECONDS = 8.0
PEAK_CONNECTIONS = 8
CONNECTIONS = 900
TIMES_THE_PEAK = 10
GOAL_SHARE = 0.8
DEADLINE_SECONDS = 10
GOAL_LOST = 0.01
GOAL_HEALTH_SECONDS = 0.1
GOAL_GROWTH = 0.1
SECONDS_OF_REST = 4
SECONDS_BETWEEN_PROBES = 0.05


def main() -> int:
    """Print what was measured; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", action="store_true", help="do not divide the processors")
    of_service = None if parser.parse_args().shared else divide_processors()
    requests = {
        "photograph, 1.3 megapixels": post("/predict", jpeg(1280, 1024), "image/jpeg"),
        "image of the data set": post("/predict", small_png(), "image/png"),
    }
    met = [uvloop.run(measure(name, request, of_service)) for name, request in requests.items()]
    return int(not all(met))


def divide_processors() -> set[int]:
    """Pin this process and its children to the last processor; return the others.

    Raises:
        RuntimeError: there is only one.
    """
    *of_service, ours = sorted(os.sched_getaffinity(0))
    if not of_service:
        raise RuntimeError("one processor cannot be divided: measure with --shared")
    os.sched_setaffinity(0, {ours})
    return set(of_service)


async def measure(name: str, request: bytes, of_service: set[int] | None) -> bool:
    """Measure one kind of request and print it; return whether the goals are met."""
    peaks, floods, late, lost, sent = [], [], [], [], []
    health: list[float] = []
    with service(processors=of_service) as server:
        await peak_of(server, request, 2)
        memory, highest = [server.resident_mib()], []
        peaks.append(await peak_of(server, request, SECONDS))
        for _ in range(ROUNDS):
            with health_probes(server) as seconds:
                watching = asyncio.create_task(watch_memory(server))
                flood = await flood_with(server, request, peaks[-1])
                watching.cancel()
                highest.append(await watching)
            floods.append(flood.rate())
            late.append(flood.percentile(99))
            health += seconds
            sent.append(flood.counts.total() / SECONDS / peaks[-1])
            await asyncio.sleep(SECONDS_OF_REST)
            memory.append(server.resident_mib())
            accepted = flood.counts[200] + flood.counts[504]
            lost.append(flood.counts[504] / accepted)
            if unexpected := set(flood.counts) - {200, 503, 504}:
                raise RuntimeError(f"answers with status {unexpected}")
            peaks.append(await peak_of(server, request, SECONDS))
    shares = [
        flood / statistics.mean(around)
        for flood, around in zip(floods, pairwise(peaks), strict=True)
    ]
    print(f"{name}: {ROUNDS} rounds of {SECONDS:g} s")
    print(f"  peak                      {min(peaks):.0f} to {max(peaks):.0f} a second")
    print(f"  load that was sent        {min(sent):.1f} to {max(sent):.1f} times the peak")
    spread = f"{min(shares):.0%} to {max(shares):.0%}"
    print(f"  throughput of the peak    {statistics.median(shares):.0%} ({spread}), goal 80 %")
    print(f"  p99 of what was accepted  {max(late):.2f} s (worst), goal {DEADLINE_SECONDS} s")
    print(f"  accepted and late (504)   {max(lost):.2%} (worst), goal less than 1 %")
    print(f"  slowest health answer     {1000 * max(health):.0f} ms of {len(health)}, goal 100 ms")
    growth = max(highest) / highest[0] - 1
    print(f"  resident, highest a round {mib(highest)}, growth {growth:.0%}, goal under 10 %")
    print(f"  resident, between rounds  {mib(memory)}")
    return (
        statistics.median(shares) >= GOAL_SHARE
        and max(late) <= DEADLINE_SECONDS
        and max(lost) < GOAL_LOST
        and max(health) <= GOAL_HEALTH_SECONDS
        and growth < GOAL_GROWTH
    )


def mib(memory: list[float]) -> str:
    """Return sizes in readable units."""
    return f"{', '.join(f'{size:.0f}' for size in memory)} MiB"


async def watch_memory(server: Server) -> float:
    """Return the peak resident memory until this is cancelled, in MiB."""
    most = 0.0
    try:
        while True:
            most = max(most, server.resident_mib())
            await asyncio.sleep(SECONDS_BETWEEN_PROBES)
    except asyncio.CancelledError:
        return most


async def peak_of(server: Server, request: bytes, seconds: float) -> float:
    """Return the responses per second of back-to-back requests."""
    peak = await closed_loop(server.port, [request], connections=PEAK_CONNECTIONS, seconds=seconds)
    return peak.rate()


async def flood_with(server: Server, request: bytes, peak: float) -> Result:
    """Return the responses."""
    return await open_loop(
        server.port,
        request,
        rate=TIMES_THE_PEAK * peak,
        connections=CONNECTIONS,
        seconds=SECONDS,
    )


@contextmanager
def health_probes(server: Server) -> Iterator[list[float]]:
    """Check health until the block ends; the list then has the latencies, in seconds.

    In a process of its own, because the busy load generator would measure its own delays.
    """
    seconds: list[float] = []
    stop = multiprocessing.Event()
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=_probe, args=(server.port, stop.is_set, theirs))
    process.start()
    yield seconds
    stop.set()
    seconds += ours.recv()
    process.join()


def _probe(port: int, is_over: Callable[[], bool], results: Pipe) -> None:
    seconds = []
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while not is_over():
        start = time.perf_counter()
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        answer.read()
        seconds.append(time.perf_counter() - start)
        if answer.status != http.client.OK:
            raise RuntimeError(f"health answers {answer.status}")
        time.sleep(SECONDS_BETWEEN_PROBES)
    results.send(seconds)


if __name__ == "__main__":
    sys.exit(main())
