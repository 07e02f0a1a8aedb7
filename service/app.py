"""Puts the pieces together."""

import asyncio
import importlib.util
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware
from uvicorn.config import STARTUP_FAILURE

from service import __version__
from service.capacity.admission import Admission
from service.http import (
    docs,
    feature_maps,
    health,
    layers,
    metrics,
    model,
    model_repository,
    open_inference,
    predict,
    preparation,
    tf_serving,
    web,
)
from service.http.access import AccessMiddleware
from service.http.admission import DEADLINE_HEADER
from service.http.discarding import DISCARDING, Discarding
from service.http.ending import EndingMiddleware
from service.http.errors import add_error_handlers
from service.http.headers import HeadersMiddleware
from service.http.observation import HEADER as REQUEST_ID_HEADER
from service.http.observation import ObservationMiddleware
from service.http.open_connections import OPEN_CONNECTIONS, OpenConnections
from service.http.refusal import REFUSAL, Refusal
from service.http.short_way import SHORT_WAY, ShortWay
from service.http.turns import TURNS, Turns
from service.capacity.drain import drain_on_sigterm
from service.errors import ArtifactError, StartError
from service.keys import KeyRing, load_keys
from service.capacity.pools import Lanes, available_processors
from service.capacity.memory import give_back_memory
from service.telemetry.metrics import Metrics
from service.telemetry.instrumentation import Observer
from service.model.repository import Repository
from service.settings import Settings
from service.model.sources import open_source
from service.model.version_watch import follow_orders, serve_versions
from service.model.workers import Workers

logger = logging.getLogger(__name__)

WORKERS_DIRECTORY = "FASHION_MNIST_WORKERS_DIRECTORY"
"""Environment variable that tells the workers of one service where they meet."""

DESCRIPTION = """\
Classifies pictures of clothes with a convolutional network trained on Fashion-MNIST, and shows
what each of its layers sees."""


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Load the model behind the open port, so that liveness answers and readiness tells."""
    settings: Settings = app.state.settings
    repository: Repository = app.state.repository
    lanes: Lanes = app.state.lanes
    loaded = asyncio.Event()
    workers: Workers = app.state.workers
    serving = asyncio.create_task(serve_versions(repository, workers, settings, loaded))
    serving.add_done_callback(_exit_if_failed)
    following = asyncio.create_task(follow_orders(workers, settings, loaded))
    tidying = asyncio.create_task(give_back_memory(lambda: lanes.jobs_done))
    if settings.workers > 1:
        # The port is open in any case, and whoever comes now is better off with another worker.
        await loaded.wait()
    async with AsyncExitStack() as stack:
        stack.callback(lanes.close)
        stack.enter_context(drain_on_sigterm(app.state.admission, settings.notice_seconds))
        if settings.grpc_port != 0:
            await stack.enter_async_context(_grpc_server(app, settings))
        yield connection_state(app)
    serving.cancel()
    following.cancel()
    tidying.cancel()
    await run_in_threadpool(app.state.observer.close)


def connection_state(app: FastAPI) -> dict[str, Any]:
    """Return the lifespan's state, where connections look for what they share."""
    state: dict[str, Any] = {TURNS: Turns(), OPEN_CONNECTIONS: app.state.open_connections}
    if app.state.settings.cors_origins:  # What those ask for, the middleware answers.
        return state
    state |= {SHORT_WAY: ShortWay(app.state), REFUSAL: Refusal(app.state)}
    if Discarding.is_possible:
        state[DISCARDING] = Discarding()
    return state


@asynccontextmanager
async def _grpc_server(app: FastAPI, settings: Settings) -> AsyncIterator[None]:
    if importlib.util.find_spec("grpc") is None:
        _exit("grpc_port needs gRPC, which is not installed: it comes with the extra `grpc`")
    from service.protocols.grpc.server import Core, serve

    try:
        state = app.state
        core = Core(
            settings, state.repository, state.admission, state.lanes, state.observer, state.keys
        )
        async with serve(core, app.version):
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
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,  # `docs` has a page with a content security policy.
        redoc_url=None,
    )
    settings = settings or Settings()
    directory = Path(os.environ[WORKERS_DIRECTORY]) if WORKERS_DIRECTORY in os.environ else None
    observer = Observer(Metrics(directory), app.version)
    app.state.settings = settings
    app.state.observer = observer
    try:
        source = open_source(settings.artifacts, settings.cache)
        app.state.keys = load_keys(settings.api_keys, settings.api_keys_file)
    except (ArtifactError, StartError) as error:
        _exit(str(error))
    app.state.repository = Repository(
        source,
        engine=settings.engine,
        policy=settings.version_policy,
        labels=settings.version_labels,
        public_key=settings.model_public_key,
        metrics=observer.metrics,
    )
    app.state.workers = Workers(app.state.repository, directory)
    app.state.open_connections = (
        None if directory is None else OpenConnections(directory, observer.metrics.worker)
    )
    app.state.admission = Admission(
        max_images=settings.max_images_in_flight,
        max_bytes=settings.max_bytes_in_flight,
        count=observer.metrics.count_in_flight,
    )
    app.state.lanes = Lanes(settings.threads or max(1, available_processors() // settings.workers))
    _add_middleware(app)
    add_error_handlers(app)
    _add_routes(app)
    return app


def _add_middleware(app: FastAPI) -> None:
    """Put what every request passes before the routes, from the innermost to the outermost."""
    settings: Settings = app.state.settings
    keys: KeyRing | None = app.state.keys
    app.add_middleware(EndingMiddleware, admission=app.state.admission)
    if keys is not None:
        app.add_middleware(AccessMiddleware, keys=keys)
    if settings.cors_origins:
        # Outside access: a browser asks for permission without a key, and reads why it got a 401.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT"],
            allow_headers=["Authorization", "X-API-Key", DEADLINE_HEADER, REQUEST_ID_HEADER],
            expose_headers=[REQUEST_ID_HEADER, "Retry-After"],
        )
    app.add_middleware(HeadersMiddleware)
    app.add_middleware(ObservationMiddleware, observer=app.state.observer)


def _add_routes(app: FastAPI) -> None:
    for family in (predict, open_inference, tf_serving):
        app.router.routes += family.direct  # First, or it would be no shorter.
    # Only so that /docs asks for the key: `AccessMiddleware` has looked at it before.
    is_asked = [] if app.state.keys is None else [Security(HTTPBearer(auto_error=False))]
    for family in (
        predict,
        feature_maps,
        preparation,
        model,
        layers,
        metrics,
        model_repository,  # Before open_inference, which would take `stats` for a model.
        open_inference,
        tf_serving,
    ):
        app.include_router(family.router, dependencies=is_asked)
    for router in (health.router, open_inference.health, docs.router, web.router):
        app.include_router(router)
    app.mount("/web", web.files)
