"""Versions that lie in an object store: `s3://`, `gs://`, `file://`, whatever fsspec reads."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from service.model.artifact import MANIFEST, Fingerprint, is_version
from service.errors import StoreError

CHANGE_MARKS = ("ETag", "etag", "generation", "LastModified", "mtime")
"""What stores say of an object that differs after it was written again."""

Objects = Mapping[str, Mapping[str, Any]]
"""Of each file of a version, by its path in the version, what the store says."""


class Store:
    """Looks at a URL and fetches what is asked for into a directory of the cache.

    A version is fetched once for each state it was seen in, next to where it will be, and renamed:
    processes may share the cache, and a file under a loaded model never changes. Nothing here is
    trusted for having been fetched: whoever loads a version holds it against its digests.
    """

    def __init__(self, url: str, cache: Path) -> None:
        """Prepare to read; nothing is asked of the store yet.

        Raises:
            StoreError: Nothing that is installed reads such a URL.
        """
        self._url = url.rstrip("/")
        try:
            self._files, self._root = fsspec.url_to_fs(self._url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"{url} cannot be read: {error}") from error
        self._cache = cache / _digest(self._url)
        self._published: dict[int, Objects] = {}

    def __str__(self) -> str:
        return self._url

    def versions(self) -> list[int]:
        try:
            self._files.invalidate_cache()
            found = self._files.find(self._root, detail=True)
        except Exception as error:  # Every store has exceptions of its own.
            raise StoreError(f"{self._url} cannot be listed: {_reason(error)}") from error
        versions: dict[int, dict[str, Mapping[str, Any]]] = {}
        for path, description in found.items():
            number, _, file = path.removeprefix(self._root).lstrip("/").partition("/")
            if is_version(number) and file:
                versions.setdefault(int(number), {})[file] = description
        # The manifest is what makes a version: one still being uploaded may have none yet.
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
            with tempfile.TemporaryDirectory(dir=state) as aside:
                fetched = Path(aside) / str(number)
                self._fetch(number, fetched)
                _move(fetched, directory)
        except Exception as error:
            raise StoreError(f"{self._url}/{number} cannot be fetched: {_reason(error)}") from error
        self._forget_other_states(number, state)
        return directory

    def _fetch(self, number: int, target: Path) -> None:
        for file in self._published[number]:
            if ".." in PurePosixPath(file).parts:
                raise ValueError(f"{file!r} leads out of the version")
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(f"{self._root}/{number}/{file}", str(target / file))

    def _forget_other_states(self, number: int, state: Path) -> None:
        """Remove what the version was before; what has it loaded keeps its open files."""
        for other in self._cache.glob(f"*/{number}"):
            if other.parent != state:
                shutil.rmtree(other.parent, ignore_errors=True)


def _move(fetched: Path, directory: Path) -> None:
    try:
        fetched.rename(directory)
    except OSError:
        if not directory.is_dir():
            raise
        # Another process was faster, with the same files.


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
