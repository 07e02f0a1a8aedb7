"""`/model/layers/{name}`: what a layer learned."""

from typing import Annotated

import numpy as np
import orjson
from fastapi import APIRouter, Path, Response
from fastapi.concurrency import run_in_threadpool

from service.http.channels import ChannelsQuery, select_channels, split
from service.http.dependencies import LoadedClassifier
from service.model.artifact import Layer
from service.model.classifier import Classifier
from service.errors import InvalidParameter, UnknownLayer
from service.http.schemas import ErrorResponse, LayerWeights

MOST_NUMBERS = 100_000
"""Of kernels in one answer: about two megabytes of JSON."""

router = APIRouter(tags=["model"])


@router.get(
    "/model/layers/{name}",
    summary="Kernels and biases of a layer",
    response_model=LayerWeights,
    responses={"4XX": {"model": ErrorResponse}, 503: {"model": ErrorResponse}},
)
async def layer_weights(
    classifier: LoadedClassifier,
    name: Annotated[str, Path(description="As `/model/summary` lists it.")],
    channels: ChannelsQuery = [],  # noqa: B006 (FastAPI copies it)
) -> Response:
    """Answer the float32 weights as they were trained, whichever engine serves.

        curl http://127.0.0.1:8000/model/layers/conv2d_2?channels=0,5

    A layer with more than 100,000 weights is answered for some of its outputs at a time.
    """
    layers = {layer.name: layer for layer in classifier.manifest.layers}
    if name not in layers:
        raise UnknownLayer(f"no layer {name!r}; there are {', '.join(layers)}")
    layer = layers[name]
    chosen = select_channels(layer, split(channels))
    if layer.parameters // layer.output_shape[-1] * len(chosen) > MOST_NUMBERS:
        raise InvalidParameter(
            f"channels: {len(chosen)} of {name} are more than {MOST_NUMBERS:,} numbers, "
            "ask for some of them"
        )
    body = await run_in_threadpool(_as_json, classifier, layer, chosen)
    return Response(body, media_type="application/json")


def _as_json(classifier: Classifier, layer: Layer, channels: list[int]) -> bytes:
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
        # Keras has the outputs last, and the inputs before them.
        outputs_first = np.moveaxis(kernel, (-1, -2), (0, 1))
        answer["kernels"] = np.ascontiguousarray(outputs_first[channels])
        answer["bias"] = bias[channels]
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
