"""`/v1`: TensorFlow Serving's REST API."""

from functools import partial
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from starlette.convertors import StringConvertor, register_url_convertor

from service.capacity.admission import Ticket
from service.http.admission import admit, run
from service.http.body import read_body
from service.http.dependencies import ModelRepository, ServiceSettings, version_number
from service.http.direct import DirectRoute
from service.http.protocol_documentation import PROTOCOL_ERRORS, path_parameters, predict_request
from service.model.classifier import Classifier
from service.errors import InvalidInference, UnknownModel, UnknownVersion
from service.telemetry.record import begin, finish
from service.protocols import tf_serving
from service.model.repository import Repository
from service.settings import Settings


class _ModelName(StringConvertor):
    regex = "[^/:]+"  # What follows a colon is a method.


register_url_convertor("model", _ModelName())

router = APIRouter(prefix="/v1/models", tags=["TensorFlow Serving"], responses=PROTOCOL_ERRORS)


def find(repository: Repository, name: str, version: str | None, label: str | None) -> Classifier:
    """Return the version that a path names by number or label.

    Raises:
        UnknownModel: There is no such model, in TensorFlow Serving's words.
        UnknownVersion: There is no such version.
    """
    number = None if version is None else version_number(version)
    try:
        repository.check_name(name)
        return repository.classifier(number, label)
    except (UnknownModel, UnknownVersion) as error:
        if label is not None and isinstance(error, UnknownVersion):
            raise
        wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
        raise type(error)(f"Servable not found for request: {wanted}") from error


async def _version(request: Request, repository: ModelRepository, name: str) -> Classifier:
    return find(repository, name, *map(request.path_params.get, ("version", "label")))


NamedVersion = Annotated[Classifier, Depends(_version)]


async def predict(
    request: Request, classifier: NamedVersion, settings: ServiceSettings
) -> Response:
    """Run a signature: `serving_default` for probabilities, `feature_maps` for every layer.

    `instances` is a list of pictures, `inputs` one tensor; numbers are the network's own units,
    0…1. A picture file may stand for numbers, as `{"b64": "…"}`.
    """
    with admit(request) as ticket:
        body = await read_body(request, ticket)
        content = await run(request, ticket, partial(_answer, body, classifier, settings, ticket))
    return Response(content, media_type="application/json")


def read(
    body: bytes, classifier: Classifier, settings: Settings, ticket: Ticket
) -> tf_serving.PredictRequest:
    """Read a predict request to a version.

    Raises:
        RequestError: It is refused by `read_request`, or nobody waits for the answer.
    """
    begin(classifier)
    request = tf_serving.read_request(body, classifier, settings, ticket)
    ticket.check()
    return request


def _answer(body: bytes, classifier: Classifier, settings: Settings, ticket: Ticket) -> bytes:
    request = read(body, classifier, settings, ticket)
    content = tf_serving.predict(request, classifier, ticket.helpers)
    finish("encode")
    return content


async def other_method(_: NamedVersion, method: str) -> Response:
    """Refuse what the model has no signature for."""
    if method in ("classify", "regress"):
        raise InvalidInference(f"the model has no signature for {method}; it has predict")
    raise HTTPException(HTTPStatus.NOT_FOUND)


async def metadata(classifier: NamedVersion) -> dict[str, object]:
    """Answer the signatures of the SavedModel: names, types and shapes."""
    return tf_serving.metadata(classifier.manifest)


async def status(request: Request, repository: ModelRepository, name: str) -> dict[str, object]:
    """Answer where in its life each version is: START, LOADING, AVAILABLE, UNLOADING or END."""
    label = request.path_params.get("label")
    if label is not None:
        number: int | None = find(repository, name, None, label).manifest.version
    else:
        version = request.path_params.get("version")
        number = None if version is None else version_number(version)
    statuses = [s for s in repository.statuses if number in (None, s.number)]
    if name != repository.name or not statuses:
        wanted = "any versions" if number is None else f"version {number}"
        raise UnknownModel(f"Could not find {wanted} of model {name}")
    return tf_serving.status(statuses)


async def _predict_without_query(request: Request) -> Response:
    state, names = request.app.state, request.path_params
    named = find(state.repository, names["name"], names.get("version"), names.get("label"))
    return await predict(request, named, state.settings)


direct = []

for _path in (
    "/{name:model}",
    "/{name:model}/versions/{version:model}",
    "/{name:model}/labels/{label:model}",
):
    router.add_api_route(
        f"{_path}:predict",
        predict,
        methods=["POST"],
        summary="Run a signature",
        response_model=None,
        openapi_extra=predict_request(_path),
    )
    _template = f"{router.prefix}{_path}:predict".replace(":model}", "}")
    direct.append(DirectRoute(_template, _predict_without_query, ["POST"]))
    router.add_api_route(
        f"{_path}:{{method}}", other_method, methods=["POST"], include_in_schema=False
    )
    _named = {"parameters": path_parameters(_path)}
    router.add_api_route(
        f"{_path}/metadata", metadata, summary="The signatures", openapi_extra=_named
    )
    router.add_api_route(_path, status, summary="The state of versions", openapi_extra=_named)
