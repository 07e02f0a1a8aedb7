"""What the short way reads of the Open Inference Protocol and of TensorFlow Serving."""

from functools import partial

from service.capacity.admission import GiveWay, Ticket
from service.http import open_inference, tf_serving
from service.http.batches import JSON, Answer, TensorRequest
from service.http.heads import Head
from service.arrays import Assessment
from service.model.classifier import Classifier
from service.protocols.inference import read_images, wants_layers, write_outputs
from service.protocols.open_inference import Message, write_message
from service.protocols.tf_serving import write_assessment
from service.model.repository import Repository
from service.settings import Settings


def read(
    head: Head, body: bytes, repository: Repository, settings: Settings, ticket: Ticket
) -> TensorRequest:
    """Read an inference request by the functions that its route uses.

    Raises:
        RequestError: The request is refused.
        GiveWay: It asks for layers, whose answer is long, or for too much to be read here.
    """
    if head.route.startswith("/v1/"):
        return _read_predict(head, body, repository, settings, ticket)
    return _read_inference(head, body, repository, settings, ticket)


def _read_inference(
    head: Head, body: bytes, repository: Repository, settings: Settings, ticket: Ticket
) -> TensorRequest:
    classifier = open_inference.find(repository, head.names["name"], head.names.get("version"))
    length = open_inference.read_length(head.sent.get(open_inference.JSON_LENGTH_HEADER.lower()))
    message = open_inference.read(body, length, classifier, settings)
    if wants_layers(message.request):
        raise GiveWay
    images = read_images(message.request, classifier, settings, ticket)
    return TensorRequest(classifier, images, partial(_write_inference, message, classifier))


def _write_inference(message: Message, classifier: Classifier, assessment: Assessment) -> Answer:
    outputs = write_outputs(message.request, assessment, {}, classifier)
    body, json_length = write_message(outputs, message, classifier.manifest)
    return Answer(body, JSON if json_length is None else "application/octet-stream", json_length)


def _read_predict(
    head: Head, body: bytes, repository: Repository, settings: Settings, ticket: Ticket
) -> TensorRequest:
    names = head.names
    classifier = tf_serving.find(
        repository, names["name"], names.get("version"), names.get("label")
    )
    request = tf_serving.read(body, classifier, settings, ticket)
    if request.signature == "feature_maps":
        raise GiveWay
    return TensorRequest(
        classifier, request.images, lambda assessment: Answer(write_assessment(request, assessment))
    )
