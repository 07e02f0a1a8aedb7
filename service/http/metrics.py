"""`/metrics`: what the workers counted, for Prometheus."""

from fastapi import APIRouter, Request, Response

from service.telemetry.metrics import Metrics
from service.telemetry.exposition import MEDIA_TYPE
from service.http.schemas import ErrorResponse

router = APIRouter(tags=["operation"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        "4XX": {"model": ErrorResponse, "description": "Something is wrong with the request"},
    },
)
def metrics(request: Request) -> Response:
    """Answer the metrics of all workers together, in Prometheus' text format."""
    counted: Metrics = request.app.state.observer.metrics
    return Response(counted.write(), media_type=MEDIA_TYPE)
