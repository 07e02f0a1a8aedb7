"""Answers the common request before an ASGI application is asked.

Between a parsed request and its endpoint lie a task, a scope, messages, layers of middleware and
the router; together they take longer than decoding and the network do for a picture of the data
set. A request that is small, has arrived whole and asks for nothing special is answered here, by
the functions that the route uses. All others take the usual way, and so does whatever goes wrong:
an attempt that leads to no answer leaves no trace, and the usual way says what is the matter.
"""

from collections.abc import Mapping, Sequence

from starlette.datastructures import State

from service.admission import Admission, GiveWay
from service.api.headers import SECURITY_HEADERS
from service.api.pictures import Upload, media_type_of
from service.api.predict import SHORT_BODY_BYTES, classify
from service.keys import KeyRing
from service.lanes import Lanes
from service.observation import Observation
from service.observer import Observer
from service.repository import Repository
from service.settings import Settings

SHORT_WAY = "short_way"
"""Under which the application's lifespan hands it to the server's connections."""

_METHODS = {b"POST": "POST", b"PUT": "PUT"}
_PATH = "/predict"

_UNUSUAL = {
    b"content-encoding",
    b"expect",
    b"forwarded",
    b"transfer-encoding",
    b"upgrade",
    b"x-forwarded-for",
    b"x-request-timeout",
}
"""Headers with which a request asks for more than is done here."""

_FIXED_HEADERS = b"".join(
    f"{name.lower()}: {value}\r\n".encode()
    for name, value in {"Content-Type": "application/json", **SECURITY_HEADERS}.items()
)

Headers = Sequence[tuple[bytes, bytes]]


class ShortWay:
    """The route `/predict` without a query, for one worker."""

    def __init__(self, state: State) -> None:
        """Take what is needed from the state of an application."""
        self._settings: Settings = state.settings
        self._repository: Repository = state.repository
        self._admission: Admission = state.admission
        self._lanes: Lanes = state.lanes
        self._observer: Observer = state.observer
        self._keys: KeyRing | None = state.keys

    def takes(self, method: bytes, target: bytes, headers: Headers) -> bool:
        """Say whether a request may go this way once its body is there.

        Args:
            method: HTTP's.
            target: Path and query as sent.
            headers: With names in lower case.
        """
        if target != b"/predict" or method not in _METHODS:
            return False
        length = None
        for name, value in headers:
            if name in _UNUSUAL:
                return False
            if name == b"content-length":
                length = int(value)
        return length is not None and 0 < length <= SHORT_BODY_BYTES

    def answer(
        self, method: bytes, headers: Headers, body: bytes, client: tuple[str, int] | None
    ) -> tuple[bytes, bytes] | None:
        """Return headers and body of an answer with status 200, or None if there is to be another.

        Args:
            method: HTTP's, one that `takes` has let through.
            headers: With names in lower case.
            body: All of it.
            client: Address and port.

        Returns:
            The headers, each with its line end, and JSON.
        """
        sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        with self._observer.observe(sent) as seen:
            seen.finish("receive")
            try:
                document = self._predict(seen, sent, body)
            except (Exception, GiveWay):
                seen.abandon()
                return None
            seen.method, seen.target, seen.route, seen.status = _METHODS[method], _PATH, _PATH, 200
            if client is not None:
                seen.client = f"{client[0]}:{client[1]}"
            trace = f"traceresponse: {seen.traceresponse}\r\n" if seen.traceresponse else ""
            head = f"content-length: {len(document)}\r\nx-request-id: {seen.request_id}\r\n{trace}"
            return head.encode() + _FIXED_HEADERS, document

    def _predict(self, seen: Observation, sent: Mapping[str, str], body: bytes) -> bytes:
        if self._keys is not None:
            key = self._keys.identify(sent)
            key.require("predict")
            seen.key = key.name
        content_type = sent.get("content-type", "")
        upload = Upload(media_type_of(content_type), content_type, body)
        with self._admission.admit() as ticket:
            ticket.hold_bytes(len(body))
            ticket.start_clock(self._settings.deadline_seconds)
            classifier = self._repository.classifier()

            def job() -> bytes:
                return classify(upload, classifier, self._settings, "auto", None, ticket)

            return self._lanes.run_here(job, ticket)
