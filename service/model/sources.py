"""Where the versions of the model come from: a directory, or a store somewhere else."""

import importlib.util
from pathlib import Path
from typing import Protocol

from service.model.artifact import Fingerprint, fingerprint_of, published_versions
from service.errors import ArtifactError


class Source(Protocol):
    """The published versions. Its methods are called by one thread at a time.

    As a string, it is what the operator called it.
    """

    def versions(self) -> list[int]:
        """Return the numbers of the versions, the highest first.

        Raises:
            ArtifactError: They cannot be listed.
        """
        ...

    def fingerprint(self, number: int) -> Fingerprint:
        """Return what tells, without reading a version, whether it is as it was."""
        ...

    def directory(self, number: int) -> Path:
        """Return where a version lies on this machine, after fetching it if need be.

        Raises:
            StoreError: It cannot be fetched; another try may fare better.
        """
        ...


class Directory:
    """Versions that lie on this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def versions(self) -> list[int]:
        return published_versions(self._root)

    def fingerprint(self, number: int) -> Fingerprint:
        return fingerprint_of(self.directory(number))

    def directory(self, number: int) -> Path:
        return self._root / str(number)


def open_source(location: Path | str, cache: Path) -> Source:
    """Return the source at a path or URL; only a store keeps something in `cache`.

    Raises:
        ArtifactError: What reads such a URL is not installed.
    """
    if isinstance(location, Path):
        return Directory(location)
    if importlib.util.find_spec("fsspec") is None:
        raise ArtifactError(
            f"{location} needs fsspec, which is not installed: it comes with the extras `s3`, `gcs`"
        )
    from service.model.store import Store  # noqa: PLC0415 (fsspec is imported only if it is used)

    return Store(location, cache)
