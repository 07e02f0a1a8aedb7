"""The load: wrk, which costs the cores it shares with the servers less than anything in Python."""

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
    """What came of a stretch of load.

    Attributes:
        requests: Answers in all.
        rate: Answers a second.
        percentiles_ms: By percent, the time that so many of a hundred answers stayed within.
    """

    requests: int
    rate: float
    percentiles_ms: Mapping[float, float]


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
        percentiles_ms={percent: us / 1000 for percent, us in counts["percentiles_us"]},
    )
