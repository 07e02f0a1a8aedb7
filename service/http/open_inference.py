"""`/v2`: the Open Inference Protocol, with Triton's model repository and statistics."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool

from ..errors import EmptyBody, InvalidInference
from ..protocols import open_inference as protocol
from ..protocols.inference import MAX_ITEMS, Document, infer
from ..protocols.json_arrays import parse_json
from ..settings import Settings
from .dependencies import JSON_LENGTH_HEADER, ModelRepository, NamedVersion, Ready, read_json_length
from .inference import admit, read_body, run
from .messages import JSON
from .openapi import PROTOCOL_ERRORS, path_parameters, request_spec
from .schemas import ServerReady

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], responses=PROTOCOL_ERRORS)

health = APIRouter(prefix="/v2/health", tags=["Open Inference Protocol"])


@router.get("", summary="Server metadata")
async def server() -> Document:
    """Return name, version and the supported protocol extensions."""
    return protocol.server_metadata(protocol.REST_EXTENSIONS)


@health.get("/live", summary="The process runs")
async def live() -> dict[str, bool]:
    """Return 200 while the process can respond."""
    return {"live": True}


@health.get(
    "/ready",
    summary="A version of the model is served",
    responses={503: {"model": ServerReady, "description": "Not ready, or about to stop"}},
)
async def ready(is_ready: Ready, response: Response) -> ServerReady:
    """Return 200 while a version is served, 503 before that and during shutdown."""
    response.status_code = 200 if is_ready else 503
    return ServerReady(ready=is_ready)


@router.get("/models", summary="The models")
async def models(repository: ModelRepository) -> dict[str, list[str]]:
    """List the names of the model; empty while no version is served."""
    return {"models": repository.names if repository.is_ready else []}


@router.get("/models/stats", summary="Statistics of every version")
async def all_statistics(repository: ModelRepository) -> Document:
    """Return the counts of all workers since the service started."""
    return protocol.statistics(repository)


async def model_statistics(request: Request, name: str, repository: ModelRepository) -> Document:
    """Return request counts and phase durations over both protocols, REST and gRPC."""
    return protocol.statistics(repository, name, request.path_params.get("version", ""))


async def metadata(request: Request, name: str, repository: ModelRepository) -> Document:
    """Return the input and outputs listed under this name of the model.

    Under any name, a request may send either input, `images` (numbers) or `image` (image files),
    and request any output.
    """
    return protocol.model_metadata(repository, name, request.path_params.get("version", ""))


async def config(request: Request, name: str, repository: ModelRepository) -> Document:
    """Return the part of Triton's model configuration that its clients read."""
    settings: Settings = request.app.state.settings
    version = request.path_params.get("version", "")
    return protocol.model_config(repository, settings.max_images, name, version)


async def model_ready(_: NamedVersion, name: str) -> Document:
    """Return 200 if this version is served."""
    return {"name": name, "ready": True}


async def inference(
    request: Request,
    classifier: NamedVersion,
    name: str,
    json_length: Annotated[str | None, Header(alias=JSON_LENGTH_HEADER)] = None,
) -> Response:
    """Classify images, and return the requested outputs.

    The input is `images`: integers in 0…255, or FP16, FP32 or FP64 in 0…1, of shape
    [n, 28, 28, 1], [n, 28, 28] or [n, 784]; or `image`: BYTES, image files, in JSON as base64.
    Without `outputs`, the response has those listed under this name of the model. Tensors may be
    JSON or binary; each output's `binary_data` selects its form.
    """
    length = read_json_length(json_length)
    with admit(request) as permit:
        body = await read_body(request, permit)
        job = partial(infer, partial(protocol.read, name, body, length), classifier, permit)
        content, head_length = await run(request, permit, job)
    if head_length is None:
        return Response(content, media_type=JSON)
    headers = {JSON_LENGTH_HEADER: str(head_length)}
    return Response(content, headers=headers, media_type="application/octet-stream")


for _path in ("/models/{name}", "/models/{name}/versions/{version}"):
    _named = {"parameters": path_parameters(_path)}
    for _end, _endpoint, _summary in (
        ("", metadata, "The model's inputs and outputs"),
        ("/stats", model_statistics, "Statistics of versions"),
        ("/config", config, "The model's configuration"),
        ("/ready", model_ready, "The model is served"),
    ):
        router.add_api_route(_path + _end, _endpoint, summary=_summary, openapi_extra=_named)
    router.add_api_route(
        f"{_path}/infer",
        inference,
        methods=["POST"],
        summary="Run the model",
        response_model=None,
        openapi_extra=request_spec("Inference", _path),
    )


async def _read_parameters(request: Request) -> dict[str, Any]:
    """Return the JSON object of the body; without a body, an empty one."""
    try:
        # Zero images: operators are admitted at full capacity. Few marks: the event loop waits.
        with admit(request, images=0) as permit:
            limits = permit.limits._replace(max_json_marks=MAX_ITEMS)
            document = parse_json(await read_body(request, permit), limits)
    except EmptyBody:
        return {}
    if not isinstance(document, dict):
        raise InvalidInference("the request must be a JSON object")
    return document


Parameters = Annotated[dict[str, Any], Depends(_read_parameters)]


@router.post("/repository/index", summary="Every version and whether it is served")
async def index(repository: ModelRepository, parameters: Parameters) -> list[dict[str, str]]:
    """List all known versions; with `{"ready": true}`, only those being served."""
    return protocol.repository_index(repository, only_ready=parameters.get("ready") is True)


@router.post("/repository/models/{name}/load", summary="Serve the model")
async def load(request: Request, name: str, parameters: Parameters) -> Document:
    """Load new versions now rather than at the next poll, also after an unload.

    The response is sent once every worker serves the same versions.
    """
    given = parameters.get("parameters")
    keys = given.keys() if isinstance(given, dict) else ()
    await run_in_threadpool(request.app.state.workers.load, name, keys)
    return {"name": name, "load": True}


@router.post("/repository/models/{name}/unload", summary="Stop serving the model")
async def unload(request: Request, name: str, _: Parameters) -> Document:
    """Stop serving until the next load; requests in progress are still answered."""
    await run_in_threadpool(request.app.state.workers.unload, name)
    return {"name": name, "unload": True}
