"""Creates the application: its state, middleware, routes and lifespan."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from uvicorn.config import STARTUP_FAILURE

from . import __version__
from .capacity.admission import Admission, Limits
from .capacity.drain import drain_on_sigterm
from .capacity.memory import release_memory, tune_memory
from .capacity.pools import Pools, available_processors
from .errors import ArtifactError, StartError, require
from .http import explain, open_inference, operations, predict, tf_serving
from .http.batcher import Batcher
from .http.messages import add_error_handlers
from .http.middleware import RequestMiddleware
from .http.openapi import complete, operation_id, with_examples
from .keys import load_keys
from .model.repository import Repository
from .model.store import open_source
from .model.workers import Workers, serve_versions
from .settings import WORKERS_DIRECTORY, Settings
from .telemetry.instrumentation import Instrumentation
from .telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

_DESCRIPTION = """\
Classifies images of clothes with a convolutional network trained on Fashion-MNIST, and shows
what each of its layers sees."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; without `settings`, they come from the environment."""
    app = FastAPI(
        title="Fashion-MNIST service",
        description=_DESCRIPTION,
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,  # The page of `operations` has no inline script.
        redoc_url=None,
        root_path_in_servers=False,
        generate_unique_id_function=operation_id,
        servers=[{"url": "."}],  # Relative to the document, so that a proxy may add a prefix.
    )
    state = app.state
    state.settings = settings = settings or Settings()
    directory = Path(os.environ[WORKERS_DIRECTORY]) if WORKERS_DIRECTORY in os.environ else None
    metrics = Metrics(directory)
    state.instrumentation = Instrumentation(metrics, app.version)
    try:
        source = open_source(settings.artifacts, settings.cache)
        state.keys = load_keys(settings.api_keys, settings.api_keys_file)
    except (ArtifactError, StartError) as error:
        _exit(str(error))
    state.repository = Repository(
        source,
        engine=settings.engine,
        policy=settings.version_policy,
        labels=settings.version_labels,
        public_key=settings.model_public_key,
        metrics=metrics,
    )
    state.workers = Workers(state.repository, directory, settings.deadline_seconds)
    state.admission = Admission(
        max_images=settings.max_images_in_flight,
        max_bytes=settings.max_bytes_in_flight,
        limits=Limits(**settings.model_dump(include=set(Limits._fields))),
        on_change=metrics.count_in_flight,
    )
    state.pools = Pools(settings.threads or max(1, available_processors() // settings.workers))
    app.add_middleware(RequestMiddleware, state=state)
    add_error_handlers(app)
    describe = app.openapi
    app.openapi = lambda: with_examples(  # type: ignore[method-assign]  # as FastAPI documents
        app.openapi_schema or complete(describe(), settings.version_labels), state.repository
    )
    _add_routes(app)
    return app


def _add_routes(app: FastAPI) -> None:
    # Only so that /docs asks for the key: the middleware checks it.
    asks_for_key = [] if app.state.keys is None else [Security(HTTPBearer(auto_error=False))]
    protocols = (open_inference.router, tf_serving.router)
    for router in (predict.router, explain.images, explain.model, operations.metrics, *protocols):
        app.include_router(router, dependencies=asks_for_key)
    for router in (operations.health, open_inference.health, operations.pages):
        app.include_router(router)
    app.mount("/web", operations.page_files)
    app.mount("/swagger", operations.swagger_files)
    for route in app.routes:  # FastAPI prepares them at the first match, which takes 20 ms.
        route.matches({"type": "http", "method": "GET", "path": ""})


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Load the model while the port is open, so that health probes are answered meanwhile."""
    tune_memory()
    state = app.state
    settings: Settings = state.settings
    app.openapi()  # Otherwise its first request would hold the event loop for 50 ms.
    loaded = asyncio.Event()
    serving = asyncio.create_task(serve_versions(state.repository, state.workers, settings, loaded))
    serving.add_done_callback(_exit_if_failed)
    releasing = asyncio.create_task(release_memory())
    if settings.workers > 1:
        await loaded.wait()  # Other workers accept connections meanwhile.
    async with AsyncExitStack() as stack:
        stack.callback(state.pools.close)
        stack.enter_context(drain_on_sigterm(state.admission, settings.notice_seconds))
        if settings.grpc_port != 0:
            await stack.enter_async_context(_grpc_server(app))
        # For `ServiceProtocol`; other servers ignore it.
        yield {"fast_path": Batcher(state)}
    for task in (serving, releasing):
        task.cancel()
    await run_in_threadpool(state.instrumentation.close)


@asynccontextmanager
async def _grpc_server(app: FastAPI) -> AsyncIterator[None]:
    try:
        require("grpc_port", "gRPC", "extra `grpc`", "grpc", "grpc_health", "grpc_reflection")
        from .protocols.grpc.prediction import METHODS
        from .protocols.grpc.server import Core, serve

        async with serve(cast("Core", app.state), METHODS):
            yield
    except (ArtifactError, StartError) as error:
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
    # The status keeps uvicorn's supervisor from starting another worker, which would fail as well.
    # There is no request to finish, and an exception would hide the reason under two tracebacks.
    logging.shutdown()
    os._exit(STARTUP_FAILURE)
