"""Workflows and other files that GitHub reads."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import service
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", [".github/workflows/ci.yml", ".github/workflows/release.yml"]),
        ("dependabot", [".github/dependabot.yml"]),
        (
            "github-issue-forms",
            [".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/feature.yml"],
        ),
        ("github-issue-config", [".github/ISSUE_TEMPLATE/config.yml"]),
        ("citation-file-format", ["CITATION.cff"]),
    ],
)
def test_files_match_their_published_schema(schema: str, files: list[str]) -> None:
    command = ["check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files]
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)


def test_release_version_matches_tag_package_changelog_and_citation(tmp_path: Path) -> None:
    """Run the checks of the release workflow for the current version."""
    steps = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]["wheel"]
    checks = [step["run"] for step in steps["steps"] if "name" in step]
    assert len(checks) == 2
    for name in ("CHANGELOG.md", "service/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    for tag, passes in ((f"v{service.__version__}", True), ("v0.0.1", False)):
        ran = [
            subprocess.run(
                ["bash", "-e", "-c", check],
                cwd=tmp_path,
                env={**os.environ, "GITHUB_REF_NAME": tag},
                check=False,
            ).returncode
            for check in checks
        ]
        assert (ran == [0, 0]) == passes, tag
    assert f"version: {service.__version__}" in (ROOT / "CITATION.cff").read_text()


def test_workflow_runs_the_targets_of_the_ci_script() -> None:
    own = re.findall(r"^make \S+", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    github = re.findall(r"run: (make \S+)", (ROOT / ".github/workflows/ci.yml").read_text())
    assert own
    assert github == [*own, "make audit"]  # The audit needs the network.


def test_every_make_target_of_the_workflow_exists() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    made = re.findall(r"make ([\w-]+)", (ROOT / ".github/workflows/ci.yml").read_text())
    assert set(made) <= set(targets)
