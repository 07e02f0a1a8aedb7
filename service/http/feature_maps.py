"""`/feature-maps`: what each convolution and pooling layer makes of a picture."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request, Response

from service.http.admission import admit, run
from service.http.channels import ChannelsQuery, select_channels, split
from service.http.dependencies import AcceptHeader, LoadedClassifier, PrepareQuery, ServiceSettings
from service.http.documentation import ERROR_RESPONSES, picture_request
from service.http.negotiation import preferred
from service.http.pictures import decode_one, receive
from service.arrays import Tensor
from service.model.artifact import Layer
from service.model.classifier import Classifier
from service.errors import InvalidParameter
from service.images.decode import PreparedImage
from service.telemetry.record import begin, finish
from service.images.render import LayerGrid, render_layers
from service.http.schemas import FeatureMapsResponse

router = APIRouter(tags=["inference"])

MapFormat = Literal["json", "png"]

_MEDIA_TYPES: dict[MapFormat, str] = {"json": "application/json", "png": "image/png"}


async def feature_maps(
    request: Request,
    classifier: LoadedClassifier,
    settings: ServiceSettings,
    prepare: PrepareQuery = "auto",
    layer: Annotated[
        list[str], Query(description="Only these layers; repeated, or separated by commas.")
    ] = [],  # noqa: B006 (FastAPI copies it)
    channels: ChannelsQuery = [],  # noqa: B006
    map_format: Annotated[
        MapFormat | None,
        Query(alias="format", description="Takes precedence over the Accept header."),
    ] = None,
    accept: AcceptHeader = None,
) -> Response:
    """Answer the maps as numbers, or as one PNG with a labelled grid a layer and its scale.

        curl -T picture.png http://127.0.0.1:8000/feature-maps?layer=conv2d_1
        curl -T picture.png http://127.0.0.1:8000/feature-maps?format=png -o maps.png

    The picture comes in any form that `/predict` reads, one a request.
    """
    if map_format is None:
        media_type = preferred(accept, list(_MEDIA_TYPES.values()))
    else:
        media_type = _MEDIA_TYPES[map_format]
    selection = _select(classifier.layers_with_maps, split(layer), split(channels))
    answer = _as_png if media_type == "image/png" else _as_json
    with admit(request) as ticket:
        upload = await receive(request, ticket)

        def job() -> bytes:
            begin(classifier)
            image = decode_one(
                upload, prepare=prepare, classifier=classifier, settings=settings, ticket=ticket
            )
            ticket.check()
            body = answer(classifier, image, selection)
            finish("encode")
            return body

        body = await run(request, ticket, job)
    return Response(body, media_type=media_type)


for _method in ("POST", "PUT"):  # PUT because that is what `curl -T picture.png` sends.
    router.add_api_route(
        "/feature-maps",
        feature_maps,
        methods=[_method],
        operation_id=f"feature_maps_{_method.lower()}",
        summary="See what the network sees",
        response_model=FeatureMapsResponse,
        responses={
            200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
            **ERROR_RESPONSES,
        },
        openapi_extra=picture_request(),
    )

Selection = Sequence[tuple[Layer, list[int]]]


def _select(layers: Sequence[Layer], names: Sequence[str], channels: Sequence[str]) -> Selection:
    """Return the layers to answer with the channels of each.

    Raises:
        InvalidParameter: A layer is unknown, or a channel is not in every chosen layer.
    """
    known = {layer.name: layer for layer in layers}
    for name in names:
        if name not in known:
            raise InvalidParameter(f"layer: no {name!r}; there are {', '.join(known)}")
    chosen = [layer for layer in layers if not names or layer.name in names]
    return [(layer, select_channels(layer, channels)) for layer in chosen]


def _grids(outputs: Mapping[str, Tensor], selection: Selection) -> list[LayerGrid]:
    """Return of each chosen layer its chosen maps, channels first."""
    return [
        LayerGrid(
            layer, channels, np.ascontiguousarray(outputs[layer.name].transpose(2, 0, 1)[channels])
        )
        for layer, channels in selection
    ]


def _as_png(classifier: Classifier, image: PreparedImage, selection: Selection) -> bytes:
    return render_layers(_grids(classifier.feature_maps(image.pixels), selection))


def _as_json(classifier: Classifier, image: PreparedImage, selection: Selection) -> bytes:
    manifest = classifier.manifest
    grids = _grids(classifier.feature_maps(image.pixels), selection)
    return orjson.dumps(
        {
            "model": {"name": manifest.name, "version": manifest.version},
            "preparation": image.preparation,
            "image": np.ascontiguousarray(image.pixels),
            "layers": [
                {
                    "name": grid.layer.name,
                    "type": grid.layer.type,
                    "shape": grid.layer.output_shape,
                    "channels": grid.channels,
                    "maps": grid.maps,
                }
                for grid in grids
            ],
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
