"""`/predict`: classify one image or many."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from ..capacity.admission import Permit
from ..images.decode import ImageReader
from ..model.classifier import Classifier
from ..model.repository import Repository
from ..telemetry.record import Predictions
from .dependencies import ModelRepository
from .inference import INLINE_BODY_BYTES, admit, run
from .messages import JSON
from .openapi import ERRORS, request_spec
from .options import ImageOptions
from .predictions import check_top_k, list_predictions, write_predictions
from .schemas import PredictResponse
from .uploads import Upload, read_upload, receive_upload

router = APIRouter(tags=["inference"])


class PredictOptions(ImageOptions):
    """The query of `/predict`."""

    top_k: int | None = Field(default=None, ge=1)
    """Also list this many classes, most probable first."""

    def classifier(self, repository: Repository) -> Classifier:
        """Return the requested version; raises InvalidParameter if it has too few classes."""
        classifier = repository.classifier(self.version, self.version_label)
        check_top_k(self.top_k, classifier)
        return classifier


async def predict(
    request: Request, repository: ModelRepository, options: Annotated[PredictOptions, Query()]
) -> Response:
    """Return label, class id, confidence, probabilities and novelty of each picture, in order.

    The body is a picture file, a form with files, or JSON:

        curl -T picture.png http://127.0.0.1:8000/predict
        curl -F files=@one.png -F files=@two.jpg http://127.0.0.1:8000/predict
        curl http://127.0.0.1:8000/predict -H 'Content-Type: image/png' --data-binary @picture.png
        curl http://127.0.0.1:8000/predict --json '{"instances": [{"b64": "…"}]}'

    JSON instances are `{"b64": …}` of a picture file, or 28×28, 28×28×1 or 784 numbers in 0…255.
    Parameters may also be text fields of a form.
    """
    options.classifier(repository)  # Report errors in the query first.
    with admit(request) as permit:
        upload = await receive_upload(request, permit)
        job = partial(_classify, upload, options, repository, permit)
        is_inline = len(upload.body) <= INLINE_BODY_BYTES
        body = await run(request, permit, job, is_inline=is_inline)
    return Response(body, media_type=JSON)


for _method in ("POST", "PUT"):  # `curl -T picture.png` sends PUT.
    router.add_api_route(
        "/predict",
        predict,
        methods=[_method],
        include_in_schema=_method == "POST",
        summary="Classify pictures",
        response_model=PredictResponse,
        responses=ERRORS,
        openapi_extra=request_spec("Images"),
    )


def _classify(
    upload: Upload, options: PredictOptions, repository: Repository, permit: Permit
) -> bytes:
    record = permit.record
    options = options.updated(upload.form.fields)
    classifier = options.classifier(repository)
    manifest = classifier.manifest
    record.record_start(manifest.version)
    reader = ImageReader(options.prepare, manifest.input.size, permit)
    images = read_upload(upload, reader, options.scale)
    permit.check()
    tensor = classifier.to_images([image.pixels for image in images])
    record.record_phase("prepare")
    assessment = classifier.assess(tensor, permit.workers)
    predictions = Predictions(manifest.version, manifest.class_names, *assessment)
    record.record_run(len(images), predictions)
    body = write_predictions(
        list_predictions(assessment, classifier), images, classifier, options.top_k
    )
    record.record_phase("encode")
    return body
