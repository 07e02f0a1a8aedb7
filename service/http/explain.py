"""Routes that look into the network: feature maps, preparation, explanations, weights, summary."""

import base64
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from ..errors import InvalidParameter, UnknownLayer
from ..images.render import LayerMaps, render_heat, render_layers
from ..images.steps import Step, as_png
from ..model.artifact import Layer
from ..model.classifier import Classifier
from ..model.occlusion import explain_each
from ..model.repository import Repository
from . import schemas
from .dependencies import ModelRepository
from .inference import admit, run
from .messages import JSON, preferred
from .openapi import ERRORS, IMAGE_ROUTE
from .schemas import ImageOptions, ModelOptions, Names, write_answer
from .uploads import Options, ReadImages, find_version, read_images, receive_upload

PNG = "image/png"
_MEDIA_TYPES = {"json": JSON, "png": PNG}
MAX_NUMBERS = 100_000  # Weights in one response: about two megabytes of JSON.

images = APIRouter(tags=["inference"])
model = APIRouter(tags=["model"])

_PNG_RESPONSE = {"content": {PNG: {"schema": {"type": "string", "format": "binary"}}}}
DRAWING_ROUTE = {**IMAGE_ROUTE, "responses": {200: _PNG_RESPONSE, **ERRORS}}


class DrawingOptions(ImageOptions):
    """Image options with a choice of JSON or PNG."""

    format: Literal["json", "png"] | None = None
    """Takes precedence over the Accept header."""


class ExplainOptions(DrawingOptions):
    """The query of `/explain`."""

    class_id: int | None = Field(default=None, ge=0)
    """The class to explain; the most probable by default."""

    def check(self, classifier: Classifier) -> None:
        count = len(classifier.manifest.class_names)
        if self.class_id is not None and self.class_id >= count:
            raise InvalidParameter(f"class_id: {self.class_id}, but the model has {count} classes")


class LayerOptions(ModelOptions):
    """The query of `/model/layers`."""

    channels: Names = ()
    """Only these channels, from 0; repeated or comma-separated."""

    def channels_of(self, layer: Layer) -> list[int]:
        """Return the selected channels of a layer; raises InvalidParameter."""
        count = layer.output_shape[-1]
        for text in self.channels:
            if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < count):
                known = f"its channels are 0…{count - 1}"
                raise InvalidParameter(f"channels: {layer.name} has no channel {text!r}; {known}")
        return list(dict.fromkeys(map(int, self.channels))) or list(range(count))


class FeatureMapsOptions(LayerOptions, DrawingOptions):
    """The query of `/feature-maps`."""

    layer: Names = ()
    """Only these layers; repeated or comma-separated."""

    def check(self, classifier: Classifier) -> None:
        self.select(classifier)

    def select(self, classifier: Classifier) -> list[tuple[Layer, list[int]]]:
        """Return the selected layers with their selected channels; raises InvalidParameter."""
        known = {layer.name: layer for layer in classifier.layers_with_maps}
        for name in self.layer:
            if name not in known:
                names = ", ".join(known) or "none"
                raise InvalidParameter(f"layer: no layer {name!r}; the layers are {names}")
        chosen = [layer for name, layer in known.items() if not self.layer or name in self.layer]
        return [(layer, self.channels_of(layer)) for layer in chosen]


Body = tuple[Mapping[str, Any], Callable[[], bytes] | None]
"""The fields that JSON adds to the model and the image, and a function that draws them as a PNG."""


@images.put("/feature-maps", include_in_schema=False)
@images.post(
    "/feature-maps",
    summary="Feature maps of an image",
    response_model=schemas.FeatureMapsResponse,
    **DRAWING_ROUTE,
)
async def feature_maps(
    request: Request, repository: ModelRepository, options: Annotated[FeatureMapsOptions, Query()]
) -> Response:
    """Return the maps as numbers, or as one PNG with a labelled grid and a scale for each layer.

        curl -T image.png http://127.0.0.1:8000/feature-maps?layer=conv2d_1
        curl -T image.png http://127.0.0.1:8000/feature-maps?format=png -o maps.png

    The request has one image, in any form that `/predict` reads.
    """
    return await _answer_image(request, repository, options, _feature_maps)


@images.put("/preparation", include_in_schema=False)
@images.post(
    "/preparation",
    summary="Steps of a preparation",
    response_model=schemas.PreparationResponse,
    **IMAGE_ROUTE,
)
async def preparation(
    request: Request, repository: ModelRepository, options: Annotated[ImageOptions, Query()]
) -> Response:
    """Return the image after each step of its preparation, as PNG files in base64.

        curl -T image.png http://127.0.0.1:8000/preparation?prepare=photo

    The request has one image, in any form that `/predict` reads. The network does not run.
    """
    return await _answer_image(request, repository, options, _preparation)


@images.put("/explain", include_in_schema=False)
@images.post(
    "/explain",
    summary="Explanation of a class",
    response_model=schemas.ExplainResponse,
    **DRAWING_ROUTE,
)
async def explain(
    request: Request, repository: ModelRepository, options: Annotated[ExplainOptions, Query()]
) -> Response:
    """Return how each place supports a class, as numbers or drawn on the image as a PNG.

        curl -T image.png http://127.0.0.1:8000/explain?format=png -o why.png

    The request has one image, in any form that `/predict` reads. The network classifies it some
    250 times with different parts hidden, so a request counts as that many images in flight.
    """
    return await _answer_image(request, repository, options, _explain)


