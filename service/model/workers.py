"""Loads the versions in every worker of the service, at the start and on command."""

import asyncio
import contextlib
import gc
import logging
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from service.errors import ArtifactError, DeadlineExceeded
from service.model.repository import Repository
from service.settings import Settings

FOLLOW_SECONDS = 0.2
"""Between two checks for a command; one takes microseconds."""

logger = logging.getLogger(__name__)


class Workers:
    """Sends commands to the other workers, by a file that is replaced, and follows theirs.

    Its methods block.
    """

    def __init__(self, repository: Repository, directory: Path | None = None) -> None:
        """Take part in a service whose workers share the directory; None for a lone worker."""
        self._repository = repository
        self._file = directory and directory / "command"
        self._last_command = ""

    def load(self, seconds: float) -> None:
        """Load the model, or refresh its versions, in every worker.

        Raises:
            ArtifactError: There is no version to serve.
            DeadlineExceeded: Not all workers serve the same versions after `seconds`.
        """
        self._send("load")
        self._repository.open()
        self._wait(seconds)

    def unload(self, seconds: float) -> None:
        """Serve no version until `load`, in any worker, also in one that starts meanwhile.

        Raises:
            DeadlineExceeded: Not all workers have followed after `seconds`.
        """
        self._send("unload")
        self._repository.unload()
        self._wait(seconds)

    def follow(self) -> None:
        """Follow the last command, once."""
        if self._file is None or not self._file.exists():
            return
        command = self._file.read_text()
        if command == self._last_command:
            return
        self._last_command = command
        if command.startswith("unload"):
            self._repository.unload()
        else:
            with contextlib.suppress(ArtifactError):  # The repository has logged it.
                self._repository.open()

    def _send(self, command: Literal["load", "unload"]) -> None:
        if self._file is not None:
            with tempfile.NamedTemporaryFile("w", dir=self._file.parent, delete=False) as file:
                file.write(f"{command} {uuid.uuid4()}")  # Equal commands must differ.
            Path(file.name).replace(self._file)

    def _wait(self, seconds: float) -> None:
        """Return when every living worker serves the same versions as this one."""
        deadline = time.monotonic() + seconds
        while any(
            versions != set(self._repository.serving)
            for versions in self._repository.metrics.versions_of_workers()
        ):
            if time.monotonic() > deadline:
                raise DeadlineExceeded("not every worker has followed yet")
            time.sleep(FOLLOW_SECONDS / 4)


async def serve_versions(
    repository: Repository, workers: Workers, settings: Settings, loaded: asyncio.Event
) -> None:
    """Load the versions, or raise ArtifactError; set `loaded`; refresh every `poll_seconds`."""
    await asyncio.to_thread(repository.open)
    # Everything so far is permanent. Scanning it for garbage, again and again, took a third of
    # the time under load, during which no request was answered.
    gc.collect()
    gc.freeze()
    manifest = repository.classifier().manifest
    await asyncio.to_thread(workers.follow)  # The last command may be to unload the model.
    loaded.set()
    logger.info(
        "%s version %d is ready on %s://%s:%d (API: /docs)",
        manifest.name,
        manifest.version,
        settings.scheme,
        settings.host,
        settings.port,
    )
    if settings.poll_seconds > 0:
        await _repeat(repository.refresh, settings.poll_seconds)


async def follow_commands(workers: Workers, settings: Settings, loaded: asyncio.Event) -> None:
    """Follow the commands of other workers, after `loaded`."""
    await loaded.wait()
    if settings.workers > 1:
        await _repeat(workers.follow, FOLLOW_SECONDS)


async def _repeat(function: Callable[[], None], seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(function)
        except Exception:  # Loaded versions stay, and the next time may fare better.
            logger.exception("cannot %s the versions of the model", function.__name__)
