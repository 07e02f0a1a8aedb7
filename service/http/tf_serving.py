"""`/v1`: TensorFlow Serving's REST API."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.convertors import StringConvertor, register_url_convertor

from ..errors import InvalidInference, UnknownModel
from ..model.classifier import Classifier
from ..model.repository import version_number
from ..protocols import tf_serving
from ..protocols.inference import infer
from .dependencies import ModelRepository, Servable
from .inference import admit, read_body, run
from .messages import JSON
from .openapi import PROTOCOL_ERRORS, path_parameters, request_spec


class _ModelName(StringConvertor):
    regex = "[^/:]+"  # A colon separates the method.


register_url_convertor("model", _ModelName())

router = APIRouter(prefix="/v1/models", tags=["TensorFlow Serving"], responses=PROTOCOL_ERRORS)


@router.get("", summary="The models")
async def models(repository: ModelRepository) -> dict[str, list[str]]:
    """List the names of the model, as KServe does; empty while no version is served."""
    return {"models": repository.names if repository.is_ready else []}


async def predict(request: Request, classifier: Servable) -> Response:
    """Run a signature: `serving_default` for probabilities, `feature_maps` for every layer.

    `instances` is a list of images, `inputs` one tensor. Images are numbers in the network's
    own units, 0…1, or files as `{"b64": "…"}`.
    """
    return await _answer(request, classifier, lambda *job: infer(*job)[0])


async def explain(request: Request, classifier: Servable) -> Response:
    """Explain the most probable class of each image, as in KServe's V1 protocol.

    The request has the form of `:predict`; the response has that of `/explain` for each image.
    """
    return await _answer(request, classifier, tf_serving.explain)


async def _answer(request: Request, classifier: Classifier, work: Callable[..., bytes]) -> Response:
    with admit(request) as permit:
        body = await read_body(request, permit)
        job = partial(work, partial(tf_serving.read, body), classifier, permit)
        content = await run(request, permit, job)
    return Response(content, media_type=JSON)


async def other_method(_: Servable, method: str) -> Response:
    """Reject the methods that the model has no signature for."""
    if method in ("classify", "regress"):
        raise InvalidInference(f"the model has no signature for {method}; it has predict")
    raise HTTPException(HTTPStatus.NOT_FOUND)


async def metadata(classifier: Servable) -> dict[str, object]:
    """Return the signatures of the SavedModel: names, types and shapes."""
    return tf_serving.metadata(classifier)


async def status(request: Request, repository: ModelRepository, name: str) -> dict[str, object]:
    """Return the state of each version: LOADING, AVAILABLE, UNLOADING or END.

    `name` and `ready` are KServe's fields.
    """
    label = request.path_params.get("label")
    if label is not None:
        number: int | None = repository.find_servable(name, label=label).manifest.version
    else:
        version = request.path_params.get("version")
        number = None if version is None else version_number(version)
    statuses = [s for s in repository.statuses if number in (None, s.number)]
    if name not in repository.names or not statuses:
        wanted = "any versions" if number is None else f"version {number}"
        raise UnknownModel(f"Could not find {wanted} of model {name}")
    ready = any(status.state == "AVAILABLE" for status in statuses)
    return {"name": name, "ready": ready} | tf_serving.status(statuses)


for _path in (
    "/{name:model}",
    "/{name:model}/versions/{version:model}",
    "/{name:model}/labels/{label:model}",
):
    _named = {"parameters": path_parameters(_path)}
    for _method, _endpoint, _summary in (
        ("predict", predict, "Run a signature"),
        ("explain", explain, "Explain the predicted class"),
    ):
        router.add_api_route(
            f"{_path}:{_method}",
            _endpoint,
            methods=["POST"],
            summary=_summary,
            response_model=None,
            openapi_extra=request_spec("Signature", _path),
        )
    router.add_api_route(
        f"{_path}:{{method}}", other_method, methods=["POST"], include_in_schema=False
    )
    router.add_api_route(
        f"{_path}/metadata", metadata, summary="The signatures", openapi_extra=_named
    )
    router.add_api_route(_path, status, summary="The state of versions", openapi_extra=_named)