async def _answer_image(
    request: Request,
    repository: Repository,
    options: Options,
    answer: Callable[[ReadImages[Options]], Body],
) -> Response:
    # Report errors in the query first.
    find_version(options, repository)
    _media_type(options, request)
    with admit(request) as permit:
        upload = await receive_upload(request, permit)

        def job() -> tuple[bytes, str]:
            read = read_images(upload, options, repository, permit, one=True)
            fields, draw = answer(read)
            media_type = _media_type(read.options, request)
            if draw is not None and media_type == PNG:
                body = draw()
            else:
                [(pixels, preparation)] = read.images
                image = {"preparation": preparation, "image": np.ascontiguousarray(pixels)}
                body = write_answer(read.classifier, {**image, **fields})
            permit.record.record_phase("encode")
            return body, media_type

        body, media_type = await run(request, permit, job)
    return Response(body, media_type=media_type)


def _media_type(options: ImageOptions, request: Request) -> str:
    """Return the media type of `format`, or else the one that the Accept header prefers."""
    if not isinstance(options, DrawingOptions):
        return JSON
    if options.format is not None:
        return _MEDIA_TYPES[options.format]
    return preferred(request.headers.get("Accept"), [JSON, PNG])


def _feature_maps(read: ReadImages[FeatureMapsOptions]) -> Body:
    outputs = read.classifier.feature_maps(read.to_tensor())
    read.permit.record.record_run(1)
    maps = []
    for layer, channels in read.options.select(read.classifier):
        channels_first = outputs[layer.name][0].transpose(2, 0, 1)
        chosen = np.ascontiguousarray(channels_first[channels])
        maps.append(LayerMaps(layer.name, layer.type, layer.output_shape, channels, chosen))
    return {"layers": [each._asdict() for each in maps]}, partial(render_layers, maps)


def _preparation(read: ReadImages[ImageOptions]) -> Body:
    described = []
    for step in read.steps:
        image = step.to_image()
        png = base64.b64encode(as_png(image)).decode()
        size = {"width": image.width, "height": image.height}
        described.append({"name": step.name, **size, "png": png})
    return {"steps": described}, None


def _explain(read: ReadImages[ExplainOptions]) -> Body:
    options, classifier, [image], steps, permit = read
    [explanation] = explain_each(read.to_tensor(), classifier, permit, options.class_id)
    steps = steps or [Step("decoded", image.pixels)]  # JSON numbers have none.
    frame = steps[-1].frame
    draw = partial(render_heat, steps[0].to_image(), explanation["heat"], frame)
    return {**explanation, "frame": frame}, draw


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
    request: Request, repository: ModelRepository, options: Annotated[ModelOptions, Query()]
) -> Response:
    """Return layers, shapes, parameter counts, scores and engine.

    With `Accept: text/plain`, return the table that Keras' `model.summary()` prints.

        curl http://127.0.0.1:8000/model/summary -H 'Accept: text/plain'
    """
    classifier = find_version(options, repository)
    manifest = classifier.manifest
    if preferred(request.headers.get("Accept"), [JSON, "text/plain"]) == "text/plain":
        return Response(manifest.summary.rstrip() + "\n", media_type="text/plain; charset=utf-8")
    engine = {"engine": classifier.engine_name, "precision": classifier.precision}
    fields: dict[str, Any] = dict(manifest) | engine
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
    classifier = find_version(options, repository)
    layers = {layer.name: layer for layer in classifier.manifest.layers}
    if layer not in layers:
        raise UnknownLayer(f"no layer {layer!r}; the layers are {', '.join(layers)}")
    found = layers[layer]
    if found.parameters and not classifier.has_weights(found):
        raise UnknownLayer(
            f"the weights of {layer}, a {found.type}, are not available: only those of Conv2D and "
            "Dense are, in a network without normalisation and rescaling"
        )
    chosen = options.channels_of(found)
    if found.parameters // found.output_shape[-1] * len(chosen) > MAX_NUMBERS:
        raise InvalidParameter(
            f"channels: {len(chosen)} of {layer} exceed {MAX_NUMBERS:,} numbers: request fewer"
        )
    body = await run_in_threadpool(_write_weights, classifier, found, chosen)
    return Response(body, media_type=JSON)


def _write_weights(classifier: Classifier, layer: Layer, channels: list[int]) -> bytes:
    fields: dict[str, Any] = {"layer": layer.model_dump()}
    fields |= {"channels": [], "kernels": [], "bias": []}
    if layer.parameters:
        kernel, bias = classifier.weights(layer)
        # Keras stores (…, inputs, outputs).
        outputs_first = np.moveaxis(kernel, (-1, -2), (0, 1))
        kernels = np.ascontiguousarray(outputs_first[channels])
        fields |= {"channels": channels, "kernels": kernels, "bias": bias[channels]}
    return write_answer(classifier, fields)
