"""The throughput that a second worker adds, without a client on the processors.

    python -m benchmarks.scaling

A client would take processor time and limit the load. So each worker, pinned to a processor, feeds
itself: sixteen connections without sockets, a PNG on each, and everything else as served, including
the counters that workers share. The workers run alternately one at a time and all at once.
"""

import argparse
import asyncio
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvloop

from benchmarks.load import post
from benchmarks.request_path import (
    CONNECTIONS,
    Connection,
    bodies,
    connect_to_service,
    send_to_each,
)
from service.app import create_app
from service.settings import WORKERS_DIRECTORY, Settings

WORKERS = 2
ROUNDS = 15
SECONDS = 0.5
GOAL = 1.8
"""Required throughput of two workers, relative to one."""

Worker = subprocess.Popen[str]


def main() -> int:
    """Print the gain, or run as one of the workers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--worker", type=int, metavar="PROCESSOR", help="run as a worker")
    processor = parser.parse_args().worker
    if processor is not None:
        run_worker(processor)
    else:
        low, middle, high = statistics.quantiles(two_worker_gains(), n=4)
        print(
            f"two workers, each on a processor of its own: {middle:.2f} times one "
            f"(half of {ROUNDS} rounds {low:.2f} to {high:.2f}; goal {GOAL})"
        )
    return 0


def two_worker_gains() -> list[float]:
    """Return the throughput of two workers relative to one, by round.

    Raises:
        RuntimeError: There are not two processors.
    """
    processors = sorted(os.sched_getaffinity(0))[:WORKERS]
    if len(processors) < WORKERS:
        raise RuntimeError("two workers need two processors")
    gains = []
    with started_workers(processors) as workers:
        for _ in range(ROUNDS):
            alone = statistics.mean(rate for one in workers for rate in measure_rates([one]))
            gains.append(sum(measure_rates(workers)) / alone)
    return gains


@contextmanager
def started_workers(processors: Sequence[int]) -> Iterator[list[Worker]]:
    """Run a worker on each processor until the block ends."""
    command = [sys.executable, "-m", "benchmarks.scaling", "--worker"]
    with tempfile.TemporaryDirectory() as directory:
        workers = [
            subprocess.Popen(
                [*command, str(processor)],
                env={**os.environ, WORKERS_DIRECTORY: directory},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for processor in processors
        ]
        try:
            measure_rates(workers)  # Loads the model in each and runs it once.
            yield workers
        finally:
            for worker in workers:
                worker.communicate()


def measure_rates(workers: Sequence[Worker]) -> list[float]:
    """Run workers at once; return the requests per second of each."""
    for worker in workers:
        assert worker.stdin is not None  # noqa: S101
        print(SECONDS, file=worker.stdin, flush=True)
    results = []
    for worker in workers:
        assert worker.stdout is not None  # noqa: S101
        results.append(float(worker.stdout.readline()))
    return results


def run_worker(processor: int) -> None:
    """Answer requests for the number of seconds that each line of standard input gives."""
    os.sched_setaffinity(0, {processor})
    logging.disable(logging.INFO)
    app = create_app(Settings(log_level="warning"))
    app.state.repository.open()
    request = post("/predict", *bodies()["PNG"])

    async def answer_for(seconds: float) -> float:
        begin, answered = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - begin) < seconds:
            await send_to_each(connections, request)
            answered += len(connections)
        return answered / elapsed

    async def connect() -> None:
        connections.extend(connect_to_service(app, CONNECTIONS))

    connections: list[Connection] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(connect())
        for line in sys.stdin:
            print(runner.run(answer_for(float(line))), flush=True)


if __name__ == "__main__":
    sys.exit(main())
