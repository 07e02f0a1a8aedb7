"""`/preparation`: how a picture becomes what the network sees."""

import base64

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response

from service.http.admission import admit, run
from service.http.dependencies import LoadedClassifier, PrepareQuery, ServiceSettings
from service.http.documentation import ERROR_RESPONSES, picture_request
from service.http.pictures import decode_one, receive
from service.model.artifact import Manifest
from service.images.decode import PreparedImage
from service.telemetry.record import begin, finish
from service.http.schemas import PreparationResponse
from service.images.steps import Step, as_png, record

router = APIRouter(tags=["inference"])


async def preparation(
    request: Request,
    classifier: LoadedClassifier,
    settings: ServiceSettings,
    prepare: PrepareQuery = "auto",
) -> Response:
    """Answer the picture after each step of its preparation, as PNG files in base64.

        curl -T picture.png http://127.0.0.1:8000/preparation?prepare=photo

    The picture comes in any form that `/predict` reads, one a request. It does not go through the
    network.
    """
    with admit(request) as ticket:
        upload = await receive(request, ticket)

        def job() -> bytes:
            begin(classifier)
            with record() as steps:
                image = decode_one(
                    upload, prepare=prepare, classifier=classifier, settings=settings, ticket=ticket
                )
            ticket.check()
            body = _as_json(classifier.manifest, image, steps)
            finish("encode")
            return body

        body = await run(request, ticket, job)
    return Response(body, media_type="application/json")


for _method in ("POST", "PUT"):  # PUT because that is what `curl -T picture.png` sends.
    router.add_api_route(
        "/preparation",
        preparation,
        methods=[_method],
        operation_id=f"preparation_{_method.lower()}",
        summary="See what is done to a picture",
        response_model=PreparationResponse,
        responses=ERROR_RESPONSES,
        openapi_extra=picture_request(),
    )


def _as_json(manifest: Manifest, image: PreparedImage, steps: list[Step]) -> bytes:
    return orjson.dumps(
        {
            "model": {"name": manifest.name, "version": manifest.version},
            "preparation": image.preparation,
            "image": np.ascontiguousarray(image.pixels),
            "steps": [_step(step) for step in steps],
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _step(step: Step) -> dict[str, object]:
    image = step.to_image()
    return {
        "name": step.name,
        "width": image.width,
        "height": image.height,
        "png": base64.b64encode(as_png(image)).decode(),
    }
