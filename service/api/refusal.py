"""Refuses long work on seeing the head of its request, before a byte of the body is kept.

Under overload most requests are refused. To have the application refuse them takes a good part of
a millisecond of the time in which others are answered, and the body, which comes right behind the
head, would be in memory by then.
"""

from collections.abc import Sequence
from typing import NamedTuple

from starlette.datastructures import State

from service.admission import Admission
from service.api.admission import DEADLINE_HEADER, deadline_seconds
from service.api.errors import error_document
from service.api.headers import SECURITY_HEADERS
from service.api.pictures import LONG_BODY_BYTES, media_type_of
from service.errors import Draining, Overloaded, RequestError
from service.keys import KeyRing
from service.lanes import Lanes
from service.observer import Observer
from service.settings import Settings

REFUSAL = "refusal"
"""Under which the application's lifespan hands it to the server's connections."""

_METHODS = {b"POST": "POST", b"PUT": "PUT"}
_ROUTES = {b"/predict": "/predict", b"/feature-maps": "/feature-maps"}


class Answer(NamedTuple):
    """A whole answer; `body` is JSON, and `refused_bytes` is how long the request's body is."""

    status: int
    headers: dict[str, str]
    body: bytes
    refused_bytes: int


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

    def answer(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        client: tuple[str, int] | None,
    ) -> Answer | None:
        """Return the answer to a request that is refused, or None if the application is to tell.

        Args:
            method: HTTP's.
            target: Path and query as sent.
            headers: With names in lower case.
            client: Address and port.
        """
        route = _ROUTES.get(target.partition(b"?")[0])
        if route is None or method not in _METHODS:
            return None
        sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        length = int(sent.get("content-length", 0))
        if not LONG_BODY_BYTES < length <= self._settings.max_body_bytes or "expect" in sent:
            return None
        try:
            error, key = self._error(sent)
        except RequestError:
            return None
        if error is None:
            return None
        with self._observer.observe(sent) as seen:
            seen.method, seen.route, seen.key = _METHODS[method], route, key
            seen.target = target.decode("ascii", "backslashreplace")
            seen.status, seen.rejected = error.status, error.code
            if client is not None:
                seen.client = f"{client[0]}:{client[1]}"
            body = error_document(error.code, str(error), seen.request_id)
            fields = {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "X-Request-ID": seen.request_id,
                **({"traceresponse": seen.traceresponse} if seen.traceresponse else {}),
                **error.headers,
                **SECURITY_HEADERS,
            }
        return Answer(error.status, fields, body, length)

    def _error(self, sent: dict[str, str]) -> tuple[RequestError | None, str]:
        """Return why the request is refused, if it is, and the name of its key."""
        media_type_of(sent.get("content-type", ""))
        name = ""
        if self._keys is not None:
            key = self._keys.identify(sent)
            key.require("predict")
            name = key.name
        seconds = deadline_seconds(
            sent.get(DEADLINE_HEADER.lower()), self._settings.deadline_seconds
        )
        try:
            with self._admission.admit():
                self._lanes.announce_long_job(seconds)
        except (Draining, Overloaded) as error:
            return error, name
        return None, name
