"""docker-compose.yml, as far as it can be held without an engine."""

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


def test_it_follows_the_published_schema() -> None:
    command = ["check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE), SECURE]
    subprocess.run([sys.executable, "-m", *command], check=True)


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose")
@pytest.mark.parametrize("profiles", [[], ["observability"], ["train"], ["observability", "train"]])
def test_compose_itself_reads_it_with_each_profile(profiles: list[str]) -> None:
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
def test_a_profile_is_what_its_name_says(profile: str | None, services: set[str]) -> None:
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
def test_every_mounted_file_is_in_the_checkout(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
        else:
            assert source in STACK["volumes"]


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose")
def test_keys_and_tls_are_one_more_file() -> None:
    command = ["docker-compose", f"--file={COMPOSE}", f"--file={SECURE}", "config", "--quiet"]
    subprocess.run(command, cwd=ROOT, check=True)
    secure = yaml.safe_load(Path(SECURE).read_text())
    for name, secret in secure["secrets"].items():
        assert sum(name in service["secrets"] for service in secure["services"].values()) == 1
        assert secret["file"].startswith("./deploy/compose/secrets/")


def test_replicas_do_not_fight_for_a_port() -> None:
    assert "ports" not in SERVICES["service"]


def test_the_service_cannot_change_the_model_and_training_can() -> None:
    model = "./artifacts/fashion_mnist"
    assert f"{model}:/models/fashion_mnist:ro" in SERVICES["service"]["volumes"]
    assert f"{model}:/training/artifacts/fashion_mnist" in SERVICES["export"]["volumes"]


def test_each_recipe_is_trained_in_a_folder_of_its_own() -> None:
    # A folder that holds a run of another recipe is refused.
    environment = SERVICES["fit"]["environment"]
    recipe = Path(environment["FASHION_TRAINING_CONFIG"]).stem
    assert environment["FASHION_TRAINING_RUN_DIR"] == f"/training/runs/{recipe}"


def test_accepted_requests_have_time_to_finish() -> None:
    service = SERVICES["service"]
    drain_seconds = int(service["environment"]["FASHION_DRAIN_SECONDS"])
    assert int(service["stop_grace_period"].removesuffix("s")) > drain_seconds
