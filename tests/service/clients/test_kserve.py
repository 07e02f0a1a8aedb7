"""KServe's Python inference client as published, pointed at this service.

The client runs in a process of its own: it and tritonclient both register the protocol's messages,
which a process can do only once.
"""

import subprocess
import sys
from pathlib import Path

import httpx

from tests.service.conftest import serve_process, unused_port, wait_until_ready

CONVERSATION = Path(__file__).with_name("kserve_conversation.py")


def test_kserves_client_gets_what_it_asks_for(client: httpx.Client) -> None:
    talk("rest", str(client.base_url))


def test_kserves_client_gets_what_it_asks_for_by_grpc(free_port: int) -> None:
    grpc_port = unused_port()
    with (
        serve_process("--engine=litert", f"--grpc-port={grpc_port}", port=free_port),
        httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client,
    ):
        wait_until_ready(client)
        talk("grpc", f"127.0.0.1:{grpc_port}")


def talk(kind: str, address: str) -> None:
    ran = subprocess.run(
        [sys.executable, CONVERSATION, kind, address],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().endswith("all was answered")
