"""Puts the pieces together."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from uvicorn.config import STARTUP_FAILURE

from service.api import feature_maps, health, model, predict
from service.api.errors import add_error_handlers
from service.api.request_id import RequestIdMiddleware
from service.artifact import open_artifact
from service.classifier import Classifier
from service.engines import load_engine
from service.errors import ArtifactError
from service.settings import Settings

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Classifies pictures of clothes with a convolutional network trained on Fashion-MNIST, and shows
what each of its layers sees."""


def load_classifier(settings: Settings) -> Classifier:
    """Find, verify, load and warm up the model.

    Raises:
        ArtifactError: One of these steps failed; the message is a sentence for the operator.
    """
    artifact = open_artifact(settings.artifacts)
    classifier = Classifier(artifact, load_engine(artifact, settings.engine))
    classifier.warm_up()
    return classifier


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model behind the open port, so that liveness answers and readiness tells."""
    loading = asyncio.create_task(_load(app))
    loading.add_done_callback(_exit_if_failed)
    yield
    loading.cancel()


async def _load(app: FastAPI) -> None:
    settings: Settings = app.state.settings
    classifier = await run_in_threadpool(load_classifier, settings)
    app.state.classifier = classifier
    logger.info(
        "%s version %d is ready on http://%s:%d (API: /docs)",
        classifier.manifest.name,
        classifier.manifest.version,
        settings.host,
        settings.port,
    )


def _exit_if_failed(loading: asyncio.Task[None]) -> None:
    if loading.cancelled() or (error := loading.exception()) is None:
        return
    if isinstance(error, ArtifactError):
        logger.critical("cannot serve: %s", error)
    else:
        logger.critical("cannot serve", exc_info=error)
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
    app.state.settings = settings or Settings()
    app.state.classifier = None
    app.add_middleware(RequestIdMiddleware)
    add_error_handlers(app)
    for family in (predict, feature_maps, model, health):
        app.include_router(family.router)

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app
