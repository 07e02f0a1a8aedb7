"""The load: wrk, which costs the cores it shares with the servers less than anything in Python."""

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.contenders import Request

_SCRIPT = Path(__file__).parent / "post.lua"


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a stretch of load.

    Attributes:
        requests: Answers in all.
        rate: Answers a second.
        p50_ms: Median time to an answer.
        p90_ms: Time that nine of ten stayed within.
        p99_ms: Time that 99 of 100 stayed within.
    """

    requests: int
    rate: float
    p50_ms: float
    p90_ms: float
    p99_ms: float


def load(port: int, request: Request, *, connections: int, seconds: int) -> Load:
    """Have each connection send its next request when its last was answered.

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
        p50_ms=counts["p50_us"] / 1000,
        p90_ms=counts["p90_us"] / 1000,
        p99_ms=counts["p99_us"] / 1000,
    )
