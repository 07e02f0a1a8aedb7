"""Answers the common request before an ASGI application is asked.

Between a parsed request and its endpoint lie a task, a scope, messages, layers of middleware and
the router; together they take longer than decoding and the network do for a picture of the data
set. A request that is small, has arrived whole and asks for nothing special is answered here, by
the functions that its route uses. All others take the usual way, and so does whatever goes wrong:
an attempt that leads to no answer leaves no trace, and the usual way says what is the matter.

What has arrived by the time the event loop has looked at all its connections goes through the
network together. Nobody waits for anybody who is not there, whoever is alone is answered at once,
and under load the network's weights are fetched from memory once for many.
"""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import NamedTuple, Protocol

from starlette.datastructures import State

from service.capacity.admission import Admission, GiveWay, Ticket
from service.http.batches import MOST_TOGETHER, Answer, PictureRequest, TensorRequest, run_together
from service.http.headers import SECURITY_HEADERS
from service.http.heads import PREDICT, Head
from service.http.open_inference import JSON_LENGTH_HEADER
from service.http.pictures import Upload, decode
from service.http.predict import check_top_k
from service.http.short_protocols import read
from service.keys import KeyRing
from service.capacity.pools import Lanes
from service.telemetry.record import Observation, begin, current
from service.telemetry.instrumentation import Observer
from service.model.repository import Repository
from service.settings import Settings

SHORT_WAY = "short_way"
"""Under which the application's lifespan hands it to the server's connections."""

_FIXED_HEADERS = b"".join(
    f"{name.lower()}: {value}\r\n".encode() for name, value in SECURITY_HEADERS.items()
)


class Asker(Protocol):
    """A connection that waits for an answer."""

    client: tuple[str, int] | None
    """Address and port."""

    @property
    def is_alone(self) -> bool:
        """Whether there is no other connection."""

    def take_answer(self, headers: bytes, body: bytes) -> None:
        """Be answered with status 200.

        Args:
            headers: Each with its line end.
            body: As they say.
        """

    def take_usual_way(self) -> None:
        """Be told that there is no answer here."""


class _Waiting(NamedTuple):
    """A request that is read."""

    asker: Asker
    head: Head
    seen: Observation
    ticket: Ticket
    request: PictureRequest | TensorRequest

    def leave(self, answer: tuple[bytes, bytes] | None) -> None:
        """Give the place back, and tell the asker."""
        self.ticket.__exit__()
        if answer is None:
            self.asker.take_usual_way()
        else:
            self.asker.take_answer(*answer)


class ShortWay:
    """The routes that classify, for one worker."""

    def __init__(self, state: State) -> None:
        """Take what is needed from the state of an application."""
        self._settings: Settings = state.settings
        self._repository: Repository = state.repository
        self._admission: Admission = state.admission
        self._lanes: Lanes = state.lanes
        self._observer: Observer = state.observer
        self._keys: KeyRing | None = state.keys
        self._waiting: list[_Waiting] = []
        self._images = 0

    def ask(self, asker: Asker, head: Head, body: bytes) -> bool:
        """Take a request in; return whether its asker will be told of an answer.

        Args:
            asker: Will be told before the event loop looks at its connections again.
            head: Of the request.
            body: All of it.
        """
        seen = self._observer.begin(head.sent)
        token = current.set(seen)
        try:
            self._take_in(asker, head, body, seen)
        except (Exception, GiveWay):
            return False
        finally:
            current.reset(token)
        if self._images >= MOST_TOGETHER or asker.is_alone:
            self.answer()
        elif len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self.answer)
        return True

    def _take_in(self, asker: Asker, head: Head, body: bytes, seen: Observation) -> None:
        seen.finish("receive")
        if self._keys is not None:
            key = self._keys.identify(head.sent)
            key.require("predict")
            seen.key = key.name
        with self._admission.admit(byte_count=len(body)) as ticket:
            ticket.start_clock(self._settings.deadline_seconds)
            reading = partial(self._read, head, body, ticket)
            request = self._lanes.run_here(reading, ticket)
            seen.finish("prepare")
            self._waiting.append(_Waiting(asker, head, seen, ticket, request))
            self._images += len(request.images)
            ticket.__enter__()  # Until it is answered.

    def _read(self, head: Head, body: bytes, ticket: Ticket) -> PictureRequest | TensorRequest:
        if head.route != PREDICT:
            return read(head, body, self._repository, self._settings, ticket)
        prepare, top_k, version = head.options
        classifier = self._repository.classifier(version)
        check_top_k(top_k, classifier)
        begin(classifier)
        upload = Upload(head.media_type, head.content_type, body)
        images = decode(
            upload, prepare=prepare, classifier=classifier, settings=self._settings, ticket=ticket
        )
        ticket.check()
        return PictureRequest(classifier, images, top_k)

    def answer(self) -> None:
        """Answer all who wait."""
        waiting, self._waiting, self._images = self._waiting, [], 0
        together: dict[object, list[_Waiting]] = {}
        for one in waiting:
            kind = type(one.request), one.request.classifier
            together.setdefault(kind, []).append(one)
        for some in together.values():
            self._answer_together(some)

    def _answer_together(self, waiting: list[_Waiting]) -> None:
        for one in waiting:
            one.seen.finish("queue")
        try:
            assessment, answer_to = run_together([one.request for one in waiting])
        except Exception:  # Each finds out for itself whether it is to blame.
            for one in waiting:
                one.leave(None)
            return
        for one in waiting:
            one.seen.leave_network(len(one.request.images))
        for one in waiting[1:]:
            one.seen.executions = 0  # It was the same run.
        manifest = waiting[0].request.classifier.manifest
        self._observer.metrics.count_predictions(
            manifest.version, manifest.class_names, *assessment
        )
        end = 0
        for number, one in enumerate(waiting):
            rows = slice(end, end := end + len(one.request.images))
            token = current.set(one.seen)
            try:
                answer = self._finish(one, answer_to(number, rows))
            except Exception:  # The others are to have theirs.
                answer = None
            finally:
                current.reset(token)
            one.leave(answer)

    def _finish(self, one: _Waiting, answer: Answer) -> tuple[bytes, bytes]:
        """Count a request and return the headers of its answer with the body."""
        head, seen = one.head, one.seen
        seen.method, seen.target, seen.route = head.method, head.target, head.route
        seen.status = HTTPStatus.OK
        if one.asker.client is not None:
            seen.client = "{}:{}".format(*one.asker.client)
        self._observer.end(seen)
        length, trace = "", ""
        if answer.json_length is not None:
            length = f"{JSON_LENGTH_HEADER.lower()}: {answer.json_length}\r\n"
        if seen.traceresponse:
            trace = f"traceresponse: {seen.traceresponse}\r\n"
        fields = (
            f"content-length: {len(answer.body)}\r\ncontent-type: {answer.media_type}\r\n{length}"
            f"x-request-id: {seen.request_id}\r\n{trace}"
        )
        return fields.encode() + _FIXED_HEADERS, answer.body
