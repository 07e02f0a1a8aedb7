"""The errors that the service raises on purpose; messages say what is wrong and where."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

INTERNAL_ERROR = "internal error; the service's log has the details"

_MAX_MESSAGE_LENGTH = 1000  # characters, because gRPC limits messages
_RETRY = {"Retry-After": "1"}
_CLOSE = {"Connection": "close"}


class ArtifactError(Exception):
    """A model directory that must not be served: missing, incomplete, altered, or unusable."""


class StoreError(ArtifactError):
    """A store of models that cannot be listed or read; a retry may succeed."""


class StartError(Exception):
    """A reason other than the model why the process cannot serve."""


class RequestError(Exception):
    """A rejected request; the client gets `status`, `code` and `headers`."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "invalid_request"
    headers: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(
        cls, code: str, status: int = 400, headers: Mapping[str, str] = {}
    ) -> None:
        cls.status, cls.code, cls.headers = status, code, headers

    def __init__(self, message: str) -> None:
        if len(message) > _MAX_MESSAGE_LENGTH:
            half = _MAX_MESSAGE_LENGTH // 2
            message = f"{message[:half]}…{message[-half:]}"
        super().__init__(message)

    def at(self, place: str) -> Self:
        """Return the same error, its message prefixed with a place in the request."""
        return type(self)(f"{place}: {self}")


class Unauthenticated(
    RequestError, status=401, code="unauthenticated", headers={"WWW-Authenticate": "Bearer"}
):
    """A request without an API key, or with one that is not accepted."""


class Forbidden(RequestError, status=403, code="forbidden"):
    """An API key that does not allow what the request asks for."""


class InvalidParameter(RequestError, code="invalid_parameter"):
    """A query parameter or form field that is unknown or out of range."""

    @classmethod
    def first(cls, errors: Sequence[Any]) -> Self:
        """Return the first of the errors that pydantic lists."""
        return cls(f"{errors[0]['loc'][-1]}: {errors[0]['msg']}")


class EmptyBody(RequestError, code="empty_body"):
    """A request, file or part with nothing in it."""


class InvalidEncoding(RequestError, code="invalid_encoding"):
    """A body that is not compressed as its headers declare."""


class InvalidJSON(RequestError, code="invalid_json"):
    """A body that is not valid JSON, or nests too deeply."""


class InvalidInstances(RequestError, code="invalid_instances"):
    """JSON whose instances are not images: wrong shape, not numbers, or outside 0…255."""


class InvalidMultipart(RequestError, code="invalid_multipart"):
    """A form that breaks the multipart format or carries something other than files."""


class InvalidImage(RequestError, code="invalid_image"):
    """Bytes that are not an image of an accepted format."""


class InvalidTensor(RequestError, code="invalid_tensor"):
    """A tensor whose name, datatype, shape, byte count or values the model cannot take."""


class InvalidInference(RequestError, code="invalid_inference"):
    """A request of an inference protocol that breaks the protocol's form."""


class UnknownModel(RequestError, status=404, code="unknown_model"):
    """A model that is not the one being served."""


class UnknownVersion(RequestError, status=404, code="unknown_version"):
    """A version or label that is not being served."""


class UnknownLayer(RequestError, status=404, code="unknown_layer"):
    """A layer that the network does not have."""


class NotAcceptable(RequestError, status=406, code="not_acceptable"):
    """An Accept header that allows none of the available formats."""


class RequestTimeout(RequestError, status=408, code="request_timeout", headers=_CLOSE):
    """A body that takes longer than `receive_seconds` to arrive."""


class BodyTooLarge(RequestError, status=413, code="body_too_large"):
    """A body of more bytes than `max_body_bytes`, or in more pieces than `max_chunks`."""


class ImageTooLarge(RequestError, status=413, code="image_too_large"):
    """An image of more pixels than `max_pixels` or than memory allows, or with too long a side."""


class TooManyImages(RequestError, status=413, code="too_many_images"):
    """More images in one request than `max_images`."""


class AnswerTooLarge(RequestError, status=413, code="answer_too_large"):
    """Layer outputs for more images than one answer may hold."""


class UnsupportedMediaType(RequestError, status=415, code="unsupported_media_type"):
    """A Content-Type or Content-Encoding the route does not read."""


class NotReady(RequestError, status=503, code="not_ready", headers=_RETRY):
    """No version of the model is being served: it is still being loaded, or was unloaded."""


class Overloaded(RequestError, status=503, code="overloaded", headers=_RETRY):
    """More requests in flight than the service accepts."""


class Draining(RequestError, status=503, code="draining", headers=_RETRY | _CLOSE):
    """A request that arrives while the process drains."""


class DeadlineExceeded(RequestError, status=504, code="deadline_exceeded"):
    """An answer that was not ready in time."""


def require(user: str, package: str, extras: str, *modules: str) -> None:
    """Raise ArtifactError if a module is missing that only some installations need."""
    if not all(map(importlib.util.find_spec, modules)):
        reason = f"which is not installed: it comes with the {extras}"
        raise ArtifactError(f"{user} needs {package}, {reason}")


def error_codes() -> list[str]:
    """Return the codes of all request errors."""
    return sorted({RequestError.code, *(error.code for error in RequestError.__subclasses__())})
