"""Puts the pieces together."""

import asyncio
import importlib.util
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from uvicorn.config import STARTUP_FAILURE

from service.api import (
    feature_maps,
    health,
    model,
    model_repository,
    open_inference,
    predict,
    tf_serving,
    web,
)
from service.api.errors import add_error_handlers
from service.api.request_id import RequestIdMiddleware
from service.errors import ArtifactError, StartError
from service.repository import Repository
from service.settings import Settings

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Classifies pictures of clothes with a convolutional network trained on Fashion-MNIST, and shows
what each of its layers sees."""


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model behind the open port, so that liveness answers and readiness tells."""
    settings: Settings = app.state.settings
    repository: Repository = app.state.repository
    loading = asyncio.create_task(_serve_versions(repository, settings))
    loading.add_done_callback(_exit_if_failed)
    if settings.grpc_port == 0:
        yield
    else:
        async with _grpc_server(app, repository, settings):
            yield
    loading.cancel()


async def _serve_versions(repository: Repository, settings: Settings) -> None:
    """Load what there is, then keep looking for as long as the process serves."""
    await run_in_threadpool(repository.open)
    manifest = repository.classifier().manifest
    logger.info(
        "%s version %d is ready on http://%s:%d (API: /docs)",
        manifest.name,
        manifest.version,
        settings.host,
        settings.port,
    )
    while settings.poll_seconds > 0:
        await asyncio.sleep(settings.poll_seconds)
        try:
            await run_in_threadpool(repository.refresh)
        except Exception:  # What is loaded serves on, and the next look may fare better.
            logger.exception("cannot look for versions of the model")


@asynccontextmanager
async def _grpc_server(
    app: FastAPI, repository: Repository, settings: Settings
) -> AsyncIterator[None]:
    if importlib.util.find_spec("grpc") is None:
        _exit("grpc_port needs gRPC, which is not installed: it comes with the extra `grpc`")
    from service.grpc.server import serve

    try:
        async with serve(repository, settings, app.version):
            yield
    except StartError as error:
        _exit(str(error))


def _exit_if_failed(loading: asyncio.Task[None]) -> None:
    if loading.cancelled() or (error := loading.exception()) is None:
        return
    if isinstance(error, ArtifactError):
        _exit(str(error))
    logger.critical("cannot serve", exc_info=error)
    _exit("see above")


def _exit(reason: str) -> NoReturn:
    logger.critical("cannot serve: %s", reason)
    # A process without a model is of no use, and this status tells uvicorn's supervisor that a new
    # worker would fare no better. There is no request to finish; an exception on the way out of
    # the event loop would only bury the sentence above under two tracebacks.
    logging.shutdown()
    os._exit(STARTUP_FAILURE)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; without `settings`, they come from the environment."""
    app = FastAPI(
        title="Fashion-MNIST service",
        description=DESCRIPTION,
        version="0.1.0",
        lifespan=_lifespan,
    )
    settings = settings or Settings()
    app.state.settings = settings
    app.state.repository = Repository(
        settings.artifacts,
        engine=settings.engine,
        policy=settings.version_policy,
        labels=settings.version_labels,
    )
    app.add_middleware(RequestIdMiddleware)
    add_error_handlers(app)
    for family in (
        predict,
        feature_maps,
        model,
        health,
        model_repository,  # Before open_inference, which would take `stats` for a model.
        open_inference,
        tf_serving,
        web,
    ):
        app.include_router(family.router)
    app.mount("/web", web.files)
    return app
