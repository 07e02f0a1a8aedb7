"""`/predict`: classify one picture or many."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.capacity.admission import Ticket
from service.http.admission import admit, run
from service.http.dependencies import LoadedClassifier, PrepareQuery, ServiceSettings
from service.http.direct import DirectRoute
from service.http.documentation import ERROR_RESPONSES, picture_request
from service.http.pictures import FORM, Upload, decode, open_form, receive
from service.http.predictions import add_rankings, write_answer, write_predictions
from service.model.classifier import Classifier
from service.errors import InvalidParameter
from service.images.decode import Prepare
from service.telemetry.record import begin
from service.http.schemas import PredictResponse
from service.settings import Settings

router = APIRouter(tags=["inference"])

SHORT_BODY_BYTES = 49152
"""Sixteen pictures of the data set as JSON numbers: classified within a millisecond or so, about as
soon as a thread would begin."""


async def predict(
    request: Request,
    classifier: LoadedClassifier,
    settings: ServiceSettings,
    prepare: PrepareQuery = "auto",
    top_k: Annotated[
        int | None, Query(ge=1, description="Also list this many classes, best first.")
    ] = None,
) -> Response:
    """Answer label, class id, confidence, probabilities and novelty of each picture, in order.

    A picture as it is, several files in a form, or JSON:

        curl -T picture.png http://127.0.0.1:8000/predict
        curl -F files=@one.png -F files=@two.jpg http://127.0.0.1:8000/predict
        curl http://127.0.0.1:8000/predict -H 'Content-Type: image/png' --data-binary @picture.png
        curl http://127.0.0.1:8000/predict --json '{"instances": [{"b64": "…"}]}'

    JSON instances are `{"b64": …}` of a picture file, or 28×28, 28×28×1 or 784 numbers in 0…255.
    """
    check_top_k(top_k, classifier)
    with admit(request) as ticket:
        upload = await receive(request, ticket)
        job = partial(classify, upload, classifier, settings, prepare, top_k, ticket)
        body = await run(request, ticket, job, is_short=len(upload.body) <= SHORT_BODY_BYTES)
    return Response(body, media_type="application/json")


def check_top_k(top_k: int | None, classifier: Classifier) -> None:
    """Return if a model has so many classes.

    Raises:
        InvalidParameter: It has fewer.
    """
    classes = len(classifier.manifest.class_names)
    if top_k is not None and top_k > classes:
        raise InvalidParameter(f"top_k: {top_k}, the model has {classes} classes")


async def _predict_without_query(request: Request) -> Response:
    state = request.app.state
    return await predict(request, state.repository.classifier(), state.settings)


_METHODS = ("POST", "PUT")  # PUT because that is what `curl -T picture.png` sends.

direct = [DirectRoute("/predict", _predict_without_query, _METHODS)]

for _method in _METHODS:
    router.add_api_route(
        "/predict",
        predict,
        methods=[_method],
        operation_id=f"predict_{_method.lower()}",
        summary="Classify pictures",
        response_model=PredictResponse,
        responses=ERROR_RESPONSES,
        openapi_extra=picture_request(),
    )


def classify(
    upload: Upload,
    classifier: Classifier,
    settings: Settings,
    prepare: Prepare,
    top_k: int | None,
    ticket: Ticket,
) -> bytes:
    """Return the answer to a request as JSON; the arguments are those of the route.

    Raises:
        RequestError: A picture is refused, or the answer would come too late.
        GiveWay: The pictures are too large for the lane the ticket is in.
    """
    begin(classifier)
    if upload.media_type == FORM:
        form = open_form(
            upload, prepare=prepare, classifier=classifier, settings=settings, ticket=ticket
        )
        images, assessment = form.classify(classifier)
    else:
        images = decode(
            upload, prepare=prepare, classifier=classifier, settings=settings, ticket=ticket
        )
        ticket.check()
        assessment = classifier.assess([image.pixels for image in images], ticket.helpers)
    predictions = write_predictions(images, assessment, classifier)
    if top_k is not None:
        predictions = add_rankings(predictions, assessment.probabilities, classifier, top_k)
    return write_answer(predictions, classifier)
