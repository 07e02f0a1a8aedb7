"""Checks of docker-compose.yml without a Docker engine."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

COMPOSE = ROOT / "docker-compose.yml"
STACK = yaml.safe_load(COMPOSE.read_text())
SECURE = str(ROOT / "deploy/compose/secure.yml")
SERVICES: dict[str, dict[str, Any]] = STACK["services"]


def test_files_match_the_compose_schema() -> None:
    command = ["check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE), SECURE]
    subprocess.run([sys.executable, "-m", *command], check=True)


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose")
@pytest.mark.parametrize("profiles", [[], ["observability"], ["train"], ["observability", "train"]])
def test_docker_compose_accepts_each_profile(profiles: list[str]) -> None:
    options = [f"--profile={name}" for name in profiles]
    subprocess.run(["docker-compose", *options, "config", "--quiet"], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("profile", "services"),
    [
        (None, {"service", "proxy"}),
        ("observability", {"prometheus", "alertmanager", "grafana"}),
        ("train", {"fit", "evaluate", "export"}),
    ],
)
def test_profile_has_the_expected_services(profile: str | None, services: set[str]) -> None:
    profiles = [profile] if profile else None
    assert {n for n in SERVICES if SERVICES[n].get("profiles") == profiles} == services


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    container = SERVICES[name]
    assert container["read_only"]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit"} <= container.keys()
    assert container["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_mounted_path_or_volume_exists(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
        else:
            assert source in STACK["volumes"]


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose")
def test_secure_file_is_valid_and_gives_each_secret_to_one_service() -> None:
    command = ["docker-compose", f"--file={COMPOSE}", f"--file={SECURE}", "config", "--quiet"]
    subprocess.run(command, cwd=ROOT, check=True)
    secure = yaml.safe_load(Path(SECURE).read_text())
    for name, secret in secure["secrets"].items():
        assert sum(name in service["secrets"] for service in secure["services"].values()) == 1
        assert secret["file"].startswith("./deploy/compose/secrets/")


def test_service_publishes_no_port() -> None:
    assert "ports" not in SERVICES["service"]


def test_model_is_read_only_for_the_service_and_writable_for_training() -> None:
    model = "./artifacts/fashion_mnist"
    assert f"{model}:/models/fashion_mnist:ro" in SERVICES["service"]["volumes"]
    assert f"{model}:/training/artifacts/fashion_mnist" in SERVICES["export"]["volumes"]


def test_run_folder_is_named_after_the_recipe() -> None:
    # Training rejects a folder with a run of another recipe.
    environment = SERVICES["fit"]["environment"]
    recipe = Path(environment["FASHION_TRAINING_CONFIG"]).stem
    assert environment["FASHION_TRAINING_RUN_DIR"] == f"/training/runs/{recipe}"


def test_stop_grace_period_exceeds_the_drain_time() -> None:
    service = SERVICES["service"]
    drain_seconds = int(service["environment"]["FASHION_DRAIN_SECONDS"])
    assert int(service["stop_grace_period"].removesuffix("s")) > drain_seconds
