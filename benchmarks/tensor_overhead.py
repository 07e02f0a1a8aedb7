"""The share of a large binary request that is spent outside the network.

    python -m benchmarks.tensor_overhead

A client on loopback sends binary UINT8 tensors of 256 images to `python -m service` back to back,
and requests binary probabilities. The time outside the engine is the latency less the inference
time in the service's own statistics: client, kernel, HTTP, JSON and both tensors.
"""

import http.client
import json
import statistics
import sys
import time

from benchmarks.server import service

IMAGES = 256
PIXELS = 784
ROUNDS = 15
REQUESTS_PER_ROUND = 20
GOAL = 0.2

INFER = "/v2/models/fashion_mnist/infer"
STATS = "/v2/models/fashion_mnist/stats"
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"


def main() -> int:
    """Print the share of time outside the engine; return 1 if it misses the goal."""
    head, body = binary_request()
    headers = {JSON_LENGTH_HEADER: str(head), "Content-Type": "application/octet-stream"}
    with service() as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        for _ in range(REQUESTS_PER_ROUND):
            send(connection, body, headers)
        shares, milliseconds = [], []
        for _ in range(ROUNDS):
            before = engine_seconds(connection)
            start = time.perf_counter()
            for _ in range(REQUESTS_PER_ROUND):
                send(connection, body, headers)
            elapsed = time.perf_counter() - start
            engine = engine_seconds(connection) - before
            shares.append(1 - engine / elapsed)
            milliseconds.append(1000 * elapsed / REQUESTS_PER_ROUND)
    share = statistics.median(shares)
    low, _, high = statistics.quantiles(shares, n=4)
    print(f"{ROUNDS} rounds of {REQUESTS_PER_ROUND} requests, each {IMAGES} images as UINT8")
    print(f"one request           {statistics.median(milliseconds):.2f} ms (median)")
    print(f"outside the engine    {share:.1%} (median; half of the rounds {low:.1%} to {high:.1%})")
    print(f"goal                  at most {GOAL:.0%}: {'met' if share <= GOAL else 'missed'}")
    return int(share > GOAL)


def binary_request(images: int = IMAGES) -> tuple[int, bytes]:
    """Return the length of a request's JSON, and its whole body."""
    values = bytes(pixel % 256 for pixel in range(images * PIXELS))
    tensor = {
        "name": "images",
        "shape": [images, PIXELS],
        "datatype": "UINT8",
        "parameters": {"binary_data_size": len(values)},
    }
    output = {"name": "probabilities", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    return len(head), head + values


def send(connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str]) -> None:
    """Send one request and read the whole response."""
    connection.request("POST", INFER, body, headers)
    response = connection.getresponse()
    content = response.read()
    if response.status != http.client.OK:
        raise RuntimeError(content.decode())


def engine_seconds(connection: http.client.HTTPConnection) -> float:
    """Return the total inference time so far."""
    connection.request("GET", STATS)
    [model] = json.load(connection.getresponse())["model_stats"]
    nanoseconds: int = model["inference_stats"]["compute_infer"]["ns"]
    return nanoseconds / 1e9


if __name__ == "__main__":
    sys.exit(main())
