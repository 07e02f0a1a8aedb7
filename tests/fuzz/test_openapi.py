"""Schemathesis finds no response that violates the OpenAPI document."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from service.keys import Scope, make_key
from service.settings import Settings
from tests.service.conftest import ARTIFACTS, serve

HERE = Path(__file__).parent
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))
SECONDS = 600


def run_schemathesis(client: httpx.Client, folder: Path, *options: str) -> None:
    """Run Schemathesis with all its checks; fail with its output."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli"),
        *("--config-file", str(HERE / "schemathesis.toml")),
        *("run", f"{client.base_url}/openapi.json", "--continue-on-failure"),
        *("--generation-deterministic", "--warnings=off"),
        *(f"--max-examples={EXAMPLES}", "--request-timeout=30", "--no-color"),
        *options,
    ]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
        "PYTHONPATH": str(HERE),
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("scopes", "options"),
    [
        # Its key may not unload the model, which the other requests need.
        (["predict", "observe"], []),
        (["predict", "administer"], ["--include-path-regex=^/v2/repository/"]),
    ],
    ids=["use", "administration"],
)
def test_responses_conform_to_the_openapi_document(
    tmp_path: Path, scopes: list[Scope], options: list[str]
) -> None:
    secret, key = make_key("fuzz", scopes)
    with serve(Settings(artifacts=ARTIFACTS, api_keys=key.line())) as client:
        run_schemathesis(client, tmp_path, f"--header=Authorization: Bearer {secret}", *options)
