"""Loads the versions in every worker, at the start and on command."""

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

from ..errors import ArtifactError, DeadlineExceeded, InvalidInference, RequestError
from ..settings import Settings
from .repository import Repository

FOLLOW_SECONDS = 0.2  # Poll interval for commands; a poll takes microseconds.

logger = logging.getLogger(__name__)


class Workers:
    """Sends commands to all workers, later ones included, and follows theirs. The methods block."""

    def __init__(self, repository: Repository, directory: Path | None, seconds: float) -> None:
        self._repository, self._seconds = repository, seconds  # The limit of `load` and `unload`.
        self._file = directory and directory / "command"
        self._last_command, self._supervisor = "", multiprocessing.parent_process()

    def load(self, name: str, parameters: Collection[str]) -> None:
        """Load the model; raises InvalidInference if no version can be loaded, and as `unload`."""
        try:
            self._repository.check_name(name)
            if any(key == "config" or "file:" in key for key in parameters):
                raise InvalidInference("config and files cannot be replaced by a request")
            self.send("load", self._seconds)
        except ArtifactError as error:
            # The error has paths of this machine, which clients must not see.
            reason = f"failed to load {name!r}: the repository index has the reason"
            raise InvalidInference(reason) from error
        except RequestError as error:
            raise error.at(f"failed to load {name!r}") from error

    def unload(self, name: str) -> None:
        """Unload the model; raises UnknownModel, or DeadlineExceeded if a worker is too slow."""
        self._repository.check_name(name)
        self.send("unload", self._seconds)

    def send(self, name: Literal["load", "unload"], seconds: float) -> None:
        """Have every worker load the published versions, or unload all."""
        if self._file is not None:
            command = f"{name} {uuid.uuid4()}"  # Repeated commands must differ.
            complete = self._file.with_name(command)
            complete.write_text(command)
            complete.replace(self._file)
        self._execute(name)
        deadline = time.monotonic() + seconds
        while any(
            versions != set(self._repository.serving)
            for versions in self._repository.metrics.versions_of_workers()
        ):
            if time.monotonic() > deadline:
                raise DeadlineExceeded("not every worker has finished in time")
            time.sleep(FOLLOW_SECONDS / 4)

    def follow(self) -> None:
        """Follow the last command, once, and end if the supervisor was killed."""
        if self._supervisor is not None and not self._supervisor.is_alive():
            self._supervisor = None  # A second signal would end the drain's notice period.
            os.kill(os.getpid(), signal.SIGTERM)
        if self._file is None or not self._file.exists():
            return
        command = self._file.read_text()
        if command != self._last_command:
            self._last_command = command
            with contextlib.suppress(ArtifactError):  # The repository has logged it.
                self._execute(command.partition(" ")[0])

    def _execute(self, name: str) -> None:
        if name == "unload":
            self._repository.unload()
        else:
            self._repository.open()


async def serve_versions(
    repository: Repository, workers: Workers, settings: Settings, loaded: asyncio.Event
) -> None:
    """Load the versions, or raise ArtifactError; set `loaded`; then refresh and follow forever."""
    await asyncio.to_thread(repository.open)
    # All objects so far are permanent. Collecting them again took a third of the time under load.
    gc.collect()
    gc.freeze()
    manifest = repository.classifier().manifest
    await asyncio.to_thread(workers.follow)  # The last command may be to unload the model.
    loaded.set()
    logger.info("%s version %d is ready: %s", manifest.name, manifest.version, settings.addresses)
    await asyncio.gather(
        _repeat(repository.refresh, settings.poll_seconds),
        _repeat(workers.follow, FOLLOW_SECONDS if settings.workers > 1 else 0),
    )


async def _repeat(function: Callable[[], None], seconds: float) -> None:
    """Call a function every `seconds`; never if that is 0."""
    while seconds > 0:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(function)
        except Exception:  # Loaded versions stay, and the next attempt may succeed.
            logger.exception("cannot %s the versions of the model", function.__name__)
