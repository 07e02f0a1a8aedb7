"""The cost of hostile clients to the service and other clients: every known worst case.

    python -m benchmarks.hostile [--only NAME …] [--seconds 6] [--rest 60]

Each case starts the service anew with default settings, one worker, HTTP and gRPC. Three processes
send requests: the hostile client, a well-behaved one (small images at a low rate and an occasional
photograph), and a health check. A monitor in the service's event loop records the longest time that
the loop was blocked: elapsed time, and CPU time of its thread, which other programs on the machine
do not affect. Memory is what the kernel reports for the process.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import multiprocessing.connection
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from benchmarks.hostile_requests import CASES
from benchmarks.images import jpeg, small_png
from benchmarks.load import Connection, get, post
from benchmarks.server import free_port, wait_until_ready

WARM_UP_SECONDS = 1.5
TICK_SECONDS = 0.001
IDLE_SECONDS = 0.0003
"""An iteration of the loop that took no longer only woke the monitor."""
PROBE_INTERVAL_SECONDS = 0.05
SMALL_PAUSE_SECONDS = 0.02
PHOTO_PAUSE_SECONDS = 0.5
TIMEOUT_SECONDS = 60  # of the well-behaved client

GOAL_MIB = 400
GOAL_HEALTH_MS = 100
GOAL_HELD_MS = 20
GOAL_GROWTH_MIB = 10

_context = multiprocessing.get_context("spawn")


class Row(NamedTuple):
    """The measurements of one case: memory in MiB, times in milliseconds."""

    before: float
    highest: float
    later: float
    health: float
    held: float
    held_cpu: float
    sent: int
    lost: int

    @property
    def is_met(self) -> bool:
        """Whether the case meets the goals."""
        return (
            self.highest <= GOAL_MIB
            and self.health <= GOAL_HEALTH_MS
            and min(self.held, self.held_cpu) <= GOAL_HELD_MS
            and self.lost == 0
            and self.later - self.before <= GOAL_GROWTH_MIB
        )


def main() -> int:
    """Print the table; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each case")
    parser.add_argument(
        "--rest", type=float, default=60.0, help="seconds until memory is read again"
    )
    options = parser.parse_args()
    columns = ("MiB before", "highest", "later", "health", "held", "of CPU", "sent", "lost")
    print(f"{'':26}" + "".join(f"{column:>11}" for column in columns))
    rows = []
    for name in tqdm(options.only, unit="case"):
        row = measure(name, options.seconds, options.rest)
        rows.append(row)
        tqdm.write(f"{name:26}" + "".join(f"{value:11.0f}" for value in row), file=sys.stdout)
    print(
        f"goals: highest {GOAL_MIB} MiB, later at most {GOAL_GROWTH_MIB} MiB more than before, "
        f"slowest health {GOAL_HEALTH_MS} ms, loop held {GOAL_HELD_MS} ms, none lost"
    )
    return int(not all(row.is_met for row in rows))


def measure(name: str, seconds: float, rest: float) -> Row:
    """Run one case against a new service."""
    with monitored_service() as server:
        with run_in_process(_run_normal_client, server.port, seconds=WARM_UP_SECONDS):
            time.sleep(WARM_UP_SECONDS)
        before = memory_mib(server.pid, "VmRSS")
        for value in (server.held, server.held_cpu):
            value.value = 0.0
        with (
            run_in_process(_probe_health, server.port, seconds=seconds) as health,
            run_in_process(_run_normal_client, server.port, seconds=seconds) as normal,
            run_in_process(
                _run_hostile_client, name, server.port, server.grpc_port, seconds=seconds
            ),
        ):
            pass
        highest = memory_mib(server.pid, "VmHWM")
        held, held_cpu = server.held.value, server.held_cpu.value
        time.sleep(rest)
        later = memory_mib(server.pid, "VmRSS")
    [slowest], (sent, lost) = health, normal
    held_ms, cpu_ms = 1000 * held, 1000 * held_cpu
    return Row(before, highest, later, slowest, held_ms, cpu_ms, int(sent), int(lost))


class MonitoredService(NamedTuple):
    """A service with a monitored loop; `held` and `held_cpu` are the blocked seconds."""

    port: int
    grpc_port: int
    pid: int
    held: "Synchronized[float]"
    held_cpu: "Synchronized[float]"


