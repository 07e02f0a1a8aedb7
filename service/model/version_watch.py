"""Loads the versions and follows what becomes of them for as long as the process serves."""

import asyncio
import gc
import logging

from service.model.repository import Repository
from service.settings import Settings
from service.model.workers import FOLLOW_SECONDS, Workers

logger = logging.getLogger(__name__)


async def serve_versions(
    repository: Repository, workers: Workers, settings: Settings, loaded: asyncio.Event
) -> None:
    """Load what there is, then keep looking for as long as the process serves."""
    await asyncio.to_thread(repository.open)
    # What is there by now stays. To look through all of it for garbage, again and again, took a
    # third of the time under load, during which nobody was answered.
    gc.collect()
    gc.freeze()
    manifest = repository.classifier().manifest
    await asyncio.to_thread(workers.follow)  # The model may be unloaded for now.
    loaded.set()
    logger.info(
        "%s version %d is ready on %s://%s:%d (API: /docs)",
        manifest.name,
        manifest.version,
        settings.scheme,
        settings.host,
        settings.port,
    )
    while settings.poll_seconds > 0:
        await asyncio.sleep(settings.poll_seconds)
        try:
            await asyncio.to_thread(repository.refresh)
        except Exception:  # What is loaded serves on, and the next look may fare better.
            logger.exception("cannot look for versions of the model")


async def follow_orders(workers: Workers, settings: Settings, loaded: asyncio.Event) -> None:
    """Load and unload as the other workers are told."""
    await loaded.wait()
    while settings.workers > 1:
        await asyncio.sleep(FOLLOW_SECONDS)
        try:
            await asyncio.to_thread(workers.follow)
        except Exception:  # The next order may fare better.
            logger.exception("cannot follow an order to load or unload")
