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
OVERLOAD_FACTOR = 10
GOAL_SHARE = 0.8
DEADLINE_SECONDS = 10
GOAL_LATE_SHARE = 0.01
GOAL_HEALTH_SECONDS = 0.1
GOAL_GROWTH = 0.1
REST_SECONDS = 4
PROBE_INTERVAL_SECONDS = 0.05


def main() -> int:
    """Print what was measured; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", action="store_true", help="do not divide the processors")
    service_processors = None if parser.parse_args().shared else divide_processors()
    requests = {
        "photograph, 1.3 megapixels": post("/predict", jpeg(1280, 1024), "image/jpeg"),
        "image of the data set": post("/predict", small_png(), "image/png"),
    }
    met = [
        uvloop.run(measure(name, request, service_processors)) for name, request in requests.items()
    ]
    return int(not all(met))


def divide_processors() -> set[int]:
    """Pin this process and its children to the last processor; return the others.

    Raises:
        RuntimeError: there is only one.
    """
    *service_processors, client_processor = sorted(os.sched_getaffinity(0))
    if not service_processors:
        raise RuntimeError("one processor cannot be divided: measure with --shared")
    os.sched_setaffinity(0, {client_processor})
    return set(service_processors)


async def measure(name: str, request: bytes, service_processors: set[int] | None) -> bool:
    """Measure one kind of request and print it; return whether the goals are met."""
    peaks, overload_rates, p99_seconds, late_shares, loads = [], [], [], [], []
    health: list[float] = []
    with service(processors=service_processors) as server:
        await measure_peak(server, request, 2)
        memory, memory_peaks = [server.resident_mib()], []
        peaks.append(await measure_peak(server, request, SECONDS))
        for _ in range(ROUNDS):
            with health_probes(server) as seconds:
                watching = asyncio.create_task(watch_memory(server))
                overload = await send_overload(server, request, peaks[-1])
                watching.cancel()
                memory_peaks.append(await watching)
            overload_rates.append(overload.rate())
            p99_seconds.append(overload.percentile(99))
            health += seconds
            loads.append(overload.counts.total() / SECONDS / peaks[-1])
            await asyncio.sleep(REST_SECONDS)
            memory.append(server.resident_mib())
            accepted = overload.counts[200] + overload.counts[504]
            late_shares.append(overload.counts[504] / accepted)
            if unexpected := set(overload.counts) - {200, 503, 504}:
                raise RuntimeError(f"unexpected status {unexpected}")
            peaks.append(await measure_peak(server, request, SECONDS))
    shares = [
        rate / statistics.mean(neighbours)
        for rate, neighbours in zip(overload_rates, pairwise(peaks), strict=True)
    ]
    print(f"{name}: {ROUNDS} rounds of {SECONDS:g} s")
    print(f"  peak                      {min(peaks):.0f} to {max(peaks):.0f} a second")
    print(f"  load sent                 {min(loads):.1f} to {max(loads):.1f} times the peak")
    spread = f"{min(shares):.0%} to {max(shares):.0%}"
    print(f"  throughput, of the peak   {statistics.median(shares):.0%} ({spread}), goal 80 %")
    print(
        f"  p99 of accepted requests  {max(p99_seconds):.2f} s (worst), goal {DEADLINE_SECONDS} s"
    )
    print(f"  accepted and late (504)   {max(late_shares):.2%} (worst), goal less than 1 %")
    print(f"  slowest health check      {1000 * max(health):.0f} ms of {len(health)}, goal 100 ms")
    growth = max(memory_peaks) / memory_peaks[0] - 1
    print(f"  resident, peak of a round {mib(memory_peaks)}, growth {growth:.0%}, goal under 10 %")
    print(f"  resident, between rounds  {mib(memory)}")
    return (
        statistics.median(shares) >= GOAL_SHARE
        and max(p99_seconds) <= DEADLINE_SECONDS
        and max(late_shares) < GOAL_LATE_SHARE
        and max(health) <= GOAL_HEALTH_SECONDS
        and growth < GOAL_GROWTH
    )


def mib(memory: list[float]) -> str:
    """Return sizes in readable units."""
    return f"{', '.join(f'{size:.0f}' for size in memory)} MiB"


async def watch_memory(server: Server) -> float:
    """Return the peak resident memory until this is cancelled, in MiB."""
    peak_mib = 0.0
    try:
        while True:
            peak_mib = max(peak_mib, server.resident_mib())
            await asyncio.sleep(PROBE_INTERVAL_SECONDS)
    except asyncio.CancelledError:
        return peak_mib


async def measure_peak(server: Server, request: bytes, seconds: float) -> float:
    """Return the responses per second of back-to-back requests."""
    peak = await closed_loop(server.port, [request], connections=PEAK_CONNECTIONS, seconds=seconds)
    return peak.rate()


async def send_overload(server: Server, request: bytes, peak: float) -> Result:
    """Return the result of requests at ten times the peak rate."""
    return await open_loop(
        server.port,
        request,
        rate=OVERLOAD_FACTOR * peak,
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
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=_probe_health, args=(server.port, stop.is_set, sender))
    process.start()
    yield seconds
    stop.set()
    seconds += receiver.recv()
    process.join()


def _probe_health(port: int, is_over: Callable[[], bool], results: Pipe) -> None:
    seconds = []
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while not is_over():
        start = time.perf_counter()
        connection.request("GET", "/livez")
        response = connection.getresponse()
        response.read()
        seconds.append(time.perf_counter() - start)
        if response.status != http.client.OK:
            raise RuntimeError(f"the health check returned {response.status}")
        time.sleep(PROBE_INTERVAL_SECONDS)
    results.send(seconds)


if __name__ == "__main__":
    sys.exit(main())
