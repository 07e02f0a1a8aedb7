"""The fast path: small inference requests, answered in batches before ASGI is involved.

Each pass of the event loop takes queued requests of up to 32 images, decodes them, runs the network
once and responds. No request waits for one that has not arrived, requests share a run under load,
and the loop handles everything else between two batches.

The routes' own functions read the requests and write the responses. An unusual or failing request
goes to the application, which starts over; the attempt leaves no trace.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from pydantic import BaseModel
from starlette.datastructures import State
from starlette.routing import compile_path

from ..arrays import Assessment, Pixels, Tensor
from ..capacity.admission import Admission, Deferred, Permit
from ..capacity.pools import Pools
from ..capacity.scheduling import FairScheduler
from ..errors import Draining, Overloaded, RequestError
from ..keys import KeyRing
from ..model.classifier import Classifier
from ..model.repository import Repository
from ..protocols import open_inference, tf_serving
from ..protocols.inference import Answer, Read, prepare
from ..settings import Settings
from ..telemetry.instrumentation import Instrumentation
from ..telemetry.record import Predictions, RequestRecord
from .dependencies import JSON_LENGTH_HEADER, read_json_length
from .inference import (
    DEADLINE_HEADER,
    HOST,
    INLINE_BODY_BYTES,
    LARGE_BODY_BYTES,
    MAX_ITEMS,
    check_head,
    deadline_seconds,
)
from .messages import describe, error_body, reply
from .predictions import PredictOptions, list_predictions, write_predictions
from .protocol import Reply, ServiceProtocol
from .schemas import Liveness, Readiness
from .uploads import Upload, read_images

MAX_BATCH_IMAGES = 32  # Larger batches do not raise the network's throughput.

_IMAGE_ROUTES = {"/predict", "/feature-maps", "/preparation"}
_IMAGE_METHODS = {"POST", "PUT"}

_PATTERNS = {
    route: compile_path(route)[0]
    for route in (
        "/v2/models/{name}/infer",
        "/v2/models/{name}/versions/{version}/infer",
        "/v1/models/{name}:predict",
        "/v1/models/{name}/versions/{version}:predict",
        "/v1/models/{name}/labels/{label}:predict",
    )
}

_UNUSUAL = {
    *("content-encoding", "expect", "forwarded", "origin", "transfer-encoding", "upgrade"),
    *("x-forwarded-for", DEADLINE_HEADER.lower()),
}
"""Requests with these headers go to the application."""

_DEFAULTS = PredictOptions()


@dataclass(slots=True, eq=False)
class FastRequest:
    """A small inference request; `submit` and the reader set the remaining fields."""

    route: str
    names: Mapping[str, str]
    headers: Mapping[str, str]
    connection: ServiceProtocol = field(init=False)
    cycle: Any = field(init=False)  # uvicorn's, with scope and body
    permit: Permit = field(init=False)
    classifier: Classifier = field(init=False)
    pixels: Sequence[Pixels] = ()  # The images of `/predict`.
    tensor: Tensor | None = None  # Those of a protocol: (n, height, width, 1) float32.
    count: int = field(init=False)
    write: Callable[[Assessment, Sequence[dict[str, Any]]], Answer] = field(init=False)

    def fall_back(self) -> None:
        """Leave the request to the application."""
        self.permit.__exit__()
        self.connection.fall_back(self.cycle)


class Batcher:
    """The fast path of one worker; implements `protocol.FastPath`."""

    def __init__(self, state: State) -> None:
        self._settings: Settings = state.settings
        self._repository: Repository = state.repository
        self._admission: Admission = state.admission
        self._pools: Pools = state.pools
        self._instrumentation: Instrumentation = state.instrumentation
        self._keys: KeyRing | None = state.keys
        self.receive_seconds = self._settings.receive_seconds
        self.send_seconds = self._settings.send_seconds
        self.scheduler = FairScheduler()
        self._queue: deque[FastRequest] = deque()
        self._is_flushing = False

    def match(self, scope: Any) -> FastRequest | Reply | None:
        fields = scope["headers"]
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in fields}
        digits = headers.get("content-length", "0")
        is_plain = len(headers) == len(fields) <= MAX_ITEMS and len(digits) <= 20  # As 2**64 has.
        if scope["root_path"] or not is_plain or not HOST.fullmatch(headers.get("host", "")):
            return None
        length = int(digits)
        if rejection := self.reject(scope, headers, length):
            return rejection
        if scope["method"] == "GET":
            return self._health(scope, headers) if "origin" not in headers else None
        found = _find_route(scope)
        if (
            found is None
            or not 0 < length <= INLINE_BODY_BYTES
            or not _UNUSUAL.isdisjoint(headers)
            or scope["http_version"] != "1.1"
        ):
            return None
        return FastRequest(*found, headers)

    def reject(self, scope: Any, headers: Mapping[str, str], length: int) -> Reply | None:
        """Return the application's response to a large request that it would reject, unread."""
        if scope["path"] not in _IMAGE_ROUTES or scope["method"] not in _IMAGE_METHODS:
            return None
        if length <= LARGE_BODY_BYTES or "expect" in headers or "origin" in headers:
            return None
        key = ""
        try:
            check_head(headers, self._settings.max_body_bytes)
            key = self._check_key(headers)
            seconds = deadline_seconds(headers, self._settings.deadline_seconds)
            self._admission.check()
            self._pools.check_large_job(seconds)
        except (Draining, Overloaded) as error:
            record = self._instrumentation.begin(headers)
            record.key = key
            body = error_body(scope["path"], record, error.code, str(error))
            self._end(record, scope, scope["path"], error.status)
            return reply(record, body, headers=error.headers)
        except RequestError:
            pass  # The application reports the error.
        return None

    def _health(self, scope: Any, headers: Mapping[str, str]) -> Reply | None:
        """Answer health probes ahead of the requests that wait for the application."""
        path, worker = scope["path"], self._instrumentation.metrics.worker
        if path == "/livez":
            body: BaseModel = Liveness(status="live", worker=worker)
        elif path == "/readyz" and self._repository.is_ready and self._admission.is_open:
            body = Readiness.of(self._repository.classifier(), worker)
        else:
            return None
        record = self._instrumentation.begin(headers)
        self._end(record, scope, path)
        return reply(record, body.model_dump_json().encode())

    def _check_key(self, headers: Mapping[str, str]) -> str:
        """Return the name of the client's key; raises Unauthenticated or Forbidden."""
        if self._keys is None:
            return ""
        key = self._keys.identify(headers)
        key.require("predict")
        return key.name

    def _end(self, record: RequestRecord, scope: Any, route: str, status: int = 200) -> None:
        describe(record, scope)
        record.route, record.status = route, status
        self._instrumentation.end(record)

    def submit(self, connection: ServiceProtocol, cycle: Any, request: FastRequest) -> None:
        record = self._instrumentation.begin(request.headers)
        try:
            begin = cycle.scope["state"]["body_begins"]
            permit = self._admission.admit(record, byte_count=len(cycle.body), begin=begin)
        except RequestError:
            connection.fall_back(cycle)
            return
        permit.__enter__()  # Held until the response.
        permit.start_deadline(self._settings.deadline_seconds)
        record.record_phase("receive")
        request.connection, request.cycle, request.permit = connection, cycle, permit
        self._queue.append(request)
        if len(self._queue) > 1:
            return  # A flush is already scheduled.
        if len(connection.connections) == 1 and not self._is_flushing:
            self.flush()  # No other client could join the batch.
        else:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        self._is_flushing = True
        batches: dict[Classifier, list[FastRequest]] = {}
        images = 0
        while self._queue and images < MAX_BATCH_IMAGES:
            request = self._queue.popleft()
            try:
                self._read(request)
            except Exception:  # The application reports the error.
                images += 1  # A failed read costs about as much time as an image.
                request.fall_back()
            else:
                images += request.count
                batches.setdefault(request.classifier, []).append(request)
        for classifier, requests in batches.items():
            self._answer(classifier, requests)
        self._is_flushing = False
        if self._queue:
            asyncio.get_running_loop().call_soon(self.flush)

    def _read(self, request: FastRequest) -> None:
        request.permit.record.key = self._check_key(request.headers)
        read = partial(_READERS[request.route[:4]], request, self._repository)
        self._pools.run_inline(read, request.permit)

    def _answer(self, classifier: Classifier, requests: list[FastRequest]) -> None:
        requests.sort(key=lambda request: not request.pixels)  # The order of `_concatenate`.
        for request in requests:
            request.permit.record.record_phase("queue")
        try:
            assessment = classifier.assess(_concatenate(classifier, requests))
        except Exception:  # The application runs each alone, so only the faulty ones fail.
            for request in requests:
                request.fall_back()
            return
        version, names = classifier.manifest.version, classifier.manifest.class_names
        self._instrumentation.metrics.count_predictions(Predictions(version, names, *assessment))
        count = sum(len(request.pixels) for request in requests)  # Only of `/predict`.
        predictions = list_predictions(assessment, classifier, count)
        probabilities, novelty = assessment
        done, end = [], 0
        for number, request in enumerate(requests):
            rows = slice(end, end := end + request.count)
            record = request.permit.record
            record.record_run(request.count)
            record.batch = sum(r.count for r in requests) if number == 0 else 0  # One run for all.
            try:
                own = Assessment(probabilities[rows], None if novelty is None else novelty[rows])
                body, length = request.write(own, predictions[rows])
                done.append((request, self._finish(request, body, length)))
            except Exception:  # One failure must not take the other responses along.
                request.fall_back()
        for request, answer in done:  # In a burst, as each write may wake up a client.
            request.permit.__exit__()
            request.connection.respond(request.cycle, answer)

    def _finish(self, request: FastRequest, body: bytes, json_length: int | None) -> Reply:
        record = request.permit.record
        record.record_phase("encode")
        self._end(record, request.cycle.scope, request.route)
        if json_length is None:
            return reply(record, body)
        headers = {JSON_LENGTH_HEADER: str(json_length)}
        return reply(record, body, "application/octet-stream", headers)


