"""KServe's published Python inference client against this service.

The client runs in a separate process: it and tritonclient both register the protocol's messages,
which a process can do only once.
"""

import subprocess
import sys
from pathlib import Path

import httpx

from tests.service.conftest import serve_process, unused_port, wait_until_ready

CLIENT = Path(__file__).with_name("kserve_client.py")


def test_kserve_rest_client(client: httpx.Client) -> None:
    run_client("rest", str(client.base_url))


def test_kserve_grpc_client(free_port: int) -> None:
    grpc_port = unused_port()
    with (
        serve_process("--engine=litert", f"--grpc-port={grpc_port}", port=free_port),
        httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client,
    ):
        wait_until_ready(client)
        run_client("grpc", f"127.0.0.1:{grpc_port}")


def run_client(kind: str, address: str) -> None:
    ran = subprocess.run(
        [sys.executable, CLIENT, kind, address],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().endswith("all requests succeeded")
