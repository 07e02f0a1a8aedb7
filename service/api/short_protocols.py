"""What the short way answers of the Open Inference Protocol and of TensorFlow Serving."""

from typing import NamedTuple

from service.admission import Ticket
from service.api import open_inference, tf_serving
from service.api.heads import Head
from service.repository import Repository
from service.settings import Settings


class Answer(NamedTuple):
    """An answer with status 200."""

    body: bytes
    media_type: str
    json_length: int | None
    """Bytes of the JSON before the tensors; None if it is nothing but JSON."""


def answer(
    head: Head, body: bytes, repository: Repository, settings: Settings, ticket: Ticket
) -> Answer:
    """Answer an inference request by the functions that its route uses.

    Raises:
        RequestError: The request is refused.
        GiveWay: It asks for too much to be answered here.
    """
    name, version = head.names["name"], head.names.get("version")
    if head.route.startswith("/v1/"):
        classifier = tf_serving.find(repository, name, version, head.names.get("label"))
        content = tf_serving.answer(body, classifier, settings, ticket, may_take_long=False)
        return Answer(content, "application/json", None)
    classifier = open_inference.find(repository, name, version)
    length = open_inference.read_length(head.sent.get(open_inference.JSON_LENGTH_HEADER.lower()))
    content, json_length = open_inference.answer(
        body, length, classifier, settings, ticket, may_take_long=False
    )
    media_type = "application/json" if json_length is None else "application/octet-stream"
    return Answer(content, media_type, json_length)
