"""What becomes of the service at ten times the load it can carry.

    python -m benchmarks.overload

For each kind of request the peak is what eight connections get that send as fast as answers come.
Then requests arrive at ten times that pace, whether or not answers come. The deadline is the
default; health is asked for all the while. Load generator and service share the machine.
"""

import asyncio
import statistics
import sys

from benchmarks.load import Connection, Result, closed_loop, get, open_loop, post
from benchmarks.pictures import jpeg, small_png
from benchmarks.server import Server, service

ROUNDS = 3
SECONDS = 8.0
PEAK_CONNECTIONS = 8
CONNECTIONS = 900
TIMES_THE_PEAK = 10
GOAL_SHARE = 0.8
DEADLINE_SECONDS = 10
GOAL_LOST = 0.01
GOAL_HEALTH_SECONDS = 0.1


def main() -> int:
    """Print what was measured; return 1 if a goal is missed."""
    requests = {
        "photograph, 1.3 megapixels": post("/predict", jpeg(1280, 1024), "image/jpeg"),
        "picture of the data set": post("/predict", small_png(), "image/png"),
    }
    met = [asyncio.run(measure(name, request)) for name, request in requests.items()]
    return int(not all(met))


async def measure(name: str, request: bytes) -> bool:
    """Measure one kind of request and print it; return whether the goals are met."""
    shares, late, lost, health, sent = [], [], [], [], []
    with service() as server:
        await closed_loop(server.port, [request], connections=PEAK_CONNECTIONS, seconds=2)
        memory = [server.resident_mib()]
        for _ in range(ROUNDS):
            peak = await closed_loop(
                server.port, [request], connections=PEAK_CONNECTIONS, seconds=SECONDS
            )
            flood, slowest_health = await flood_with(server, request, peak.rate())
            shares.append(flood.rate() / peak.rate())
            late.append(flood.percentile(99))
            health.append(slowest_health)
            answered = sum(flood.counts.values())
            sent.append((answered / flood.elapsed) / peak.rate())
            memory.append(server.resident_mib())
            accepted = flood.counts[200] + flood.counts[504]
            lost.append(flood.counts[504] / accepted)
            if unexpected := set(flood.counts) - {200, 503, 504}:
                raise RuntimeError(f"answers with status {unexpected}")
    print(f"{name}: {ROUNDS} rounds of {SECONDS:g} s, peak {peak.rate():.0f} a second")
    print(f"  load that was carried     {min(sent):.1f} to {max(sent):.1f} times the peak")
    print(f"  throughput of the peak    {statistics.median(shares):.0%} (median), goal 80 %")
    print(f"  p99 of what was accepted  {max(late):.2f} s (worst), goal {DEADLINE_SECONDS} s")
    print(f"  accepted and late (504)   {max(lost):.2%} (worst), goal less than 1 %")
    print(f"  slowest health answer     {1000 * max(health):.0f} ms, goal 100 ms")
    print(f"  resident memory           {', '.join(f'{mib:.0f}' for mib in memory)} MiB")
    return (
        statistics.median(shares) >= GOAL_SHARE
        and max(late) <= DEADLINE_SECONDS
        and max(lost) < GOAL_LOST
        and max(health) <= GOAL_HEALTH_SECONDS
    )


async def flood_with(server: Server, request: bytes, peak: float) -> tuple[Result, float]:
    """Return what came back, and how long the slowest health answer took."""
    slowest = 0.0

    async def watch() -> None:
        nonlocal slowest
        connection = Connection(server.port)
        loop = asyncio.get_running_loop()
        while True:
            start = loop.time()
            status, _ = await connection.ask(get("/livez"))
            if status != 200:
                raise RuntimeError(f"health answers {status}")
            slowest = max(slowest, loop.time() - start)
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    result = await open_loop(
        server.port,
        request,
        rate=TIMES_THE_PEAK * peak,
        connections=CONNECTIONS,
        seconds=SECONDS,
    )
    if watching.done():
        watching.result()
    watching.cancel()
    return result, slowest


if __name__ == "__main__":
    sys.exit(main())
