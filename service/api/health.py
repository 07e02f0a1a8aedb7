"""Whether the process runs, and whether it can answer."""

from fastapi import APIRouter

from service.api.dependencies import DefaultClassifier, WorkerNumber
from service.schemas import ErrorResponse, Liveness, ModelVersion, Readiness

router = APIRouter(tags=["operation"])


@router.get("/livez", summary="The process runs")
async def livez(worker: WorkerNumber) -> Liveness:
    """Answer 200 for as long as the process can answer at all."""
    return Liveness(status="live", worker=worker)


@router.get(
    "/readyz",
    summary="The model is loaded",
    responses={503: {"model": ErrorResponse, "description": "Still loading"}},
)
async def readyz(classifier: DefaultClassifier, worker: WorkerNumber) -> Readiness:
    """Answer 200 once the model is loaded, verified and warmed up, 503 before."""
    manifest = classifier.manifest
    return Readiness(
        status="ready",
        worker=worker,
        model=ModelVersion(name=manifest.name, version=manifest.version),
        engine=classifier.engine_name,
    )
