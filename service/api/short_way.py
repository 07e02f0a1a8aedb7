"""Answers the common request before an ASGI application is asked.

Between a parsed request and its endpoint lie a task, a scope, messages, layers of middleware and
the router; together they take longer than decoding and the network do for a picture of the data
set. A request that is small, has arrived whole and asks for nothing special is answered here, by
the functions that its route uses. All others take the usual way, and so does whatever goes wrong:
an attempt that leads to no answer leaves no trace, and the usual way says what is the matter.

What has arrived for `/predict` by the time the event loop has looked at all its connections goes
through the network together: nobody waits for anybody who is not there, and under load the
network's weights are fetched from memory once for many.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from starlette.datastructures import State

from service.admission import Admission, GiveWay, Ticket
from service.api.headers import SECURITY_HEADERS
from service.api.heads import PREDICT, Head
from service.api.open_inference import JSON_LENGTH_HEADER
from service.api.pictures import Upload, decode
from service.api.predictions import write_answer, write_predictions
from service.api.short_protocols import answer
from service.classifier import Classifier
from service.images import PreparedImage
from service.keys import KeyRing
from service.lanes import Lanes
from service.observation import Observation, begin, current
from service.observer import Observer
from service.repository import Repository
from service.settings import Settings

SHORT_WAY = "short_way"
"""Under which the application's lifespan hands it to the server's connections."""

MOST_TOGETHER = 32
"""Images from which on nobody else is waited for: from here on the network gains nothing."""

_JSON = "application/json"

_FIXED_HEADERS = b"".join(
    f"{name.lower()}: {value}\r\n".encode() for name, value in SECURITY_HEADERS.items()
)


class Asker(Protocol):
    """A connection that waits for an answer."""

    client: tuple[str, int] | None
    """Address and port."""

    def take_answer(self, headers: bytes, body: bytes) -> None:
        """Be answered with status 200.

        Args:
            headers: Each with its line end.
            body: As they say.
        """

    def take_usual_way(self) -> None:
        """Be told that there is no answer here."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request whose pictures are decoded."""

    asker: Asker
    head: Head
    seen: Observation
    ticket: Ticket
    images: list[PreparedImage]

    def leave(self, answer: tuple[bytes, bytes] | None) -> None:
        """Give the place back, and tell the asker."""
        self.ticket.__exit__()
        if answer is None:
            self.asker.take_usual_way()
        else:
            self.asker.take_answer(*answer)


class ShortWay:
    """The routes that classify, without a query, for one worker."""

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
        self._classifier: Classifier | None = None
        """Of those who wait."""

    def ask(self, asker: Asker, head: Head, body: bytes) -> bool:
        """Take a request in; return whether its asker will be told of an answer.

        Args:
            asker: Will be told before the event loop looks at its connections again.
            head: Of the request.
            body: All of it.
        """
        seen = self._observer.begin(head.sent)
        token = current.set(seen)
        written: tuple[bytes, bytes] | None = None
        try:
            if head.route == PREDICT:
                self._take_in(asker, head, body, seen)
            else:
                written = self._answer_protocol(asker, head, body, seen)
        except (Exception, GiveWay):
            return False
        finally:
            current.reset(token)
        if written is not None:
            asker.take_answer(*written)
        elif self._images >= MOST_TOGETHER:
            self.answer()
        elif len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self.answer)
        return True

    def _answer_protocol(
        self, asker: Asker, head: Head, body: bytes, seen: Observation
    ) -> tuple[bytes, bytes]:
        with self._admit(head, seen) as ticket:
            self._start(ticket, body)
            job = partial(answer, head, body, self._repository, self._settings, ticket)
            found = self._lanes.run_here(job, ticket)
        more = ""
        if found.json_length is not None:
            more = f"{JSON_LENGTH_HEADER.lower()}: {found.json_length}\r\n"
        return self._finish(asker, head, seen, found.body, found.media_type, more)

    def _admit(self, head: Head, seen: Observation) -> Ticket:
        seen.finish("receive")
        if self._keys is not None:
            key = self._keys.identify(head.sent)
            key.require("predict")
            seen.key = key.name
        return self._admission.admit()

    def _start(self, ticket: Ticket, body: bytes) -> None:
        ticket.hold_bytes(len(body))
        ticket.start_clock(self._settings.deadline_seconds)

    def _take_in(self, asker: Asker, head: Head, body: bytes, seen: Observation) -> None:
        with self._admit(head, seen) as ticket:
            self._start(ticket, body)
            classifier = self._repository.classifier()
            upload = Upload(head.media_type, head.content_type, body)
            images = self._lanes.run_here(
                lambda: self._read(upload, classifier, ticket, seen), ticket
            )
            if classifier is not self._classifier:
                self.answer()
                self._classifier = classifier
            self._waiting.append(_Waiting(asker, head, seen, ticket, images))
            self._images += len(images)
            ticket.__enter__()  # Until it is answered.

    def _read(
        self, upload: Upload, classifier: Classifier, ticket: Ticket, seen: Observation
    ) -> list[PreparedImage]:
        begin(classifier)
        images = decode(
            upload, prepare="auto", classifier=classifier, settings=self._settings, ticket=ticket
        )
        seen.finish("prepare")
        ticket.check()
        return images

    def answer(self) -> None:
        """Answer all who wait."""
        waiting, classifier = self._waiting, self._classifier
        self._waiting, self._images, self._classifier = [], 0, None
        if classifier is None:
            return
        for one in waiting:
            one.seen.finish("queue")
        images = [image for one in waiting for image in one.images]
        try:
            assessment = classifier.assess([image.pixels for image in images])
            for one in waiting:
                one.seen.leave_network(len(one.images))
            predictions = write_predictions(images, assessment, classifier)
        except Exception:  # Each finds out for itself whether it is to blame.
            for one in waiting:
                one.leave(None)
            return
        for one in waiting[1:]:
            one.seen.executions = 0  # It was the same run.
        manifest = classifier.manifest
        self._observer.metrics.count_predictions(
            manifest.version, manifest.class_names, *assessment
        )
        end = 0
        for one in waiting:
            own = predictions[end : (end := end + len(one.images))]
            token = current.set(one.seen)
            try:
                content = write_answer(own, classifier)
                answer = self._finish(one.asker, one.head, one.seen, content)
            except Exception:  # The others are to have theirs.
                answer = None
            finally:
                current.reset(token)
            one.leave(answer)

    def _finish(
        self,
        asker: Asker,
        head: Head,
        seen: Observation,
        body: bytes,
        media_type: str = _JSON,
        more: str = "",
    ) -> tuple[bytes, bytes]:
        """Count a request and return the headers of its answer with the body."""
        seen.method, seen.target, seen.route, seen.status = (
            head.method,
            head.target,
            head.route,
            200,
        )
        if asker.client is not None:
            seen.client = "{}:{}".format(*asker.client)
        self._observer.end(seen)
        trace = f"traceresponse: {seen.traceresponse}\r\n" if seen.traceresponse else ""
        fields = (
            f"content-length: {len(body)}\r\ncontent-type: {media_type}\r\n{more}"
            f"x-request-id: {seen.request_id}\r\n{trace}"
        )
        return fields.encode() + _FIXED_HEADERS, body
