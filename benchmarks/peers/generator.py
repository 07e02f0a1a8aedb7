"""The load generator: wrk, which takes less CPU time from the servers than anything in Python."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.contenders import Request

_SCRIPT = Path(__file__).parent / "post.lua"


@dataclass(frozen=True, slots=True)
class Load:
    """The results of a load.

    Attributes:
        requests: Number of responses.
        rate: Responses per second.
        percentiles_ms: Percentiles of the latency, by percent.
    """

    requests: int
    rate: float
    percentiles_ms: Mapping[float, float]


def load(port: int, request: Request, *, connections: int, seconds: int) -> Load:
    """Send requests back to back on each connection.

    Raises:
        RuntimeError: wrk is not installed, or a request failed.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RuntimeError("wrk is not installed: apt-get install wrk")
    command = [wrk, f"-c{connections}", "-t1", f"-d{seconds}s", "--timeout=10s", "-s", str(_SCRIPT)]
    with tempfile.NamedTemporaryFile() as body:
        body.write(request.body)
        body.flush()
        settings = {"BODY": body.name, "CONTENT_TYPE": request.media_type}
        printed = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{request.path}"],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    counts = json.loads(printed.splitlines()[-1])
    if counts["errors"]:
        raise RuntimeError(f"{counts['errors']} of {counts['requests']} requests failed")
    return Load(
        requests=counts["requests"],
        rate=counts["requests"] / (counts["duration_us"] / 1e6),
        percentiles_ms={percent: us / 1000 for percent, us in counts["percentiles_us"]},
    )
