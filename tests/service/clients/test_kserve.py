"""KServe's Python inference client as published, pointed at this service.

The client runs in a process of its own: it and tritonclient both register the protocol's messages,
which a process can do only once.
"""

import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]

CONVERSATION = Path(__file__).with_name("kserve_conversation.py")


def test_kserves_client_gets_what_it_asks_for(client: httpx.Client) -> None:
    ran = subprocess.run(
        [sys.executable, CONVERSATION, str(client.base_url)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().endswith("all was answered")
