"""Health, metrics, page and documentation."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from ..errors import Draining
from .dependencies import ModelRepository, Ready
from .messages import JSON, preferred
from .schemas import ErrorResponse, Liveness, Readiness

_WEB = Path(__file__).parent.parent / "web"

_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Revalidated by ETag each time, so that modules of two releases never mix.
    "Cache-Control": "no-cache",
}

health = APIRouter(tags=["operation"])
metrics = APIRouter(tags=["operation"])
pages = APIRouter(include_in_schema=False)


@health.get("/livez", summary="The process runs")
async def livez(request: Request) -> Liveness:
    """Return 200 while the process can respond."""
    return Liveness(status="live", worker=request.app.state.instrumentation.metrics.worker)


@health.get(
    "/readyz",
    summary="The model is loaded, and requests are accepted",
    responses={503: {"model": ErrorResponse, "description": "Still loading, or about to stop"}},
)
async def readyz(request: Request, repository: ModelRepository, is_ready: Ready) -> Readiness:
    """Return 200 once the model is loaded, verified and warmed up, until shutdown begins."""
    classifier = repository.classifier()
    if not is_ready:
        raise Draining("the service is shutting down")
    return Readiness.of(classifier, request.app.state.instrumentation.metrics.worker)


@metrics.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        "4XX": {"model": ErrorResponse, "description": "Something is wrong with the request"},
    },
)
def prometheus_metrics(request: Request) -> Response:
    """Return the metrics of all workers together, in Prometheus' text format."""
    text = request.app.state.instrumentation.metrics.write()
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _PageFiles(StaticFiles):
    """Files with an ETag and the page's security headers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_PAGE_HEADERS)
        return response


_files = _PageFiles(directory=_WEB)
page_files = GZipMiddleware(_files, minimum_size=500)  # Strongly, because browsers cache them.
swagger_files = StaticFiles(packages=[("fastapi_offline", "static")])


@pages.get("/")
async def page(request: Request) -> Response:
    """Return the page to browsers, and liveness as KServe does to programs."""
    if preferred(request.headers.get("Accept"), [JSON, "text/html"]) == JSON:
        response: Response = JSONResponse({"status": "alive"})
    else:
        response = await _files.get_response("index.html", request.scope)
    response.headers["Vary"] = "Accept"
    return response


@pages.get("/docs")
async def docs(request: Request) -> Response:
    """Return Swagger UI."""
    return await _files.get_response("docs.html", request.scope)
