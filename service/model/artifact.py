"""Verifies and describes a model directory: a SavedModel with a manifest in `assets.extra`."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, PositiveInt, ValidationError, WithJsonSchema, model_validator

from ..errors import ArtifactError, require

# TensorFlow Serving's directory for files that belong to a model but not to the SavedModel.
EXTRAS = PurePosixPath("assets.extra")
MANIFEST = EXTRAS / "manifest.json"
SIGNATURE = EXTRAS / "model.sig"  # Written after the manifest, which does not list it.
FLATBUFFER = EXTRAS / "model.tflite"
INT8_FLATBUFFER = EXTRAS / "model.int8.tflite"

_TRAINING = "python -m training" if __package__ == "service.model" else "fashion-mnist-training"
HINT = f"`{_TRAINING} publish MODEL` makes one of a Keras model or a SavedModel"

# Suffixes of the model's name: under these it takes image files, or outputs every layer.
PICTURES, LAYERS = "_pictures", "_layers"


class InputSpec(BaseModel, frozen=True):
    """The one input tensor: pixels in [0, 255] divided by `scale`."""

    name: str
    shape: Annotated[
        tuple[PositiveInt, PositiveInt, Literal[1]],
        WithJsonSchema({"type": "array", "items": {"type": "integer"}}),
    ]
    dtype: Literal["float32"]
    scale: float = Field(gt=0)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.shape[0], self.shape[1]


class Layer(BaseModel, frozen=True):
    """One layer of the network; `output_shape` is without the batch dimension."""

    name: str
    type: str
    configuration: dict[str, Any]
    output_shape: tuple[PositiveInt, ...]
    parameters: int = Field(ge=0)
    inputs: tuple[str, ...] = ()  # Names of the layers that feed it; empty for the first.


class Novelty(BaseModel, frozen=True):
    """How the model detects images unlike its training data."""

    score: str  # Name of the method.
    layer: str  # Input of the method.
    threshold: float = Field(allow_inf_nan=False)  # The highest score in distribution.
    photo_threshold: float | None = Field(None, allow_inf_nan=False)  # For prepared photographs.


class Parameters(BaseModel, frozen=True):
    """Parameter counts of the network."""

    total: int = Field(ge=0)
    trainable: int = Field(ge=0)
    non_trainable: int = Field(ge=0)


class Manifest(BaseModel, frozen=True):
    """The description of a model; written by the training program."""

    format: Literal[1]
    name: str = Field(min_length=1)
    version: PositiveInt
    created: str
    class_names: tuple[str, ...] = Field(min_length=2)
    input: InputSpec
    layers: tuple[Layer, ...] = Field(min_length=1)
    parameters: Parameters
    summary: str
    novelty: Novelty | None = None
    scores: dict[str, Any]
    files: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]  # SHA-256 by path.

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if len({layer.name for layer in self.layers}) < len(self.layers):
            raise ValueError("two layers have the same name")
        if len(set(self.class_names)) < len(self.class_names):
            raise ValueError("two classes have the same name")
        if self.layers[-1].output_shape != (len(self.class_names),):
            raise ValueError("the last layer does not have one output for each class")
        total = sum(layer.parameters for layer in self.layers)
        parts = self.parameters.trainable + self.parameters.non_trainable
        if not total == parts == self.parameters.total:
            raise ValueError("the parameters of the layers do not add up to the total")
        for file in self.files:
            path = PurePosixPath(file)
            if path.is_absolute() or ".." in path.parts or str(path) != file:
                raise ValueError(f"{file} is not a plain path relative to the model directory")
        return self


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified model directory."""

    directory: Path
    manifest: Manifest

    def file(self, path: PurePosixPath) -> Path | None:
        """Return the location of a file, or None if the model does not have it."""
        return self.directory / path if str(path) in self.manifest.files else None


def verify(directory: Path) -> Artifact:
    """Check every file of a version against its manifest; raise ArtifactError on a difference."""
    manifest = _read_manifest(directory)
    if str(manifest.version) != directory.name:
        found = f"a manifest of version {manifest.version}"
        raise ArtifactError(f"{directory} holds {found}: was it renamed?")
    listed, present = manifest.files, _hash_files(directory)
    for path in sorted(listed.keys() | present.keys()):
        if path not in present:
            raise ArtifactError(f"{directory / path} is listed in the manifest but missing")
        if path not in listed:
            raise ArtifactError(f"{directory / path} is not listed in the manifest")
        if present[path] != listed[path]:
            raise ArtifactError(
                f"{directory / path} is not the file that was published: "
                f"sha256 {present[path]}, the manifest says {listed[path]}"
            )
    return Artifact(directory, manifest)


def verify_signature(directory: Path, public_key: Path) -> None:
    """Raise ArtifactError unless model_signing verifies every file with this elliptic-curve key.

    Anyone who can write the files can write their digests too; only the key's owner can sign.
    """
    require("model_public_key", "model-signing", "extra `signing`", "model_signing")
    from model_signing.verifying import Config  # noqa: PLC0415 (an optional requirement)

    signature = directory / SIGNATURE
    if not signature.is_file() or signature.is_symlink():
        raise ArtifactError(f"{signature} is missing: the model is not signed")
    # model_signing does not wrap the errors of its dependencies (files, PEM, JSON).
    try:
        verifier = Config().use_elliptic_key_verifier(public_key=public_key)
    except Exception as error:
        raise ArtifactError(f"{public_key} is not a usable public key: {error}") from error
    try:
        verifier.verify(directory, signature)
    except Exception as error:
        reason = " ".join(str(error).split()) or "it was not made with this key"
        raise ArtifactError(f"{signature} is not valid: {reason}") from error


def _read_manifest(directory: Path) -> Manifest:
    path = directory / MANIFEST
    if not path.exists():
        raise ArtifactError(f"{path} is missing: not a published model; {HINT}")
    try:
        with reading(path):
            return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ArtifactError(f"{path} is not a manifest: {where}: {first['msg']}") from error


def _hash_files(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of each file by path, except the manifest and the signature."""
    digests = {}
    for path in directory.rglob("*"):
        if path.is_symlink():
            raise ArtifactError(f"{path} is a symbolic link; a published model has none")
        if not path.is_file() and not path.is_dir():  # Opening a named pipe would block.
            raise ArtifactError(f"{path} is not a regular file; a published model has only those")
        if path.is_dir() or path in (directory / MANIFEST, directory / SIGNATURE):
            continue
        with reading(path), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        digests[path.relative_to(directory).as_posix()] = digest
    return digests


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise ArtifactError for an OSError of the block."""
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
