"""Refuses long work on seeing the head of its request, before a byte of the body is kept.

Under overload most requests are refused. To have the application refuse them takes a good part of
a millisecond of the time in which others are answered, and the body, which comes right behind the
head, would be in memory by then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from starlette.datastructures import State

from service.capacity.admission import Admission
from service.http.admission import DEADLINE_HEADER, deadline_seconds
from service.http.body import check_announced
from service.http.errors import error_document
from service.http.headers import SECURITY_HEADERS
from service.http.observation import HEADER
from service.http.pictures import LONG_BODY_BYTES, media_type_of
from service.errors import Draining, Overloaded, RequestError
from service.keys import KeyRing
from service.capacity.pools import Lanes
from service.telemetry.record import current
from service.telemetry.instrumentation import Observer
from service.settings import Settings

REFUSAL = "refusal"
"""Under which the application's lifespan hands it to the server's connections."""

_METHODS = {b"POST": "POST", b"PUT": "PUT"}
_ROUTES = {b"/predict": "/predict", b"/feature-maps": "/feature-maps"}


def _fields(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


_COMMON_FIELDS = _fields({"Content-Type": "application/json", **SECURITY_HEADERS})


class Answer(NamedTuple):
    """An answer: header fields, each with its end of line; JSON; is the connection closed then."""

    status: int
    fields: bytes
    body: bytes
    is_last: bool


@dataclass(frozen=True, slots=True)
class LongRequest:
    """What the head of a request says that may be refused, but for the length of its body.

    Attributes:
        method: HTTP's.
        target: Path and query as sent.
        route: Template of the path.
        sent: Its headers, names in lower case.
        key: Name of the API key it was sent with, or empty.
        seconds: How long it may take.
    """

    method: str
    target: str
    route: str
    sent: Mapping[str, str]
    key: str
    seconds: float


class Refusal:
    """What becomes of requests with pictures that are long, for one worker."""

    def __init__(self, state: State) -> None:
        """Take what is needed from the state of an application."""
        self._settings: Settings = state.settings
        self._admission: Admission = state.admission
        self._lanes: Lanes = state.lanes
        self._observer: Observer = state.observer
        self._keys: KeyRing | None = state.keys

    @property
    def is_likely(self) -> bool:
        """Whether it is worth asking for an answer."""
        return self._lanes.has_long_jobs or not self._admission.is_open

    @property
    def receive_seconds(self) -> float:
        """How long a body may take that nobody reads."""
        return self._settings.receive_seconds

    def read(
        self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]
    ) -> tuple[LongRequest, int] | None:
        """Return the head of a request, and the length of its body in bytes.

        It is None if nothing of the kind is refused here, or the application has another error.

        Args:
            method: HTTP's.
            target: Path and query as sent.
            headers: With names in lower case.
        """
        route = _ROUTES.get(target.partition(b"?")[0])
        if route is None or method not in _METHODS:
            return None
        sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        size = int(sent.get("content-length", 0))
        if not self._may_refuse(size) or "expect" in sent:
            return None
        try:
            media_type_of(sent.get("content-type", ""))
            check_announced(sent, self._settings.max_body_bytes)
            key = self._key_of(sent)
            asked = sent.get(DEADLINE_HEADER.lower())
            seconds = deadline_seconds(asked, self._settings.deadline_seconds)
        except RequestError:
            return None
        target_text = target.decode("ascii", "backslashreplace")
        request = LongRequest(_METHODS[method], target_text, route, sent, key, seconds)
        return request, size

    def _may_refuse(self, size: int) -> bool:
        # What is not long may be done at once, and what is too large is told so.
        return LONG_BODY_BYTES < size <= self._settings.max_body_bytes

    def _key_of(self, sent: Mapping[str, str]) -> str:
        if self._keys is None:
            return ""
        key = self._keys.identify(sent)
        key.require("predict")
        return key.name

    def answer(
        self, request: LongRequest, size: int, client: tuple[str, int] | None
    ) -> Answer | None:
        """Return the answer to a request that is refused, or None if the application is to tell.

        Args:
            request: Of this service's keys.
            size: Length of its body, in bytes.
            client: Address and port.
        """
        if not self._may_refuse(size):
            return None
        error = self._error(request.seconds)
        if error is None:
            return None
        seen = self._observer.begin(request.sent)
        seen.method, seen.route, seen.key = request.method, request.route, request.key
        seen.target = request.target
        seen.status, seen.rejected = error.status, error.code
        if client is not None:
            seen.client = f"{client[0]}:{client[1]}"
        body = error_document(error.code, str(error), seen.request_id)
        headers = dict(error.headers)
        is_last = headers.pop("Connection", "") == "close"
        headers["Content-Length"] = str(len(body))
        headers[HEADER] = seen.request_id
        if seen.traceresponse:
            headers["traceresponse"] = seen.traceresponse
        fields = _fields(headers) + _COMMON_FIELDS
        token = current.set(seen)
        self._observer.end(seen)
        current.reset(token)
        return Answer(error.status, fields, body, is_last)

    def _error(self, seconds: float) -> RequestError | None:
        """Return why a request is refused, if it is."""
        try:
            self._admission.check()
            self._lanes.announce_long_job(seconds)
        except (Draining, Overloaded) as error:
            return error
        return None
