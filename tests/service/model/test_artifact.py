"""A version directory is valid only if manifest and files agree."""

import hashlib
import os
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest

from service.errors import ArtifactError
from service.model.artifact import FLATBUFFER, MANIFEST, Artifact, verify
from tests.service.conftest import ARTIFACTS, edit_manifest


def append_a_byte(version: Path) -> None:
    path = version / FLATBUFFER
    path.write_bytes(path.read_bytes() + b"x")


def test_shipped_model_is_valid(artifact: Artifact) -> None:
    assert artifact.manifest.name == "fashion_mnist"
    assert artifact.directory == ARTIFACTS / str(artifact.manifest.version)
    flatbuffer = artifact.file(FLATBUFFER)
    assert flatbuffer is not None
    assert flatbuffer.is_file()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda v: (v / "saved_model.pb").unlink(), "saved_model.pb is listed .* but missing"),
        (lambda v: (v / "extra.txt").touch(), "extra.txt is not listed"),
        (append_a_byte, "not the file that was published"),
        (lambda v: (v / FLATBUFFER).write_bytes(b""), "not the file that was published"),
        (lambda v: (v / "link").symlink_to("/etc/passwd"), "link is a symbolic link"),
        (lambda v: os.mkfifo(v / "pipe"), "pipe is not a regular file"),
        (
            lambda v: edit_manifest(v, lambda m: m["layers"][0].update(name="dense_2")),
            "two layers have the same name",
        ),
        (
            lambda v: edit_manifest(v, lambda m: m["class_names"].__setitem__(0, "Bag")),
            "two classes have the same name",
        ),
        (
            lambda v: edit_manifest(v, lambda m: m["class_names"].append("Hat")),
            "the last layer does not have one output for each class",
        ),
        (
            lambda v: edit_manifest(v, lambda m: m["layers"][0].update(parameters=1)),
            "do not add up to the total",
        ),
        (
            lambda v: edit_manifest(v, lambda m: m["parameters"].update(trainable=1)),
            "do not add up to the total",
        ),
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
        (
            lambda v: edit_manifest(v, lambda m: m["files"].update({"assets//x": "0" * 64})),
            "plain path relative to the model directory",
        ),
        (lambda v: edit_manifest(v, lambda m: m["novelty"].update(threshold=inf)), "threshold"),
        (
            lambda v: edit_manifest(v, lambda m: m["novelty"].update(photo_threshold=inf)),
            "photo_threshold",
        ),
    ],
)
def test_invalid_directory_is_refused_with_the_reason(
    copied_artifacts: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(copied_artifacts / "1")
    with pytest.raises(ArtifactError, match=reason):
        verify(copied_artifacts / "1")


def two_classes(manifest: dict[str, Any]) -> None:
    manifest["class_names"] = ["Bag", "Boot"]
    manifest["layers"][-1]["output_shape"] = [2]


def no_parameters(manifest: dict[str, Any]) -> None:
    manifest["parameters"] = {"total": 0, "trainable": 0, "non_trainable": 0}
    for layer in manifest["layers"]:
        layer["parameters"] = 0


def frozen(manifest: dict[str, Any]) -> None:
    total = manifest["parameters"]["total"]
    manifest["parameters"].update(trainable=0, non_trainable=total)


@pytest.mark.parametrize(
    "edit",
    [two_classes, no_parameters, frozen, lambda m: m["input"].update(scale=1 / 255)],
    ids=["two classes", "no parameters", "frozen", "scale"],
)
def test_unusual_but_valid_manifest_is_accepted(
    copied_artifacts: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    edit_manifest(copied_artifacts / "1", edit)
    assert verify(copied_artifacts / "1").manifest.version == 1


def test_unreadable_manifest_is_refused(copied_artifacts: Path) -> None:
    manifest = copied_artifacts / "1" / MANIFEST
    manifest.unlink()
    manifest.mkdir()
    with pytest.raises(ArtifactError, match="cannot be read"):
        verify(copied_artifacts / "1")


def test_unreadable_file_is_refused(
    copied_artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanished(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(hashlib, "file_digest", vanished)
    with pytest.raises(ArtifactError, match="cannot be read: No such file"):
        verify(copied_artifacts / "1")
