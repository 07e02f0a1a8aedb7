"""What model is being served."""

from fastapi import APIRouter, Response

from service.http.dependencies import AcceptHeader, LoadedClassifier
from service.http.negotiation import preferred
from service.http.schemas import ErrorResponse, ModelSummary

router = APIRouter(tags=["model"])


@router.get(
    "/model/summary",
    summary="The layers of the network",
    response_model=ModelSummary,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        "4XX": {"model": ErrorResponse},
        503: {"model": ErrorResponse},
    },
)
async def model_summary(classifier: LoadedClassifier, accept: AcceptHeader = None) -> Response:
    """Answer layers, shapes, parameter counts, scores and engine.

    With `Accept: text/plain` it is the table that Keras' `model.summary()` prints.

        curl http://127.0.0.1:8000/model/summary -H 'Accept: text/plain'
    """
    manifest = classifier.manifest
    if preferred(accept, ["application/json", "text/plain"]) == "text/plain":
        return Response(manifest.summary.rstrip() + "\n", media_type="text/plain; charset=utf-8")
    summary = ModelSummary(
        name=manifest.name,
        version=manifest.version,
        created=manifest.created,
        engine=classifier.engine_name,
        class_names=list(manifest.class_names),
        input=manifest.input,
        layers=list(manifest.layers),
        parameters=manifest.parameters,
        novelty=manifest.novelty,
        scores=manifest.scores,
    )
    return Response(summary.model_dump_json(), media_type="application/json")
