"""Routes that look into the network: feature maps, preparation, explanations, weights, summary."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from ..arrays import Tensor
from ..capacity.admission import Permit
from ..errors import InvalidParameter, UnknownLayer
from ..images.decode import ImageReader, PreparedImage
from ..images.render import LayerMaps, render_heat, render_layers
from ..images.steps import Step, as_png
from ..model.artifact import Layer
from ..model.classifier import Classifier
from ..model.occlusion import explain_each
from ..model.repository import Repository
from . import schemas
from .dependencies import AcceptHeader, ModelRepository
from .inference import admit, run
from .messages import JSON, preferred
from .openapi import ERRORS, request_spec
from .options import ImageOptions, ModelOptions, Names
from .uploads import read_only_image, receive_upload

MAX_NUMBERS = 100_000  # Weights in one response: about two megabytes of JSON.

images = APIRouter(tags=["inference"])
model = APIRouter(tags=["model"])

Format = Literal["json", "png"]

_MEDIA_TYPES: dict[Format, str] = {"json": JSON, "png": "image/png"}


class DrawingOptions(ImageOptions):
    """Image options with a choice of JSON or PNG."""

    format: Format | None = None
    """Takes precedence over the Accept header."""

    def media_type(self, accept: str | None) -> str:
        """Return the media type of `format`, or else the one that the Accept header prefers."""
        offers = list(_MEDIA_TYPES.values())
        return _MEDIA_TYPES[self.format] if self.format else preferred(accept, offers)


class ExplainOptions(DrawingOptions):
    """The query of `/explain`."""

    class_id: int | None = Field(default=None, ge=0)
    """The class to explain; the most probable by default."""


class LayerOptions(ModelOptions):
    """The query of `/model/layers`."""

    channels: Names = ()
    """Only these channels, from 0; repeated or comma-separated."""


class FeatureMapsOptions(LayerOptions, DrawingOptions):
    """The query of `/feature-maps`."""

    layer: Names = ()
    """Only these layers; repeated or comma-separated."""


Options = TypeVar("Options", bound=ImageOptions)
Body = bytes | dict[str, Any]
"""A PNG, or the fields that JSON adds to the model and the image."""
Answer = Callable[[PreparedImage, Sequence[Step], Permit], Body]
Plan = Callable[[Options, Classifier], tuple[Answer, str]]
"""Checks the options, and returns a function that makes the response, and its media type."""


async def feature_maps(
    request: Request,
    repository: ModelRepository,
    options: Annotated[FeatureMapsOptions, Query()],
    accept: AcceptHeader = None,
) -> Response:
    """Return the maps as numbers, or as one PNG with a labelled grid and a scale for each layer.

        curl -T picture.png http://127.0.0.1:8000/feature-maps?layer=conv2d_1
        curl -T picture.png http://127.0.0.1:8000/feature-maps?format=png -o maps.png

    The request has one picture, in any form that `/predict` reads.
    """

    def plan(options: FeatureMapsOptions, classifier: Classifier) -> tuple[Answer, str]:
        media_type = options.media_type(accept)
        selection = _select(classifier.layers_with_maps, options.layer, options.channels)

        def answer(image: PreparedImage, _: Sequence[Step], permit: Permit) -> Body:
            tensor = classifier.to_images([image.pixels])
            permit.record.record_phase("prepare")
            outputs = classifier.feature_maps(tensor)
            permit.record.record_run(1)
            maps = _maps(outputs, selection)
            if media_type != JSON:
                return render_layers(maps)
            return {"layers": [layer._asdict() for layer in maps]}

        return answer, media_type

    return await _answer_image(request, repository, options, plan)


async def preparation(
    request: Request, repository: ModelRepository, options: Annotated[ImageOptions, Query()]
) -> Response:
    """Return the picture after each step of its preparation, as PNG files in base64.

        curl -T picture.png http://127.0.0.1:8000/preparation?prepare=photo

    The request has one picture, in any form that `/predict` reads. The network does not run.
    """

    def answer(_image: PreparedImage, steps: Sequence[Step], _: Permit) -> Body:
        return {"steps": [_describe(step) for step in steps]}

    return await _answer_image(request, repository, options, lambda *_: (answer, JSON))


async def explain(
    request: Request,
    repository: ModelRepository,
    options: Annotated[ExplainOptions, Query()],
    accept: AcceptHeader = None,
) -> Response:
    """Return how each place supports a class, as numbers or drawn on the picture as a PNG.

        curl -T picture.png http://127.0.0.1:8000/explain?format=png -o why.png

    The request has one picture, in any form that `/predict` reads. The network classifies it 243
    times with different parts hidden, so a request counts as 243 images in flight.
    """

    def plan(options: ExplainOptions, classifier: Classifier) -> tuple[Answer, str]:
        media_type, class_id = options.media_type(accept), options.class_id
        classes = len(classifier.manifest.class_names)
        if class_id is not None and class_id >= classes:
            raise InvalidParameter(f"class_id: {class_id}, but the model has {classes} classes")

        def answer(image: PreparedImage, steps: Sequence[Step], permit: Permit) -> Body:
            tensor = classifier.to_images([image.pixels])
            permit.record.record_phase("prepare")
            [explanation] = explain_each(tensor, classifier, permit, class_id)
            steps = steps or [Step("decoded", image.pixels)]  # JSON numbers have none.
            if media_type != JSON:
                return render_heat(steps[0].to_image(), explanation["heat"], steps[-1].frame)
            return {**explanation, "frame": steps[-1].frame}

        return answer, media_type

    return await _answer_image(request, repository, options, plan)


async def _answer_image(
    request: Request, repository: Repository, options: Options, plan: Plan[Options]
) -> Response:
    # Report errors in the query first.
    plan(options, repository.classifier(options.version, options.version_label))
    with admit(request) as permit:
        upload = await receive_upload(request, permit)

        def job() -> tuple[bytes, str]:
            chosen = options.updated(upload.form.fields)
            classifier = repository.classifier(chosen.version, chosen.version_label)
            manifest = classifier.manifest
            permit.record.record_start(manifest.version)
            answer, media_type = plan(chosen, classifier)
            steps: list[Step] = []
            reader = ImageReader(chosen.prepare, manifest.input.size, permit, steps)
            image = read_only_image(upload, reader, chosen.scale)
            permit.check()
            body = answer(image, steps, permit)
            if not isinstance(body, bytes):
                head = {"model": {"name": manifest.name, "version": manifest.version}}
                pixels = np.ascontiguousarray(image.pixels)
                body = _dumps({**head, "preparation": image.preparation, "image": pixels, **body})
            permit.record.record_phase("encode")
            return body, media_type

        body, media_type = await run(request, permit, job)
    return Response(body, media_type=media_type)


for _path, _endpoint, _summary, _model in (
    ("/feature-maps", feature_maps, "Feature maps of a picture", schemas.FeatureMapsResponse),
    ("/preparation", preparation, "Steps of a preparation", schemas.PreparationResponse),
    ("/explain", explain, "Explanation of a class", schemas.ExplainResponse),
):
    _png = {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
    for _method in ("POST", "PUT"):  # `curl -T picture.png` sends PUT.
        images.add_api_route(
            _path,
            _endpoint,
            methods=[_method],
            include_in_schema=_method == "POST",
            summary=_summary,
            response_model=_model,
            responses={**({} if _endpoint is preparation else {200: _png}), **ERRORS},
            openapi_extra=request_spec("Images"),
        )


@model.get(
    "/model/summary",
    summary="The layers of the network",
    response_model=schemas.ModelSummary,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        "4XX": {"model": schemas.ErrorResponse},
        503: {"model": schemas.ErrorResponse},
    },
)
async def model_summary(
    repository: ModelRepository,
    options: Annotated[ModelOptions, Query()],
    accept: AcceptHeader = None,
) -> Response:
    """Return layers, shapes, parameter counts, scores and engine.

    With `Accept: text/plain`, return the table that Keras' `model.summary()` prints.

        curl http://127.0.0.1:8000/model/summary -H 'Accept: text/plain'
    """
    classifier = repository.classifier(options.version, options.version_label)
    manifest = classifier.manifest
    if preferred(accept, [JSON, "text/plain"]) == "text/plain":
        return Response(manifest.summary.rstrip() + "\n", media_type="text/plain; charset=utf-8")
    names = schemas.ModelSummary.model_fields
    fields: dict[str, Any] = {name: getattr(manifest, name, None) for name in names}
    fields |= {"engine": classifier.engine_name, "precision": classifier.precision}
    summary = schemas.ModelSummary.model_construct(**fields)
    return Response(summary.model_dump_json(), media_type=JSON)


@model.get(
    "/model/layers/{layer}",
    summary="Kernels and biases of a layer",
    response_model=schemas.LayerWeights,
    responses={"4XX": {"model": schemas.ErrorResponse}, 503: {"model": schemas.ErrorResponse}},
)
async def layer_weights(
    repository: ModelRepository,
    layer: Annotated[str, Path(description="As `/model/summary` lists it.")],
    options: Annotated[LayerOptions, Query()],
) -> Response:
    """Return the trained float32 weights, independent of the engine.

        curl http://127.0.0.1:8000/model/layers/conv2d_2?channels=0,5

    A response has at most 100,000 weights: request a larger layer's channels in parts.
    """
    classifier = repository.classifier(options.version, options.version_label)
    layers = {layer.name: layer for layer in classifier.manifest.layers}
    if layer not in layers:
        raise UnknownLayer(f"no layer {layer!r}; the layers are {', '.join(layers)}")
    found = layers[layer]
    if found.parameters and not classifier.has_weights(found):
        raise UnknownLayer(
            f"the weights of {layer}, a {found.type}, are not available: only those of Conv2D and "
            "Dense are, in a network without normalisation and rescaling"
        )
    chosen = _select_channels(found, options.channels)
    if found.parameters // found.output_shape[-1] * len(chosen) > MAX_NUMBERS:
        raise InvalidParameter(
            f"channels: {len(chosen)} of {layer} are more than {MAX_NUMBERS:,} numbers: "
            "request fewer"
        )
    body = await run_in_threadpool(_weights_as_json, classifier, found, chosen)
    return Response(body, media_type=JSON)


Selection = Sequence[tuple[Layer, list[int]]]


def _select(layers: Sequence[Layer], names: Sequence[str], channels: Sequence[str]) -> Selection:
    known = {layer.name: layer for layer in layers}
    for name in names:
        if name not in known:
            raise InvalidParameter(f"layer: no layer {name!r}; the layers are {', '.join(known)}")
    chosen = [layer for layer in layers if not names or layer.name in names]
    return [(layer, _select_channels(layer, channels)) for layer in chosen]


def _select_channels(layer: Layer, channels: Sequence[str]) -> list[int]:
    count = layer.output_shape[-1]
    for text in channels:
        if not (text.isascii() and text.isdecimal() and len(text) <= 9):
            raise InvalidParameter(f"channels: {text!r} is not a channel number")
        if int(text) >= count:
            raise InvalidParameter(
                f"channels: {layer.name} has no channel {int(text)}; its channels are 0…{count - 1}"
            )
    return [int(text) for text in channels] or list(range(count))


def _maps(outputs: Mapping[str, Tensor], selection: Selection) -> list[LayerMaps]:
    maps = []
    for layer, channels in selection:
        channels_first = outputs[layer.name][0].transpose(2, 0, 1)
        chosen = np.ascontiguousarray(channels_first[channels])
        maps.append(LayerMaps(layer.name, layer.type, layer.output_shape, channels, chosen))
    return maps


def _describe(step: Step) -> dict[str, object]:
    image = step.to_image()
    png = base64.b64encode(as_png(image)).decode()
    return {"name": step.name, "width": image.width, "height": image.height, "png": png}


def _weights_as_json(classifier: Classifier, layer: Layer, channels: list[int]) -> bytes:
    manifest = classifier.manifest
    answer = {
        "model": {"name": manifest.name, "version": manifest.version},
        "layer": layer.model_dump(),
        "channels": channels if layer.parameters else [],
        "kernels": [],
        "bias": [],
    }
    if layer.parameters:
        kernel, bias = classifier.weights(layer)
        # Keras stores (…, inputs, outputs).
        outputs_first = np.moveaxis(kernel, (-1, -2), (0, 1))
        answer["kernels"] = np.ascontiguousarray(outputs_first[channels])
        answer["bias"] = bias[channels]
    return _dumps(answer)


def _dumps(answer: object) -> bytes:
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
