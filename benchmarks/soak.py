"""Whether memory stays flat over 200,000 valid and invalid requests of all kinds.

python -m benchmarks.soak
"""

import asyncio
import base64
import json
import sys
from collections import Counter

from tqdm import tqdm

from benchmarks.images import jpeg, small_png
from benchmarks.load import closed_loop, post
from benchmarks.server import service
from benchmarks.tensor_overhead import binary_request

REQUESTS = 200_000
CONNECTIONS = 16
STEP_SECONDS = 5.0
WARM_UP_SHARE = 0.1
GOAL_MIB = 10


def main() -> int:
    """Print memory over time; return 1 if it grew or a response was a 5xx."""
    return asyncio.run(measure())


async def measure() -> int:
    """Measure, print, and return the exit status."""
    counts: Counter[int] = Counter()
    memory: list[tuple[int, float]] = []
    with service() as server, tqdm(total=REQUESTS, unit=" requests") as bar:
        while counts.total() < REQUESTS:
            result = await closed_loop(
                server.port, requests(), connections=CONNECTIONS, seconds=STEP_SECONDS
            )
            counts += result.counts
            bar.update(result.counts.total())
            memory.append((counts.total(), server.resident_mib()))
    warm = [mib for done, mib in memory if done >= WARM_UP_SHARE * REQUESTS]
    growth = warm[-1] - warm[0]
    for done, mib in memory[:: max(1, len(memory) // 10)]:
        print(f"  after {done:7d} requests   {mib:.1f} MiB resident")
    print(f"  statuses                {dict(sorted(counts.items()))}")
    print(f"  growth after warm-up    {growth:+.1f} MiB, goal at most {GOAL_MIB} MiB")
    server_errors = sum(count for status, count in counts.items() if status >= 500)
    print(f"  5xx responses           {server_errors}")
    return int(growth > GOAL_MIB or server_errors > 0)


def requests() -> list[bytes]:
    """Return requests of each kind, small ones several times as often as large ones."""
    boot = small_png()
    numbers = json.dumps({"instances": [[0] * 784] * 4}).encode()
    encoded = json.dumps({"instances": [{"b64": base64.b64encode(boot).decode()}]}).encode()
    head, tensor = binary_request()
    infer = post("/v2/models/fashion_mnist/infer", tensor).replace(
        b"\r\n", f"\r\nInference-Header-Content-Length: {head}\r\n".encode(), 1
    )
    common = [
        post("/predict", boot, "image/png"),
        post("/predict", numbers, "application/json"),
        post("/predict", encoded, "application/json"),
        post("/predict", boot[:200], "image/png"),
        post("/predict", b"{", "application/json"),
        post("/v1/models/fashion_mnist:predict", encoded, "application/json"),
        post("/predict?top_k=99", boot, "image/png"),
    ]
    rare = [
        infer,
        post("/predict", jpeg(640, 480), "image/jpeg"),
        post("/feature-maps", boot, "image/png"),
        post("/feature-maps?format=png", boot, "image/png"),
    ]
    return common * 12 + rare


if __name__ == "__main__":
    sys.exit(main())
