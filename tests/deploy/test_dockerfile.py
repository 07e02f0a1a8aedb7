"""Checks of the Dockerfile without a build; deploy/proof/image.py builds it."""

import re

import yaml

import service
from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
LABELS = dict(re.findall(r'org\.opencontainers\.image\.(\S+)="(.*)"', DOCKERFILE))
[BASE] = re.findall(r"FROM (\S+) AS base\n", DOCKERFILE)


def test_base_image_is_named_by_its_full_version() -> None:
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", BASE)
    assert LABELS["base.name"] == f"docker.io/library/{BASE}"


def test_image_and_kustomizations_have_the_version_of_the_service() -> None:
    assert LABELS["version"] == service.__version__
    for file in (ROOT / "deploy/kubernetes").glob("*/kustomization.yaml"):
        for image in yaml.safe_load(file.read_text()).get("images", []):
            # The image of a release has the name of the git tag.
            assert image["newTag"] == f"v{service.__version__}"


def test_every_pip_install_requires_hashes() -> None:
    lines = re.split(r"\n|&&", DOCKERFILE.replace("\\\n", " "))
    installs = [
        re.sub(r"[\[\]\",]", " ", line) for line in lines if re.search(r"pip\b.*install", line)
    ]
    assert len(installs) == 5
    for command in installs:
        assert "--require-hashes" in command or re.search(r"--no-deps +/wheels/", command)
    for lock in re.findall(r"requirements/([\w-]+)\.txt", DOCKERFILE):
        assert (ROOT / f"requirements/{lock}.txt").exists()


def test_service_stage_runs_without_a_shell() -> None:
    stage = DOCKERFILE.partition(" AS service\n")[2]
    assert "RUN" not in stage
    for instruction in ("ENTRYPOINT", "CMD"):
        assert re.search(rf'{instruction} \["/opt/fashion-mnist/bin/', stage)
