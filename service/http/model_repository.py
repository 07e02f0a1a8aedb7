"""`/v2/repository` and statistics: the operator's side of the Open Inference Protocol."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from service.http.admission import admit
from service.http.body import read_body
from service.http.dependencies import AllWorkers, ModelRepository, ServiceSettings
from service.http.open_inference import NamedVersion
from service.http.protocol_documentation import PROTOCOL_ERRORS, path_parameters
from service.protocols.json_parsing import parse_json
from service.errors import ArtifactError, EmptyBody, InvalidInference
from service.protocols.model_repository import repository_index, statistics

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], responses=PROTOCOL_ERRORS)

Body = dict[str, Any]


async def _read_parameters(request: Request, settings: ServiceSettings) -> Body:
    """Return the JSON object a client may send along; no body is an empty one."""
    try:
        # An operator gets through when the service is full.
        with admit(request, images=0) as ticket:
            body = await read_body(request, ticket)
    except EmptyBody:
        return {}
    document = parse_json(body, settings.json_limits)
    if not isinstance(document, dict):
        raise InvalidInference("the request must be a JSON object")
    return document


Parameters = Annotated[Body, Depends(_read_parameters)]


@router.post("/repository/index", summary="Every version and whether it is served")
async def index(repository: ModelRepository, parameters: Parameters) -> list[dict[str, str]]:
    """Answer the versions that were taken up; with `{"ready": true}`, those that are served."""
    return repository_index(repository, only_ready=parameters.get("ready") is True)


@router.post("/repository/models/{name}/load", summary="Serve the model")
async def load(
    name: str,
    repository: ModelRepository,
    workers: AllWorkers,
    settings: ServiceSettings,
    parameters: Parameters,
) -> dict[str, object]:
    """Look for versions now rather than at the next poll, and serve again after an unload.

    It is answered once every worker serves the same.
    """
    repository.check_name(name)
    given = parameters.get("parameters")
    if isinstance(given, dict) and any(key == "config" or "file:" in key for key in given):
        raise InvalidInference("a model is loaded as it was published: no config, no files")
    try:
        await run_in_threadpool(workers.load, settings.deadline_seconds)
    except ArtifactError as error:
        # Where the model lies on this machine is for the log.
        raise InvalidInference("no version can be loaded; the repository index says why") from error
    return {"name": name, "load": True}


@router.post("/repository/models/{name}/unload", summary="Stop serving the model")
async def unload(
    name: str,
    repository: ModelRepository,
    workers: AllWorkers,
    settings: ServiceSettings,
    _: Parameters,
) -> dict[str, object]:
    """Serve nothing until it is loaded again; requests under way are answered."""
    repository.check_name(name)
    await run_in_threadpool(workers.unload, settings.deadline_seconds)
    return {"name": name, "unload": True}


@router.get("/models/stats", summary="Statistics of every version")
async def all_statistics(repository: ModelRepository) -> dict[str, object]:
    """Answer what all workers counted since the service started."""
    return statistics(repository, repository.serving)


@router.get("/models/{name}/stats", summary="Statistics of every version of a model")
async def model_statistics(name: str, repository: ModelRepository) -> dict[str, object]:
    """Answer what all workers counted since the service started."""
    repository.check_name(name)
    return statistics(repository, repository.serving)


@router.get(
    "/models/{name}/versions/{version}/stats",
    summary="Statistics of one version",
    openapi_extra={"parameters": path_parameters("{version}")},
)
async def version_statistics(
    classifier: NamedVersion, repository: ModelRepository
) -> dict[str, object]:
    """Answer requests of both protocols, REST and gRPC: how many, and where their time went."""
    return statistics(repository, [classifier.manifest.version])