@contextmanager
def monitored_service() -> Iterator[MonitoredService]:
    """Run the service in a separate process until the block ends."""
    held, held_cpu = _context.Value("d", 0.0), _context.Value("d", 0.0)
    ports = free_port(), free_port()
    process = _context.Process(target=_serve, args=(*ports, held, held_cpu))
    process.start()
    assert process.pid is not None  # noqa: S101 (it has started)
    try:
        wait_until_ready(ports[0])
        yield MonitoredService(*ports, process.pid, held, held_cpu)
    finally:
        process.terminate()
        process.join(10)
        process.kill()
        process.join()


def _serve(port: int, grpc_port: int, held: Synchronized, held_cpu: Synchronized) -> None:  # type: ignore[type-arg]  # not subscriptable when it runs
    from service.__main__ import main as serve  # noqa: PLC0415 (only this process serves)
    from service.http.batcher import Batcher  # noqa: PLC0415 (as above)

    start = Batcher.__init__

    def start_with_monitor(*args: object) -> None:
        start(*args)  # type: ignore[arg-type]  # passed through
        tasks.append(asyncio.get_running_loop().create_task(_monitor_loop(held, held_cpu)))

    tasks: list[asyncio.Task[None]] = []  # The loop keeps only weak references.
    Batcher.__init__ = start_with_monitor  # type: ignore[assignment]  # to monitor its loop
    serve([f"--port={port}", f"--grpc-port={grpc_port}", "--log-level=error"])


async def _monitor_loop(held: Synchronized, held_cpu: Synchronized) -> None:  # type: ignore[type-arg]  # as above
    pause = 0.0
    while True:
        clock, cpu = time.perf_counter(), time.thread_time()
        await asyncio.sleep(pause)
        now, cpu_now = time.perf_counter(), time.thread_time()
        held.value = max(held.value, now - clock - pause)
        held_cpu.value = max(held_cpu.value, cpu_now - cpu)
        # Each iteration while there is work: a timer would include the iteration that fires it.
        pause = TICK_SECONDS if cpu_now - cpu < IDLE_SECONDS else 0.0


def memory_mib(pid: int, field: str) -> float:
    """Return the memory of a process as the kernel reports it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not say how much memory is resident")


@contextmanager
def run_in_process(
    function: Callable[..., Awaitable[tuple[float, ...]]], *args: object, seconds: float
) -> Iterator[list[float]]:
    """Run a coroutine function in another process; its result is in the list after the block."""
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=_run, args=(function, args, seconds, sender))
    process.start()
    result: list[float] = []
    try:
        yield result
        if receiver.poll(seconds + 2 * TIMEOUT_SECONDS):
            result += receiver.recv()
    finally:
        process.join(5)
        process.kill()


def _run(
    function: Callable[..., Awaitable[tuple[float, ...]]],
    args: tuple[object, ...],
    seconds: float,
    results: "multiprocessing.connection.Connection",
) -> None:
    results.send(asyncio.run(function(*args, seconds=seconds)))  # type: ignore[arg-type]  # it is a coroutine


async def _probe_health(port: int, *, seconds: float) -> tuple[float, ...]:
    """Return the slowest response of the health check, in milliseconds."""
    slowest, end = 0.0, time.perf_counter() + seconds
    connection = Connection(port)
    while time.perf_counter() < end:
        start = time.perf_counter()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            status, _ = await connection.exchange(get("/livez"))
        assert status == 200  # noqa: S101
        slowest = max(slowest, time.perf_counter() - start)
        await asyncio.sleep(PROBE_INTERVAL_SECONDS)
    return (1000 * slowest,)


async def _run_normal_client(port: int, *, seconds: float) -> tuple[float, ...]:
    """Return how many well-behaved requests were sent, and how many failed."""
    small, photo = post("/predict", small_png(), "image/png"), post("/predict", jpeg(1280, 1024))
    end, counts = time.perf_counter() + seconds, [0, 0]

    async def send_repeatedly(request: bytes, pause: float) -> None:
        connection = Connection(port)
        while time.perf_counter() < end:
            status = 0
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    status, _ = await connection.exchange(request)
            counts[0] += 1
            counts[1] += status != 200
            await asyncio.sleep(pause)

    await asyncio.gather(
        send_repeatedly(small, SMALL_PAUSE_SECONDS), send_repeatedly(photo, PHOTO_PAUSE_SECONDS)
    )
    return counts[0], counts[1]


async def _run_hostile_client(
    name: str, port: int, grpc_port: int, *, seconds: float
) -> tuple[float, ...]:
    """Run the hostile client for some seconds, then disconnect it."""
    await asyncio.sleep(0.5)  # The other clients start first.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds - 0.5):
            await CASES[name](port, grpc_port)
            await asyncio.Event().wait()
    return (0.0,)


if __name__ == "__main__":
    sys.exit(main())
