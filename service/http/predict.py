"""`/predict`: classify one image or many."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from ..capacity.admission import Permit
from ..model.repository import Repository
from ..telemetry.record import Predictions
from .dependencies import ModelRepository
from .inference import INLINE_BODY_BYTES, admit, run
from .messages import JSON
from .openapi import IMAGE_ROUTE
from .predictions import PredictOptions, list_predictions, write_predictions
from .schemas import PredictResponse
from .uploads import Upload, find_version, read_images, receive_upload

router = APIRouter(tags=["inference"])


@router.put("/predict", include_in_schema=False)  # `curl -T image.png` sends it.
@router.post("/predict", summary="Classify images", response_model=PredictResponse, **IMAGE_ROUTE)
async def predict(
    request: Request, repository: ModelRepository, options: Annotated[PredictOptions, Query()]
) -> Response:
    """Return label, class id, confidence, probabilities and novelty of each image, in order.

    The body is an image file, a form with files, or JSON:

        curl -T image.png http://127.0.0.1:8000/predict
        curl -F files=@one.png -F files=@two.jpg http://127.0.0.1:8000/predict
        curl http://127.0.0.1:8000/predict -H 'Content-Type: image/png' --data-binary @image.png
        curl http://127.0.0.1:8000/predict --json '{"instances": [{"b64": "…"}]}'

    JSON instances are `{"b64": …}` of an image file, or 28×28, 28×28×1 or 784 numbers in 0…255.
    Parameters may also be text fields of a form.
    """
    find_version(options, repository)  # Report errors in the query first.
    with admit(request) as permit:
        upload = await receive_upload(request, permit)
        job = partial(_classify, upload, options, repository, permit)
        body = await run(request, permit, job, is_inline=len(upload.body) <= INLINE_BODY_BYTES)
    return Response(body, media_type=JSON)


def _classify(
    upload: Upload, options: PredictOptions, repository: Repository, permit: Permit
) -> bytes:
    read = read_images(upload, options, repository, permit)
    record, classifier, manifest = permit.record, read.classifier, read.classifier.manifest
    assessment = classifier.assess(read.to_tensor(), permit.workers)
    predictions = Predictions(manifest.version, manifest.class_names, *assessment)
    record.record_run(len(read.images), predictions)
    listed = list_predictions(assessment, classifier)
    body = write_predictions(listed, read.images, classifier, read.options.top_k)
    record.record_phase("encode")
    return body
