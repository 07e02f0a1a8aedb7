"""Modules that a worker imports at startup: counted, because time depends on the machine."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

MAX_MODULES = 490
"""Without the standard library, whose modules differ between versions of Python."""

NEEDED = {
    *("ai_edge_litert", "flatbuffers"),  # the engine
    *("numpy", "PIL", "orjson", "simdjson", "csimdjson"),
    *(
        "fastapi",
        "starlette",
        "anyio",
        "idna",
        "multipart",
        "annotated_doc",
        "opentelemetry",
    ),
    *("pydantic", "pydantic_core", "pydantic_settings", "annotated_types", "dotenv"),
    *("typing_extensions", "typing_inspection"),
    *("uvicorn", "click", "httptools", "uvloop", "h11"),
    "prometheus_client",
    "shtab",  # the command line
}
"""What `make serve` installs. OpenTelemetry's interface is a requirement of FastAPI."""

NOT_COUNTED = {
    "cython_runtime",  # no module of its own
    *("email_validator", "dns", "python_multipart", "watchfiles", "yaml", "websockets", "wsproto"),
}
"""Packages that FastAPI and uvicorn look for, or that only the tests install."""

STARTUP_CODE = """
import json, sys
import service.__main__
from service.app import create_app
app = create_app()
app.state.repository.open()
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def modules() -> list[str]:
    """Names of the loaded modules, without the standard library, once the model is loaded."""
    # With its variables set, coverage would start in the process and its modules be counted.
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("COV")}
    ran = subprocess.run(
        [sys.executable, "-c", STARTUP_CODE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    names = json.loads(ran.stdout)
    standard = sys.stdlib_module_names
    assert "service.model.engines.litert" in names
    return [name for name in names if name.split(".")[0] not in standard]


def test_only_packages_that_serving_needs_are_imported(modules: list[str]) -> None:
    packages = {name.split(".")[0] for name in modules if not name.startswith("_")}
    assert packages - {"service"} <= NEEDED | NOT_COUNTED


def test_number_of_imported_modules_is_within_the_limit(modules: list[str]) -> None:
    counted = [name for name in modules if name.split(".")[0] not in NOT_COUNTED]
    assert len(counted) <= MAX_MODULES, len(counted)


def test_rarely_used_modules_are_not_imported_at_startup(modules: list[str]) -> None:
    assert not {
        "service.model.engines.tensorflow",
        "service.model.engines.flatbuffer",
        "service.protocols.grpc.server",
        "opentelemetry.sdk",
        "PIL.ImageFont",
    } & set(modules)
