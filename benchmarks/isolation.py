"""Whether one client's photographs slow another client's small images.

    python -m benchmarks.isolation

One client sends small images at a low rate, alternately alone and while another posts JPEGs of
twelve megapixels back to back on two connections. Each client is a process of its own, so neither
delays the other in the load generator.
"""

import asyncio
import multiprocessing
import statistics
import sys

from benchmarks.images import jpeg, small_png
from benchmarks.load import closed_loop, post
from benchmarks.server import service

ROUNDS = 5
SECONDS = 6.0
PAUSE_SECONDS = 0.01
PHOTO_CONNECTIONS = 2
GOAL = 5.0


def main() -> int:
    """Print the ratio of the 99th percentiles; return 1 if it misses the goal."""
    return asyncio.run(measure())


async def measure() -> int:
    """Measure, print, and return the exit status."""
    small = post("/predict", small_png(), "image/png")
    large = post("/predict", jpeg(4000, 3000), "image/jpeg")
    ratios, quiet_ms, busy_ms, photos = [], [], [], []
    with multiprocessing.Pool(1) as pool, service() as server:
        await closed_loop(server.port, [small, large], connections=2, seconds=2)
        for _ in range(ROUNDS):
            quiet = await closed_loop(
                server.port, [small], connections=1, seconds=SECONDS, pause=PAUSE_SECONDS
            )
            others = pool.apply_async(send_photographs, (server.port, large))
            busy = await closed_loop(
                server.port, [small], connections=1, seconds=SECONDS, pause=PAUSE_SECONDS
            )
            quiet_ms.append(1000 * quiet.percentile(99))
            busy_ms.append(1000 * busy.percentile(99))
            ratios.append(busy_ms[-1] / quiet_ms[-1])
            photos.append(others.get())
    ratio = statistics.median(ratios)
    print(f"{ROUNDS} rounds of {SECONDS:g} s; 99th percentiles of small images, medians:")
    print(f"  alone                     {statistics.median(quiet_ms):.2f} ms")
    print(f"  with photographs          {statistics.median(busy_ms):.2f} ms")
    print(f"  photographs answered      {statistics.median(photos):.1f} a second")
    print(f"  ratio                     {ratio:.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
    print(f"  goal                      at most {GOAL:g}: {'met' if ratio <= GOAL else 'missed'}")
    return int(ratio > GOAL)


def send_photographs(port: int, request: bytes) -> float:
    """Send photographs back to back; return the responses per second."""
    sending = closed_loop(port, [request], connections=PHOTO_CONNECTIONS, seconds=SECONDS)
    return asyncio.run(sending).rate()


if __name__ == "__main__":
    sys.exit(main())
