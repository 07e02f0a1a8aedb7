"""The oldest uvicorn that pyproject.toml allows passes the tests of connections."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import uvicorn

from tests.conftest import ROOT

FILES = ("test_protocol.py", "test_shedding.py")
BOUNDS = re.compile(r"uvicorn>=([0-9.]+),<([0-9.]+)")


def bounds() -> tuple[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [found] = filter(None, map(BOUNDS.fullmatch, project["dependencies"]))
    return found[1], found[2]


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, with 0 for a missing patch level."""
    parts = list(map(int, version.split(".")))
    return (*parts, *[0] * (3 - len(parts)))


def test_installed_uvicorn_is_within_the_bounds() -> None:
    oldest, bound = bounds()
    assert numbers(oldest) <= numbers(uvicorn.__version__) < numbers(bound)


@pytest.mark.thorough
def test_oldest_allowed_uvicorn_passes_the_connection_tests(tmp_path: Path) -> None:
    oldest, _ = bounds()
    install = ("install", "--quiet", "--no-deps", "--disable-pip-version-check")
    subprocess.run(
        [sys.executable, "-m", "pip", *install, f"--target={tmp_path}", f"uvicorn=={oldest}"],
        check=True,
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    shown = subprocess.run(
        [sys.executable, "-c", "import uvicorn; print(uvicorn.__version__, uvicorn.__file__)"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert numbers(shown[0]) == numbers(oldest)
    assert Path(shown[1]).is_relative_to(tmp_path)
    files = [str(Path(__file__).parent / name) for name in FILES]
    options = ("-p", "no:cacheprovider", "--no-cov", "-q")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-5000:]
    assert " passed" in ended.stdout
