"""The fast path: small inference requests, answered in batches before ASGI is involved.

Once in a pass of the event loop the batcher takes requests of up to 32 images, decodes them, runs
the network once, and answers each. That is batching and fairness in one: nobody waits for a request
that has not arrived, under load the weights are fetched from memory once for many, and between two
batches the loop sees to everything else.

A request is read and answered by the functions that its route uses. A request that is unusual in
any way, or that fails, goes to the application, which answers it from the beginning: an attempt
here leaves no trace.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple, cast, get_args

import numpy as np
from starlette.datastructures import State

from service.arrays import Assessment, Pixels, Tensor
from service.capacity.admission import Admission, Deferred, Permit
from service.capacity.pools import Pools
from service.errors import RequestError
from service.http.dependencies import (
    JSON_LENGTH_HEADER,
    find_servable,
    find_version,
    read_json_length,
)
from service.http.inference import DEADLINE_HEADER, INLINE_BODY_BYTES
from service.http.messages import describe, reply
from service.http.predictions import check_top_k, list_predictions, write_predictions
from service.http.protocol import Reply, ServiceProtocol
from service.http.uploads import Upload, media_type_of, read_upload
from service.images.decode import ImageReader, Prepare
from service.keys import KeyRing
from service.model.classifier import Classifier
from service.model.repository import Repository
from service.protocols import open_inference, tf_serving
from service.protocols.inference import read_images, wants_layers, write_outputs
from service.settings import Settings
from service.telemetry.instrumentation import Instrumentation
from service.telemetry.record import Predictions

MAX_BATCH_IMAGES = 32
"""More at once gain the network nothing."""

_PROTOCOLS = (
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}/infer",
    "/v1/models/{name}:predict",
    "/v1/models/{name}/versions/{version}:predict",
    "/v1/models/{name}/labels/{label}:predict",
)
_PATTERNS = {
    # Names of characters that are never written in another way.
    route: re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[A-Za-z0-9._~-]+)", route))
    for route in _PROTOCOLS
}

_OPTIONS = {
    b"prepare": re.compile("|".join(get_args(Prepare)).encode()),
    b"top_k": re.compile(rb"[1-9][0-9]?"),
    b"version": re.compile(rb"[1-9][0-9]{0,8}"),
}
"""What the query of `/predict` may ask for here, each written in the plainest way."""

_UNUSUAL = {
    b"content-encoding",
    b"expect",
    b"forwarded",
    b"origin",
    b"transfer-encoding",
    b"upgrade",
    b"x-forwarded-for",
    DEADLINE_HEADER.lower().encode(),
}
"""Headers with which a request asks for more than is done here."""


class Match(NamedTuple):
    """The head of a small inference request.

    Attributes:
        route: Template of the path.
        names: What the path has in the places of the template.
        options: The query of `/predict`.
        headers: Names in lower case.
    """

    route: str
    names: Mapping[str, str]
    options: Mapping[bytes, str]
    headers: Mapping[str, str]


class _Waiting(NamedTuple):
    connection: ServiceProtocol
    cycle: Any
    match: Match
    permit: Permit

    def fall_back(self) -> None:
        """Leave the request to the application."""
        self.permit.__exit__()
        self.connection.fall_back(self.cycle)


class _Batch:
    """What the network says of the images of several requests."""

    def __init__(self, assessment: Assessment, classifier: Classifier) -> None:
        self._assessment = assessment
        self._classifier = classifier

    @cached_property
    def predictions(self) -> list[dict[str, Any]]:
        return list_predictions(self._assessment, self._classifier)

    def assessment(self, rows: slice) -> Assessment:
        probabilities, novelty = self._assessment
        return Assessment(probabilities[rows], None if novelty is None else novelty[rows])


class _Job(NamedTuple):
    """A request that has been read: either `pixels` or `tensor`, and how it is answered."""

    waiting: _Waiting
    classifier: Classifier
    pixels: Sequence[Pixels]
    tensor: Tensor | None
    write: Callable[[_Batch, slice], tuple[bytes, int | None]]

    @property
    def images(self) -> int:
        return len(self.pixels) if self.tensor is None else len(self.tensor)


class Batcher:
    """The fast path of one worker. See `protocol.Batcher`."""

    def __init__(self, state: State) -> None:
        """Take what is needed from the state of an application."""
        self._settings: Settings = state.settings
        self._repository: Repository = state.repository
        self._admission: Admission = state.admission
        self._pools: Pools = state.pools
        self._instrumentation: Instrumentation = state.instrumentation
        self._keys: KeyRing | None = state.keys
        self._queue: deque[_Waiting] = deque()
        self._is_flushing = False

    def match(self, scope: Any) -> Match | None:
        if scope["method"] != "POST" and scope["method"] != "PUT":
            return None
        fields = scope["headers"]
        headers = dict(fields)
        length = headers.get(b"content-length", b"0")
        if (
            len(length) > 5
            or not 0 < int(length) <= INLINE_BODY_BYTES
            or len(headers) < len(fields)  # One was sent twice.
            or not _UNUSUAL.isdisjoint(headers)
            or scope["http_version"] != "1.1"
            or scope["root_path"]
        ):
            return None
        found = _find_route(scope)
        if found is None:
            return None
        text = {k.decode("latin-1"): v.decode("latin-1") for k, v in fields}
        return Match(*found, text)

    def submit(self, connection: ServiceProtocol, cycle: Any, match: Match) -> None:
        record = self._instrumentation.begin(match.headers)
        try:
            permit = self._admission.admit(record, byte_count=len(cycle.body))
        except RequestError:
            connection.fall_back(cycle)
            return
        permit.__enter__()  # Until it is answered.
        permit.start_deadline(self._settings.deadline_seconds)
        record.record_phase("receive")
        self._queue.append(_Waiting(connection, cycle, match, permit))
        if len(self._queue) > 1:
            return  # The batch is due already.
        if len(connection.connections) == 1 and not self._is_flushing:
            self.flush()  # No other request can come.
        else:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        self._is_flushing = True
        jobs: dict[Classifier, list[_Job]] = {}
        images = 0
        while self._queue and images < MAX_BATCH_IMAGES:
            waiting = self._queue.popleft()
            try:
                job = self._read(waiting)
            except Exception:  # The application says what is wrong.
                waiting.fall_back()
            else:
                jobs.setdefault(job.classifier, []).append(job)
                images += job.images
        for classifier, some in jobs.items():
            self._answer(classifier, some)
        self._is_flushing = False
        if self._queue:
            asyncio.get_running_loop().call_soon(self.flush)

    def _read(self, waiting: _Waiting) -> _Job:
        match, permit = waiting.match, waiting.permit
        if self._keys is not None:
            key = self._keys.identify(match.headers)
            key.require("predict")
            permit.record.key = key.name
        read = partial(_READERS[match.route[:4]], waiting, self._repository)
        job = self._pools.run_inline(read, permit)
        permit.record.record_phase("prepare")
        return job

    def _answer(self, classifier: Classifier, jobs: list[_Job]) -> None:
        jobs.sort(key=lambda job: job.tensor is not None)  # As `_concatenate` has them.
        for job in jobs:
            job.waiting.permit.record.record_phase("queue")
        try:
            assessment = classifier.assess(_concatenate(classifier, jobs))
        except Exception:  # Each finds out in the application whether it is to blame.
            for job in jobs:
                job.waiting.fall_back()
            return
        manifest = classifier.manifest
        self._instrumentation.metrics.count_predictions(
            Predictions(manifest.version, manifest.class_names, *assessment)
        )
        batch = _Batch(assessment, classifier)
        end = 0
        for number, job in enumerate(jobs):
            rows = slice(end, end := end + job.images)
            record = job.waiting.permit.record
            record.record_run(job.images)
            record.executions = int(number == 0)  # It was one run for all.
            try:
                answer = self._finish(job, batch, rows)
            except Exception:  # The others are to have theirs.
                job.waiting.fall_back()
            else:
                job.waiting.permit.__exit__()
                job.waiting.connection.respond(job.waiting.cycle, answer)

    def _finish(self, job: _Job, batch: _Batch, rows: slice) -> Reply:
        body, json_length = job.write(batch, rows)
        record = job.waiting.permit.record
        record.record_phase("encode")
        describe(record, job.waiting.cycle.scope)
        record.route, record.status = job.waiting.match.route, 200
        self._instrumentation.end(record)
        if json_length is None:
            return reply(record, body)
        headers = {JSON_LENGTH_HEADER: str(json_length)}
        return reply(record, body, "application/octet-stream", headers)


def _concatenate(classifier: Classifier, jobs: Sequence[_Job]) -> Tensor:
    pixels = [image for job in jobs for image in job.pixels]
    tensors = [job.tensor for job in jobs if job.tensor is not None]
    if pixels:
        tensors.insert(0, classifier.to_images(pixels))
    return tensors[0] if len(tensors) == 1 else np.concatenate(tensors)


def _find_route(scope: Any) -> tuple[str, Mapping[str, str], Mapping[bytes, str]] | None:
    path, query = scope["path"], scope["query_string"]
    if path == "/predict":
        options = _read_query(query) if query else {}
        return None if options is None else (path, {}, options)
    if scope["method"] == "POST" and not query and path.startswith(("/v1/", "/v2/")):
        for route, pattern in _PATTERNS.items():
            if found := pattern.fullmatch(path):
                return route, found.groupdict(), {}
    return None


def _read_query(query: bytes) -> Mapping[bytes, str] | None:
    """Return what a query asks for, or None if it is not written in the plainest way."""
    options: dict[bytes, str] = {}
    for option in query.split(b"&"):
        name, _, value = option.partition(b"=")
        if name in options or name not in _OPTIONS or not _OPTIONS[name].fullmatch(value):
            return None
        options[name] = value.decode()
    return options


def _read_predict(waiting: _Waiting, repository: Repository) -> _Job:
    permit, body = waiting.permit, bytes(waiting.cycle.body)
    options, headers = waiting.match.options, waiting.match.headers
    version, top_k = (
        int(options[name]) if name in options else None for name in (b"version", b"top_k")
    )
    classifier = repository.classifier(version)
    check_top_k(top_k, classifier)
    permit.record.record_start(classifier.manifest.version)
    content_type = headers.get("content-type", "")
    upload = Upload(media_type_of(content_type), content_type, body)
    prepare = cast(Prepare, options.get(b"prepare", "auto"))
    images = read_upload(upload, ImageReader(prepare, classifier.manifest.input.size, permit))

    def write(batch: _Batch, rows: slice) -> tuple[bytes, None]:
        return write_predictions(batch.predictions[rows], images, classifier, top_k), None

    return _Job(waiting, classifier, [image.pixels for image in images], None, write)


def _read_inference(waiting: _Waiting, repository: Repository) -> _Job:
    permit, body = waiting.permit, bytes(waiting.cycle.body)
    headers = waiting.match.headers
    classifier = find_version(repository, **waiting.match.names)
    length = read_json_length(headers.get(JSON_LENGTH_HEADER.lower()))
    permit.record.record_start(classifier.manifest.version)
    message = open_inference.read_message(body, length, classifier, permit)
    if wants_layers(message.request):
        raise Deferred
    tensor = read_images(message.request, classifier, permit)

    def write(batch: _Batch, rows: slice) -> tuple[bytes, int | None]:
        outputs = write_outputs(message.request, batch.assessment(rows), {}, classifier)
        return open_inference.write_message(outputs, message, classifier.manifest)

    return _Job(waiting, classifier, (), tensor, write)


def _read_servable(waiting: _Waiting, repository: Repository) -> _Job:
    permit, body = waiting.permit, bytes(waiting.cycle.body)
    classifier = find_servable(repository, **waiting.match.names)
    permit.record.record_start(classifier.manifest.version)
    request = tf_serving.read_request(body, classifier, permit)
    if request.signature == "feature_maps":
        raise Deferred

    def write(batch: _Batch, rows: slice) -> tuple[bytes, None]:
        return tf_serving.write_assessment(request, batch.assessment(rows)), None

    return _Job(waiting, classifier, (), request.images, write)


_READERS = {"/pre": _read_predict, "/v2/": _read_inference, "/v1/": _read_servable}
