"""Triton's `perf_analyzer` as published, over HTTP, gRPC, and as a client of TensorFlow Serving.

The wheel `tritonclient` 2.48 is the last one that has it in it, for Linux on x86-64; it needs the
libraries of `libb64-0d` (Debian) and `nvidia-cuda-runtime-cu12` (PyPI) as well.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.service.conftest import serve_process, unused_port, wait_until_ready

PROGRAM = shutil.which("perf_analyzer")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="perf_analyzer is not installed")


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    port, grpc_port = unused_port(), unused_port()
    # Nobody reads its log meanwhile.
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
def test_it_measures(ports: tuple[int, int], is_grpc: bool, options: list[str]) -> None:
    assert PROGRAM is not None
    ran = subprocess.run(
        [
            *(PROGRAM, "-m", "fashion_mnist", "-u", f"127.0.0.1:{ports[is_grpc]}", *options),
            *(
                "--measurement-interval",
                "400",
                "--max-trials",
                "3",
                "--stability-percentage",
                "999",
            ),
        ],
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
