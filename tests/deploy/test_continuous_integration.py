"""What GitHub reads."""

import re
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


def test_it_runs_what_the_projects_own_ci_runs() -> None:
    own = re.findall(r"^make \S+", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    github = re.findall(r"run: (make \S+)", (ROOT / ".github/workflows/ci.yml").read_text())
    assert own
    assert github == [*own, "make audit"]  # The advisories are on a network that not all can reach.


def test_what_it_makes_can_be_made() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    made = re.findall(r"make ([\w-]+)", (ROOT / ".github/workflows/ci.yml").read_text())
    assert set(made) <= set(targets)
