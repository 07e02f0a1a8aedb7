"""Every error the service raises on purpose, in one tree."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

MAX_MESSAGE_LENGTH = 1000
"""Characters; gRPC carries no longer ones, and nobody reads them."""


class ServiceError(Exception):
    """Base of everything the service raises on purpose.

    The message is one sentence written for the person who will read it: it says what is wrong
    and where, and nothing about the inside of the process.
    """


class ArtifactError(ServiceError):
    """A model directory that must not be served: missing, incomplete, altered, or unusable."""


class StoreError(ArtifactError):
    """A store of models that cannot be listed or fetched from; another try may fare better."""


class StartError(ServiceError):
    """Something other than the model keeps the process from serving."""


class RequestError(ServiceError):
    """A request that cannot be answered; `status` and `code` are what the client sees."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "invalid_request"
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, message: str) -> None:
        super().__init__(_shortened(message))

    def at(self, place: str) -> Self:
        """Return the same error with its message saying which part of the request it is about."""
        return type(self)(f"{place}: {self}")


class Unauthenticated(RequestError):
    """A request without an API key, or with one that is not accepted."""

    status = 401
    code = "unauthenticated"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": "Bearer"}


class Forbidden(RequestError):
    """An API key that does not allow what the request asks for."""

    status = 403
    code = "forbidden"


class InvalidParameter(RequestError):
    """A query parameter that is unknown to the model or out of its range."""

    code = "invalid_parameter"


class EmptyBody(RequestError):
    """A request, file or part with nothing in it."""

    code = "empty_body"


class InvalidEncoding(RequestError):
    """A body that is not compressed the way it says."""

    code = "invalid_encoding"


class InvalidJSON(RequestError):
    """A body that says it is JSON and is not, or nests too deeply."""

    code = "invalid_json"


class InvalidInstances(RequestError):
    """JSON whose instances are not pictures: wrong shape, not numbers, or outside 0…255."""

    code = "invalid_instances"


class InvalidMultipart(RequestError):
    """A form that breaks the multipart format or carries something other than files."""

    code = "invalid_multipart"


class InvalidImage(RequestError):
    """Bytes that no accepted picture format can be decoded from."""

    code = "invalid_image"


class InvalidTensor(RequestError):
    """A tensor whose name, datatype, shape, byte count or values the model cannot take."""

    code = "invalid_tensor"


class InvalidInference(RequestError):
    """A request of an inference protocol that breaks the protocol's form."""

    code = "invalid_inference"


class UnknownModel(RequestError):
    """A model that is not the one being served."""

    status = 404
    code = "unknown_model"


class UnknownVersion(RequestError):
    """A version or label that is not being served."""

    status = 404
    code = "unknown_version"


class UnknownLayer(RequestError):
    """A layer that the network does not have."""

    status = 404
    code = "unknown_layer"


class NotAcceptable(RequestError):
    """An Accept header that allows none of the answers there are."""

    status = 406
    code = "not_acceptable"


class RequestTimeout(RequestError):
    """A body that takes longer than `receive_seconds` to arrive."""

    status = 408
    code = "request_timeout"
    headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}


class BodyTooLarge(RequestError):
    """A body of more bytes than `max_body_bytes`, or in more pieces than `max_chunks`."""

    status = 413
    code = "body_too_large"


class ImageTooLarge(RequestError):
    """A picture of more pixels than `max_pixels`."""

    status = 413
    code = "image_too_large"


class TooManyImages(RequestError):
    """More pictures in one request than `max_images`."""

    status = 413
    code = "too_many_images"


class UnsupportedMediaType(RequestError):
    """A Content-Type or Content-Encoding the route does not read."""

    status = 415
    code = "unsupported_media_type"


class NotReady(RequestError):
    """No version of the model is being served: it is still being loaded, or was unloaded."""

    status = 503
    code = "not_ready"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class Overloaded(RequestError):
    """More in flight than the service takes on at a time."""

    status = 503
    code = "overloaded"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class Draining(RequestError):
    """A request that comes when the process is about to end."""

    status = 503
    code = "draining"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1", "Connection": "close"}


class DeadlineExceeded(RequestError):
    """An answer that was not ready in time."""

    status = 504
    code = "deadline_exceeded"


def _shortened(message: str) -> str:
    """Leave out the middle of a message that quotes too much of what was sent."""
    if len(message) <= MAX_MESSAGE_LENGTH:
        return message
    half = MAX_MESSAGE_LENGTH // 2
    return f"{message[:half]}…{message[-half:]}"


def error_codes() -> list[str]:
    """Return the codes of all errors a request can be answered with on purpose."""
    return sorted({error.code for error in _with_subclasses(RequestError)})


def _with_subclasses(error: type[RequestError]) -> Iterator[type[RequestError]]:
    yield error
    for subclass in error.__subclasses__():
        yield from _with_subclasses(subclass)
