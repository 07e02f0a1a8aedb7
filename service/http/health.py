"""Whether the process runs, and whether it can answer."""

from fastapi import APIRouter

from service.http.dependencies import DefaultClassifier, Ready, WorkerNumber
from service.errors import Draining
from service.http.schemas import ErrorResponse, Liveness, ModelVersion, Readiness

router = APIRouter(tags=["operation"])


@router.get("/livez", summary="The process runs")
async def livez(worker: WorkerNumber) -> Liveness:
    """Answer 200 for as long as the process can answer at all."""
    return Liveness(status="live", worker=worker)


@router.get(
    "/readyz",
    summary="The model is loaded, and requests are taken",
    responses={503: {"model": ErrorResponse, "description": "Still loading, or about to stop"}},
)
async def readyz(classifier: DefaultClassifier, is_ready: Ready, worker: WorkerNumber) -> Readiness:
    """Answer 200 once the model is loaded, verified and warmed up, until the process drains."""
    if not is_ready:
        raise Draining("the service is about to stop")
    manifest = classifier.manifest
    return Readiness(
        status="ready",
        worker=worker,
        model=ModelVersion(name=manifest.name, version=manifest.version),
        engine=classifier.engine_name,
    )
