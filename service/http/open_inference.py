"""`/v2`: the Open Inference Protocol, with Triton's model repository and statistics."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.errors import ArtifactError, EmptyBody, InvalidInference
from service.http.dependencies import (
    JSON_LENGTH_HEADER,
    ModelRepository,
    NamedVersion,
    Ready,
    read_json_length,
)
from service.http.inference import admit, read_body, run
from service.http.messages import JSON
from service.http.openapi import PROTOCOL_ERRORS, path_parameters, request_spec
from service.http.schemas import ServerReady
from service.model.workers import Workers
from service.protocols.inference import infer
from service.protocols.json_arrays import parse_json
from service.protocols.open_inference import (
    REST_EXTENSIONS,
    model_metadata,
    read,
    repository_index,
    server_metadata,
    statistics,
)
from service.settings import Settings

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], responses=PROTOCOL_ERRORS)

health = APIRouter(prefix="/v2/health", tags=["Open Inference Protocol"])
"""Open to load balancers, with or without a key."""


@router.get("", summary="What this server is")
async def server(request: Request) -> dict[str, object]:
    """Answer name, version and the extensions of the protocol."""
    return server_metadata(request.app.version, REST_EXTENSIONS)


@health.get("/live", summary="The process runs")
async def live() -> dict[str, bool]:
    """Answer 200 for as long as the process can answer at all."""
    return {"live": True}


@health.get(
    "/ready",
    summary="A version of the model is served",
    responses={503: {"model": ServerReady, "description": "Not ready, or about to stop"}},
)
async def ready(is_ready: Ready, response: Response) -> ServerReady:
    """Answer 200 once a version is served, 503 before and when the process is about to end."""
    response.status_code = 200 if is_ready else 503
    return ServerReady(ready=is_ready)


@router.get("/models", summary="The models")
async def models(repository: ModelRepository) -> dict[str, list[str]]:
    """Answer the name of the one model, or none while no version is served."""
    return {"models": [repository.classifier().manifest.name] if repository.is_ready else []}


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


async def metadata(classifier: NamedVersion, repository: ModelRepository) -> dict[str, object]:
    """Answer the tensors that can be sent and asked for.

    Either of the inputs is enough: `images` takes numbers, `image` takes picture files.
    """
    return model_metadata(classifier.manifest, list(repository.serving))


async def model_ready(classifier: NamedVersion) -> dict[str, object]:
    """Answer 200 if this version is served."""
    return {"name": classifier.manifest.name, "ready": True}


async def inference(
    request: Request,
    classifier: NamedVersion,
    json_length: Annotated[str | None, Header(alias=JSON_LENGTH_HEADER)] = None,
) -> Response:
    """Classify pictures, and answer whichever outputs are asked for.

    The input is `images`: UINT8, INT32 or INT64 in 0…255, or FP32 or FP64 in 0…1, of shape
    [n, 28, 28, 1], [n, 28, 28] or [n, 784]; or `image`: BYTES, picture files, in JSON as base64.
    Tensors come as JSON or as bytes, and go out as each output's `binary_data` says.
    """
    length = read_json_length(json_length)
    with admit(request) as permit:
        body = await read_body(request, permit)
        job = partial(infer, partial(read, body, length), classifier, permit)
        content, head_length = await run(request, permit, job)
    if head_length is None:
        return Response(content, media_type=JSON)
    headers = {JSON_LENGTH_HEADER: str(head_length)}
    return Response(content, headers=headers, media_type="application/octet-stream")


for _path in ("/models/{name}", "/models/{name}/versions/{version}"):
    _named = {"parameters": path_parameters(_path)}
    router.add_api_route(
        _path, metadata, summary="The model's inputs and outputs", openapi_extra=_named
    )
    router.add_api_route(
        f"{_path}/ready", model_ready, summary="The model is served", openapi_extra=_named
    )
    router.add_api_route(
        f"{_path}/infer",
        inference,
        methods=["POST"],
        summary="Run the model",
        response_model=None,
        openapi_extra=request_spec("Inference", _path),
    )


async def _read_parameters(request: Request) -> dict[str, Any]:
    """Return the JSON object a client may send along; no body is an empty one."""
    try:
        # Operators get through when the service is full.
        with admit(request, images=0) as permit:
            document = parse_json(await read_body(request, permit), permit.limits)
    except EmptyBody:
        return {}
    if not isinstance(document, dict):
        raise InvalidInference("the request must be a JSON object")
    return document


Parameters = Annotated[dict[str, Any], Depends(_read_parameters)]


@router.post("/repository/index", summary="Every version and whether it is served")
async def index(repository: ModelRepository, parameters: Parameters) -> list[dict[str, str]]:
    """Answer the versions that were taken up; with `{"ready": true}`, those that are served."""
    return repository_index(repository, only_ready=parameters.get("ready") is True)


@router.post("/repository/models/{name}/load", summary="Serve the model")
async def load(
    request: Request, name: str, repository: ModelRepository, parameters: Parameters
) -> dict[str, object]:
    """Look for versions now rather than at the next poll, and serve again after an unload.

    It is answered once every worker serves the same.
    """
    repository.check_name(name)
    given = parameters.get("parameters")
    if isinstance(given, dict) and any(key == "config" or "file:" in key for key in given):
        raise InvalidInference("a model is loaded as it was published: no config, no files")
    workers, seconds = _workers(request)
    try:
        await run_in_threadpool(workers.send, "load", seconds)
    except ArtifactError as error:
        # Where the model lies on this machine is for the log.
        raise InvalidInference("no version can be loaded; the repository index says why") from error
    return {"name": name, "load": True}


@router.post("/repository/models/{name}/unload", summary="Stop serving the model")
async def unload(
    request: Request, name: str, repository: ModelRepository, _: Parameters
) -> dict[str, object]:
    """Serve nothing until it is loaded again; requests under way are answered."""
    repository.check_name(name)
    workers, seconds = _workers(request)
    await run_in_threadpool(workers.send, "unload", seconds)
    return {"name": name, "unload": True}


def _workers(request: Request) -> tuple[Workers, float]:
    """Return the workers, and how many seconds they may take to follow."""
    workers: Workers = request.app.state.workers
    settings: Settings = request.app.state.settings
    return workers, settings.deadline_seconds
