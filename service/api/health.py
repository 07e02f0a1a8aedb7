"""Whether the process runs, and whether it can answer."""

from fastapi import APIRouter

from service.api.dependencies import DefaultClassifier
from service.schemas import ErrorResponse, Liveness, ModelVersion, Readiness

router = APIRouter(tags=["operation"])


@router.get("/livez", summary="The process runs")
async def livez() -> Liveness:
    """Answer 200 for as long as the process can answer at all."""
    return Liveness(status="live")


@router.get(
    "/readyz",
    summary="The model is loaded",
    responses={503: {"model": ErrorResponse, "description": "Still loading"}},
)
async def readyz(classifier: DefaultClassifier) -> Readiness:
    """Answer 200 once the model is loaded, verified and warmed up, 503 before."""
    manifest = classifier.manifest
    return Readiness(
        status="ready",
        model=ModelVersion(name=manifest.name, version=manifest.version),
        engine=classifier.engine_name,
    )
