"""Finds, verifies and describes a model directory: a SavedModel with the manifest beside it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from service.errors import ArtifactError

EXTRAS = PurePosixPath("assets.extra")
"""TF Serving's place for the files that belong to a model and are not the SavedModel's own."""

MANIFEST = EXTRAS / "manifest.json"
SIGNATURE = EXTRAS / "model.sig"
"""Written when all else is there, so that no manifest lists it; `service.model.signature` checks it."""

FLATBUFFER = EXTRAS / "model.tflite"
INT8_FLATBUFFER = EXTRAS / "model.int8.tflite"

LayerShape = tuple[PositiveInt, ...]

Fingerprint = frozenset[tuple[str | int, ...]]
"""Of each file: its path, and what differs after it was written again."""


def _inside_the_directory(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or str(pure) != path:
        raise ValueError("must be a plain path relative to the model directory")
    return path


class _ManifestPart(BaseModel):
    model_config = ConfigDict(frozen=True)


class InputSpec(_ManifestPart):
    """The one input tensor: pixels in [0, `scale`] divided by `scale`."""

    name: str
    shape: tuple[PositiveInt, PositiveInt, Literal[1]]
    dtype: Literal["float32"]
    scale: float = Field(gt=0)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.shape[0], self.shape[1]


class Layer(_ManifestPart):
    """One layer of the network; `output_shape` is without the batch dimension."""

    name: str
    type: str
    configuration: dict[str, Any]
    output_shape: LayerShape
    parameters: int = Field(ge=0)

    @property
    def gives_maps(self) -> bool:
        """Whether the output is a stack of images: (height, width, channels)."""
        return len(self.output_shape) == 3


class Novelty(_ManifestPart):
    """How the model tells that a picture is like nothing it was trained on."""

    score: str
    """What it computes, in the words of the field."""
    layer: str
    """Whose output it computes it from."""
    threshold: FiniteFloat
    """Highest score of a picture that is taken for known."""


class Parameters(_ManifestPart):
    """How many numbers the network learned."""

    total: int = Field(ge=0)
    trainable: int = Field(ge=0)
    non_trainable: int = Field(ge=0)


class Manifest(_ManifestPart):
    """What the service needs to know of a model, as the training program wrote it down."""

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
    files: dict[
        Annotated[str, AfterValidator(_inside_the_directory)],
        Annotated[str, Field(pattern="^[0-9a-f]{64}$")],
    ]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        layers = [layer.name for layer in self.layers]
        if len(set(layers)) < len(layers):
            raise ValueError("two layers have the same name")
        if len(set(self.class_names)) < len(self.class_names):
            raise ValueError("two classes have the same name")
        if self.layers[-1].output_shape != (len(self.class_names),):
            raise ValueError("the last layer does not give one number for each class")
        total = sum(layer.parameters for layer in self.layers)
        learned = self.parameters.trainable + self.parameters.non_trainable
        if not total == learned == self.parameters.total:
            raise ValueError("the parameters of the layers do not add up to the total")
        return self


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified model directory."""

    directory: Path
    manifest: Manifest

    def file(self, path: PurePosixPath) -> Path | None:
        """Return where a file of the artifact is, or None if the model came without it."""
        return self.directory / path if str(path) in self.manifest.files else None


def published_versions(root: Path) -> list[int]:
    """Return the version numbers that have a directory below `root`, the highest first.

    Raises:
        ArtifactError: `root` is no directory, or cannot be read.
    """
    if not root.is_dir():
        raise ArtifactError(f"no model directory at {root}")
    try:
        names = [path.name for path in root.iterdir() if path.is_dir()]
    except OSError as error:
        raise ArtifactError(f"{root} cannot be read: {error.strerror}") from error
    return sorted((int(name) for name in names if is_version(name)), reverse=True)


def fingerprint_of(directory: Path) -> Fingerprint:
    """Return what tells, without reading the files, whether a directory is as it was."""
    entries: set[tuple[str | int, ...]] = set()
    for path in directory.rglob("*"):
        try:
            stat = path.lstat()
        except OSError:
            continue  # Removed meanwhile, which the next look will see.
        entries.add((str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return frozenset(entries)


def verify(directory: Path) -> Artifact:
    """Read the manifest of one version and hold every file against its digest.

    Raises:
        ArtifactError: A file is missing, extra, altered or no regular file, or the manifest is
            none or contradicts itself.
    """
    manifest = _read_manifest(directory)
    if str(manifest.version) != directory.name:
        raise ArtifactError(
            f"{directory} holds a manifest of version {manifest.version}: was it renamed?"
        )
    present = _files_in(directory) - {str(MANIFEST), str(SIGNATURE)}
    listed = set(manifest.files)
    if missing := sorted(listed - present):
        raise ArtifactError(f"{directory / missing[0]} is listed in the manifest and missing")
    if extra := sorted(present - listed):
        raise ArtifactError(f"{directory / extra[0]} is not listed in the manifest")
    for path, digest in manifest.files.items():
        try:
            with (directory / path).open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ArtifactError(f"{directory / path} cannot be read: {error.strerror}") from error
        if actual != digest:
            raise ArtifactError(
                f"{directory / path} is not the file that was published: sha256 {actual}, "
                f"the manifest says {digest}"
            )
    return Artifact(directory, manifest)


def is_version(name: str) -> bool:
    """Whether a directory of this name is a version: a positive integer as it is written."""
    # isdecimal alone would let "01" and "٣" name the same version as "1" and "3".
    return name.isascii() and name.isdecimal() and not name.startswith("0")


def _read_manifest(directory: Path) -> Manifest:
    path = directory / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing: not a published model") from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ArtifactError(f"{path} is not a manifest: {where}: {first['msg']}") from error


def _files_in(directory: Path) -> set[str]:
    files = set()
    for path in directory.rglob("*"):
        if path.is_symlink():
            raise ArtifactError(f"{path} is a symbolic link; a published model has none")
        if not path.is_dir():
            if not path.is_file():  # To open a named pipe would be to wait for its writer.
                raise ArtifactError(f"{path} is no regular file; a published model has no other")
            files.add(path.relative_to(directory).as_posix())
    return files