def _concatenate(classifier: Classifier, requests: Sequence[FastRequest]) -> Tensor:
    pixels = [image for request in requests for image in request.pixels]
    tensors = [request.tensor for request in requests if request.tensor is not None]
    if pixels:
        tensors.insert(0, classifier.to_images(pixels))
    return tensors[0] if len(tensors) == 1 else np.concatenate(tensors)


def _find_route(scope: Any) -> tuple[str, Mapping[str, str]] | None:
    method, path = scope["method"], scope["path"]
    if path == "/predict":
        return (path, {}) if method in _IMAGE_METHODS else None
    if method == "POST" and not scope["query_string"] and path.startswith(("/v1/", "/v2/")):
        for route, pattern in _PATTERNS.items():
            if found := pattern.match(path):
                return route, found.groupdict()
    return None


def _read_predict(request: FastRequest, repository: Repository) -> None:
    permit, options = request.permit, _DEFAULTS
    if query := request.cycle.scope["query_string"]:
        given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
        options = PredictOptions.model_validate(given)
    content_type = request.headers.get("content-type", "")
    upload = Upload(content_type, bytes(request.cycle.body), permit.limits.max_images)
    read = read_images(upload, options, repository, permit)
    request.classifier = read.classifier
    request.pixels, request.count = [image.pixels for image in read.images], len(read.images)
    permit.record.record_phase("prepare")
    request.write = lambda _, predictions: (
        write_predictions(predictions, read.images, read.classifier, read.options.top_k),
        None,
    )


def _read_inference(request: FastRequest, repository: Repository) -> None:
    length = read_json_length(request.headers.get(JSON_LENGTH_HEADER.lower()))
    name, body = request.names["name"], bytes(request.cycle.body)
    read = partial(open_inference.read, name, body, length)
    _read_tensor(request, read, repository.find(**request.names))


def _read_servable(request: FastRequest, repository: Repository) -> None:
    read = partial(tf_serving.read, bytes(request.cycle.body))
    _read_tensor(request, read, repository.find_servable(**request.names))


def _read_tensor(request: FastRequest, read: Read[Answer], classifier: Classifier) -> None:
    prepared = prepare(read, classifier, request.permit)
    if prepared.needs_layers:
        raise Deferred
    request.classifier, request.tensor = classifier, prepared.images
    request.count = len(prepared.images)
    request.write = lambda assessment, _: prepared.write(assessment, {})


_READERS = {"/pre": _read_predict, "/v2/": _read_inference, "/v1/": _read_servable}
