"""A directory is served only if it is exactly what was published."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.artifact import FLATBUFFER, MANIFEST, open_artifact, verify
from service.errors import ArtifactError
from tests.service.conftest import ARTIFACTS


def edit_manifest(version: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = version / MANIFEST
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def append_a_byte(version: Path) -> None:
    path = version / FLATBUFFER
    path.write_bytes(path.read_bytes() + b"x")


def test_the_shipped_model_holds() -> None:
    artifact = open_artifact(ARTIFACTS)
    assert artifact.manifest.name == "fashion_mnist"
    assert artifact.directory == ARTIFACTS / str(artifact.manifest.version)
    flatbuffer = artifact.file(FLATBUFFER)
    assert flatbuffer is not None
    assert flatbuffer.is_file()


def test_the_highest_version_is_served_and_numbers_are_compared_as_numbers(
    copied_artifacts: Path,
) -> None:
    for version in (2, 10):
        shutil.copytree(copied_artifacts / "1", copied_artifacts / str(version))
        edit_manifest(copied_artifacts / str(version), partial(dict.update, version=version))
    (copied_artifacts / ".11.tmp").mkdir()
    (copied_artifacts / "012").mkdir()
    assert open_artifact(copied_artifacts).manifest.version == 10


def test_a_damaged_newer_version_is_passed_over_and_logged(
    copied_artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (copied_artifacts / "2").mkdir()
    assert open_artifact(copied_artifacts).manifest.version == 1
    assert "a newer version is passed over" in caplog.text
    assert "manifest.json is missing" in caplog.text


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda v: (v / "saved_model.pb").unlink(), "saved_model.pb is listed .* and missing"),
        (lambda v: (v / "extra.txt").touch(), "extra.txt is not listed"),
        (append_a_byte, "not the file that was published"),
        (lambda v: (v / FLATBUFFER).write_bytes(b""), "not the file that was published"),
        (lambda v: (v / "link").symlink_to("/etc/passwd"), "link is a symbolic link"),
        (lambda v: (v / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda v: (v / MANIFEST).write_text("{"), "not a manifest: the whole file"),
        (lambda v: edit_manifest(v, lambda m: m.update(format=2)), "not a manifest: format"),
        (lambda v: edit_manifest(v, lambda m: m.update(version=2)), "was it renamed"),
        (lambda v: edit_manifest(v, lambda m: m.pop("layers")), "not a manifest: layers"),
        (lambda v: edit_manifest(v, lambda m: m["input"].update(scale=0)), "input.scale"),
        (lambda v: edit_manifest(v, lambda m: m["input"].update(shape=[28, 28, 3])), "input.shape"),
        (
            lambda v: edit_manifest(v, lambda m: m["files"].update({"../x": "0" * 64})),
            "plain path relative to the model directory",
        ),
        (
            lambda v: edit_manifest(v, lambda m: m["files"].update({"/etc/passwd": "0" * 64})),
            "plain path relative to the model directory",
        ),
    ],
)
def test_a_directory_that_does_not_hold_is_refused_with_the_reason(
    copied_artifacts: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(copied_artifacts / "1")
    with pytest.raises(ArtifactError, match=reason):
        verify(copied_artifacts / "1")
    with pytest.raises(ArtifactError, match=reason):
        open_artifact(copied_artifacts)


def test_a_manifest_that_cannot_be_read_is_refused(copied_artifacts: Path) -> None:
    manifest = copied_artifacts / "1" / MANIFEST
    manifest.unlink()
    manifest.mkdir()
    with pytest.raises(ArtifactError, match="cannot be read"):
        verify(copied_artifacts / "1")


def test_no_directory_and_no_version_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no model directory at"):
        open_artifact(tmp_path / "absent")
    with pytest.raises(ArtifactError, match="no version directory"):
        open_artifact(tmp_path)
