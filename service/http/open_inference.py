"""`/v2`: the Open Inference Protocol."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from service.capacity.admission import Ticket
from service.http.admission import admit, run
from service.http.body import read_body
from service.http.dependencies import ModelRepository, Ready, ServiceSettings, version_number
from service.http.direct import DirectRoute
from service.http.protocol_documentation import PROTOCOL_ERRORS, inference_request, path_parameters
from service.model.classifier import Classifier
from service.errors import InvalidInference
from service.telemetry.record import begin, finish
from service.protocols.inference import infer
from service.protocols.open_inference import (
    REST_EXTENSIONS,
    Message,
    model_metadata,
    read_message,
    server_metadata,
    write_message,
)
from service.model.repository import Repository
from service.http.schemas import ServerReady
from service.settings import Settings

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], responses=PROTOCOL_ERRORS)
# Open to whoever watches over the process, key or not.
health = APIRouter(prefix="/v2/health", tags=["Open Inference Protocol"])

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"


async def _version(request: Request, repository: ModelRepository, name: str) -> Classifier:
    return find(repository, name, request.path_params.get("version"))


def find(repository: Repository, name: str, version: str | None = None) -> Classifier:
    """Return the version that a path names.

    Raises:
        UnknownModel: There is no such model.
        UnknownVersion: There is no such version.
    """
    repository.check_name(name)
    return repository.classifier(None if version is None else version_number(version))


NamedVersion = Annotated[Classifier, Depends(_version)]


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
    settings: ServiceSettings,
    json_length: Annotated[str | None, Header(alias=JSON_LENGTH_HEADER)] = None,
) -> Response:
    """Classify pictures, and answer whichever outputs are asked for.

    The input is `images`: UINT8, INT32 or INT64 in 0…255, or FP32 or FP64 in 0…1, of shape
    [n, 28, 28, 1], [n, 28, 28] or [n, 784]; or `image`: BYTES, picture files, in JSON as base64.
    Tensors come as JSON or as bytes, and go out as each output's `binary_data` says.
    """
    length = read_length(json_length)
    with admit(request) as ticket:
        body = await read_body(request, ticket)
        job = partial(_answer, body, length, classifier, settings, ticket)
        content, head_length = await run(request, ticket, job)
    if head_length is None:
        return Response(content, media_type="application/json")
    headers = {JSON_LENGTH_HEADER: str(head_length)}
    return Response(content, headers=headers, media_type="application/octet-stream")


async def _inference_without_query(request: Request) -> Response:
    state = request.app.state
    named = find(state.repository, **request.path_params)
    return await inference(request, named, state.settings, request.headers.get(JSON_LENGTH_HEADER))


direct = []

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
        openapi_extra=inference_request(_path),
    )
    direct.append(DirectRoute(f"{router.prefix}{_path}/infer", _inference_without_query, ["POST"]))


def read_length(header: str | None) -> int | None:
    """Return what Inference-Header-Content-Length says.

    Raises:
        InvalidInference: It is no number.
    """
    if header is None:
        return None
    if not (header.isascii() and header.isdecimal() and len(header) < 20):
        raise InvalidInference(f"{JSON_LENGTH_HEADER}: {header[:20]!r} is not a number of bytes")
    return int(header)


def read(
    body: bytes, json_length: int | None, classifier: Classifier, settings: Settings
) -> Message:
    """Read an inference request to a version.

    Raises:
        RequestError: It is refused by `read_message`.
    """
    begin(classifier)
    message = read_message(body, json_length, classifier.manifest, settings.json_limits)
    finish("decode")
    return message


def _answer(
    body: bytes,
    json_length: int | None,
    classifier: Classifier,
    settings: Settings,
    ticket: Ticket,
) -> tuple[bytes, int | None]:
    """Return the answer to an inference request, and how long its JSON is if tensors follow it."""
    message = read(body, json_length, classifier, settings)
    outputs = infer(message.request, classifier, settings, ticket)
    written = write_message(outputs, message, classifier.manifest)
    finish("encode")
    return written
