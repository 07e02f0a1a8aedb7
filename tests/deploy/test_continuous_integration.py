"""What GitHub reads."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("schema", "file"),
    [("github-workflows", "workflows/ci.yml"), ("dependabot", "dependabot.yml")],
)
def test_it_follows_the_published_schema(schema: str, file: str) -> None:
    command = ["check_jsonschema", "--builtin-schema", f"vendor.{schema}", f".github/{file}"]
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)
