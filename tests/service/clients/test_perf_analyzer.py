"""Triton's published `perf_analyzer` over HTTP, gRPC, and as a client of TensorFlow Serving.

`make perf-analyzer` installs the last wheel of `tritonclient` that includes it, for Linux on
x86-64, and the CUDA library that it needs. The system must have `libb64-0d` (Debian).
"""

import os
import re
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import ROOT
from tests.service.conftest import serve_process, unused_port, wait_until_ready

INSTALLED = ROOT / ".venv-perf-analyzer"
LIBRARIES = map(str, INSTALLED.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib"))
ENVIRONMENT = os.environ | {"LD_LIBRARY_PATH": ":".join(LIBRARIES)}

pytestmark = pytest.mark.skipif(
    not INSTALLED.exists(), reason="perf_analyzer is not installed: make perf-analyzer"
)


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    port, grpc_port = unused_port(), unused_port()
    # Its log is not read.
    arguments = (f"--grpc-port={grpc_port}", "--engine=litert", "--log-level=warning")
    with (
        serve_process(*arguments, port=port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        wait_until_ready(client)
        yield port, grpc_port


@pytest.mark.parametrize(
    ("is_grpc", "options"),
    [
        (False, []),
        (False, ["-b", "4", "--input-tensor-format", "json"]),
        (True, ["-i", "grpc", "-b", "4"]),
        (True, ["-i", "grpc", "--streaming", "--async"]),
        (True, ["-i", "grpc", "--service-kind", "tfserving", "-b", "4"]),
    ],
    ids=["http", "http-json", "grpc", "grpc-stream", "tfserving"],
)
def test_perf_analyzer_completes_requests(
    ports: tuple[int, int], is_grpc: bool, options: list[str]
) -> None:
    ran = subprocess.run(
        [
            INSTALLED / "bin/perf_analyzer",
            *("-m", "fashion_mnist", "-u", f"127.0.0.1:{ports[is_grpc]}", *options),
            *("--measurement-interval", "400", "--max-trials", "3"),
            *("--stability-percentage", "999"),
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    counted = re.search(r"Request count: (\d+)", ran.stdout)
    assert counted is not None
    assert int(counted[1]) > 0
    if "tfserving" not in options:
        inferences = re.search(r"Inference count: (\d+)", ran.stdout)
        assert inferences is not None
        assert int(inferences[1]) > 0
