"""Sources of model versions: a directory, or an object store read by fsspec (`s3://`, `gs://`)."""

import contextlib
import hashlib
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import ArtifactError, StoreError, require
from .artifact import HINT, MANIFEST, reading

# Object metadata that changes on every write, as the different stores spell it.
CHANGE_MARKS = ("ETag", "etag", "generation", "LastModified", "mtime")

Fingerprint = frozenset[tuple[object, ...]]  # The path of each file, with such metadata.


@dataclass(frozen=True)
class Directory:
    """Versions in a local directory."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def versions(self) -> list[int]:
        """Return the published versions, the highest first, or raise ArtifactError."""
        if not self.root.is_dir():
            raise ArtifactError(f"no model directory at {self.root}; {HINT}")
        with reading(self.root):
            names = [path.name for path in self.root.iterdir() if path.is_dir()]
        return sorted((int(name) for name in names if _is_version(name)), reverse=True)

    def fingerprint(self, number: int) -> Fingerprint:
        """Return a value that changes with any file of the version; reads metadata only."""
        entries = set()
        for path in self.directory(number).rglob("*"):
            with contextlib.suppress(OSError):  # Removed meanwhile.
                stat = path.lstat()
                entries.add((str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_mode))
        return frozenset(entries)

    def directory(self, number: int) -> Path:
        """Return the local directory of a version, fetched if needed, or raise StoreError."""
        return self.root / str(number)


class Store:
    """Versions in an object store, fetched into a cache that processes may share.

    Each state of a version is fetched once, into a temporary directory that is then renamed, so
    the files of a loaded model never change. Loading a version verifies the fetched files.
    """

    def __init__(self, url: str, cache: Path) -> None:
        import fsspec  # noqa: PLC0415 (an optional requirement)

        self._url = url.rstrip("/")
        try:
            self._files, self._root = fsspec.url_to_fs(self._url)
        except (ImportError, ValueError, OSError) as error:
            raise StoreError(f"{url} cannot be read: {error}") from error
        self._cache = cache / _digest(self._url)
        self._published: dict[int, dict[str, Any]] = {}  # Metadata by version and file.

    def __str__(self) -> str:
        return self._url

    def versions(self) -> list[int]:
        try:
            self._files.invalidate_cache()
            found = self._files.find(self._root, detail=True)
        except Exception as error:  # Each store has its own exceptions.
            raise StoreError(f"{self._url} cannot be listed: {_reason(error)}") from error
        versions: dict[int, dict[str, Any]] = defaultdict(dict)
        for path, description in found.items():
            number, _, file = path.removeprefix(self._root).lstrip("/").partition("/")
            if _is_version(number) and file:
                versions[int(number)][file] = description
        # Without a manifest, a version is still being uploaded.
        self._published = {n: files for n, files in versions.items() if str(MANIFEST) in files}
        return sorted(self._published, reverse=True)

    def fingerprint(self, number: int) -> Fingerprint:
        return frozenset(
            (file, description["size"], *(str(description.get(mark)) for mark in CHANGE_MARKS))
            for file, description in self._published[number].items()
        )

    def directory(self, number: int) -> Path:
        state = self._cache / _digest(repr(sorted(self.fingerprint(number))))
        directory = state / str(number)
        if directory.is_dir():
            return directory
        try:
            state.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=state) as temporary:
                fetched = Path(temporary) / str(number)
                self._fetch(number, fetched)
                try:
                    fetched.rename(directory)
                except OSError:
                    if not directory.is_dir():  # Else another process fetched the same files.
                        raise
        except Exception as error:
            raise StoreError(f"{self._url}/{number} cannot be fetched: {_reason(error)}") from error
        for other in self._cache.glob(f"*/{number}"):  # Loaded models no longer read their files.
            if other.parent != state:
                shutil.rmtree(other.parent, ignore_errors=True)
        return directory

    def _fetch(self, number: int, target: Path) -> None:
        for file in self._published[number]:
            if ".." in PurePosixPath(file).parts:
                raise ValueError(f"{file!r} is outside the version")
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(f"{self._root}/{number}/{file}", str(target / file))


Source = Directory | Store
"""Both have the same methods and are not thread-safe."""


def open_source(location: Path | str, cache: Path) -> Source:
    """Return the source at a path or URL; raises ArtifactError if no package reads the URL."""
    if isinstance(location, Path):
        return Directory(location)
    require(str(location), "fsspec", "extras `s3`, `gcs`", "fsspec")
    return Store(location, cache)


def _is_version(name: str) -> bool:
    """Return whether a directory name is a positive integer, unlike "01" and "٣"."""
    return name.isascii() and name.isdecimal() and not name.startswith("0")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
