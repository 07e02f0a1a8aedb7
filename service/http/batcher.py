"""The fast path: small inference requests, answered in batches before ASGI is involved.

Each pass of the event loop takes queued requests of up to 32 images, decodes them, runs the network
once and responds. No request waits for one that has not arrived, requests share a run under load,
and the loop handles everything else between two batches.

The routes' own functions read the requests and write the responses. An unusual or failing request
goes to the application, which starts over; the attempt leaves no trace.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast, get_args

import numpy as np
from pydantic import BaseModel
from starlette.datastructures import State

from ..arrays import Assessment, Pixels, Tensor
from ..capacity.admission import Admission, Deferred, Permit
from ..capacity.pools import Pools
from ..capacity.turns import Turns
from ..errors import RequestError
from ..images.decode import ImageReader, Prepare
from ..keys import KeyRing
from ..model.classifier import Classifier
from ..model.repository import Repository
from ..protocols import open_inference, tf_serving
from ..protocols.inference import Answer, Read, prepare
from ..settings import Settings
from ..telemetry.instrumentation import Instrumentation
from ..telemetry.record import Predictions
from .dependencies import JSON_LENGTH_HEADER, read_json_length
from .inference import DEADLINE_HEADER, INLINE_BODY_BYTES, plain_headers
from .messages import describe, reply
from .predictions import check_top_k, list_predictions, write_predictions
from .protocol import Reply, ServiceProtocol
from .schemas import Liveness, Readiness
from .shedding import LoadShedder
from .uploads import Upload, read_upload

MAX_BATCH_IMAGES = 32  # Larger batches do not raise the network's throughput.

_LENGTH_DIGITS = len(str(INLINE_BODY_BYTES))

_PATTERNS = {
    # Only characters that are never percent-encoded.
    route: re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[A-Za-z0-9._~-]+)", route))
    for route in (
        "/v2/models/{name}/infer",
        "/v2/models/{name}/versions/{version}/infer",
        "/v1/models/{name}:predict",
        "/v1/models/{name}/versions/{version}:predict",
        "/v1/models/{name}/labels/{label}:predict",
    )
}

_OPTIONS = {
    b"prepare": re.compile("|".join(get_args(Prepare)).encode()),
    b"top_k": re.compile(rb"[1-9][0-9]?"),
    b"version": re.compile(rb"[1-9][0-9]{0,8}"),
}
"""The query parameters of `/predict` that the fast path reads, in their plainest form."""

_UNUSUAL = {
    *(b"content-encoding", b"expect", b"forwarded", b"origin", b"transfer-encoding", b"upgrade"),
    *(b"x-forwarded-for", DEADLINE_HEADER.lower().encode()),
}
"""Requests with these headers go to the application."""

_READ = {
    *(b"authorization", b"content-type", b"inference-header-content-length"),
    *(b"traceparent", b"tracestate", b"x-api-key", b"x-request-id"),
}


@dataclass(slots=True, eq=False)
class FastRequest:
    """A small inference request; `submit` and the reader set the remaining fields."""

    route: str
    names: Mapping[str, str]
    options: Mapping[bytes, str]
    headers: Mapping[str, str]
    connection: ServiceProtocol = field(init=False)
    cycle: Any = field(init=False)  # uvicorn's, with scope and body
    permit: Permit = field(init=False)
    classifier: Classifier = field(init=False)
    pixels: Sequence[Pixels] = ()  # The images, unless they are in
    tensor: Tensor | None = None  # (n, height, width, 1) float32.
    count: int = field(init=False)
    write: "Callable[[_Batch, slice], tuple[bytes, int | None]]" = field(init=False)

    def fall_back(self) -> None:
        """Leave the request to the application."""
        self.permit.__exit__()
        self.connection.fall_back(self.cycle)


class _Batch(NamedTuple):
    """The network's outputs for several requests, those to `/predict` first."""

    assessment: Assessment
    predictions: Sequence[dict[str, Any]]  # Only for `/predict`.

    def rows(self, rows: slice) -> Assessment:
        probabilities, novelty = self.assessment
        return Assessment(probabilities[rows], None if novelty is None else novelty[rows])


class Batcher:
    """The fast path of one worker; implements `protocol.FastPath`."""

    def __init__(self, state: State) -> None:
        self._settings: Settings = state.settings
        self._repository: Repository = state.repository
        self._admission: Admission = state.admission
        self._pools: Pools = state.pools
        self._instrumentation: Instrumentation = state.instrumentation
        self._keys: KeyRing | None = state.keys
        self._shedder = LoadShedder(state)
        self.receive_seconds = self._settings.receive_seconds
        self.send_seconds = self._settings.send_seconds
        self.turns = Turns()
        self._queue: deque[FastRequest] = deque()
        self._is_flushing = False

    def match(self, scope: Any) -> FastRequest | Reply | None:
        if rejection := self._shedder.reject(scope):
            return rejection
        headers = plain_headers(scope)
        if headers is None or scope["root_path"]:
            return None
        if scope["method"] == "GET":
            return self._health(scope) if b"origin" not in headers else None
        found = _find_route(scope)
        if found is None:
            return None
        length = headers.get(b"content-length", b"0")
        if (
            len(length) > _LENGTH_DIGITS
            or not 0 < int(length) <= INLINE_BODY_BYTES
            or not _UNUSUAL.isdisjoint(headers)
            or scope["http_version"] != "1.1"
        ):
            return None
        read = {k.decode(): v.decode("latin-1") for k, v in headers.items() if k in _READ}
        return FastRequest(*found, read)

    def _health(self, scope: Any) -> Reply | None:
        """Answer health probes ahead of the requests that wait for the application."""
        path, worker = scope["path"], self._instrumentation.metrics.worker
        if path == "/livez":
            body: BaseModel = Liveness(status="live", worker=worker)
        elif path == "/readyz" and self._repository.is_ready and self._admission.is_open:
            body = Readiness.of(self._repository.classifier(), worker)
        else:
            return None
        headers = {k.decode(): v.decode("latin-1") for k, v in scope["headers"] if k in _READ}
        record = self._instrumentation.begin(headers)
        describe(record, scope)
        record.route, record.status = path, 200
        self._instrumentation.end(record)
        return reply(record, body.model_dump_json().encode())

    def submit(self, connection: ServiceProtocol, cycle: Any, request: FastRequest) -> None:
        record = self._instrumentation.begin(request.headers)
        try:
            permit = self._admission.admit(record, byte_count=len(cycle.body))
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
        if self._keys is not None:
            key = self._keys.identify(request.headers)
            key.require("predict")
            request.permit.record.key = key.name
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
        manifest = classifier.manifest
        self._instrumentation.metrics.count_predictions(
            Predictions(manifest.version, manifest.class_names, *assessment)
        )
        pixels = sum(len(request.pixels) for request in requests)
        batch = _Batch(assessment, list_predictions(assessment, classifier, pixels))
        end = 0
        for number, request in enumerate(requests):
            rows = slice(end, end := end + request.count)
            record = request.permit.record
            record.record_run(request.count)
            record.batch = sum(r.count for r in requests) if number == 0 else 0  # One run for all.
            try:
                answer = self._finish(request, batch, rows)
            except Exception:  # One failure must not take the other responses along.
                request.fall_back()
            else:
                request.permit.__exit__()
                request.connection.respond(request.cycle, answer)

    def _finish(self, request: FastRequest, batch: _Batch, rows: slice) -> Reply:
        body, json_length = request.write(batch, rows)
        record = request.permit.record
        record.record_phase("encode")
        describe(record, request.cycle.scope)
        record.route, record.status = request.route, 200
        self._instrumentation.end(record)
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


def _find_route(scope: Any) -> tuple[str, Mapping[str, str], Mapping[bytes, str]] | None:
    method, path, query = scope["method"], scope["path"], scope["query_string"]
    if path == "/predict":
        options = _read_query(query) if query else {}
        return None if options is None or method not in ("POST", "PUT") else (path, {}, options)
    if method == "POST" and not query and path.startswith(("/v1/", "/v2/")):
        for route, pattern in _PATTERNS.items():
            if found := pattern.fullmatch(path):
                return route, found.groupdict(), {}
    return None


def _read_query(query: bytes) -> Mapping[bytes, str] | None:
    """Return the options of a query, or None if one is unknown, repeated or not in plain form."""
    options: dict[bytes, str] = {}
    for option in query.split(b"&"):
        name, _, value = option.partition(b"=")
        if name in options or name not in _OPTIONS or not _OPTIONS[name].fullmatch(value):
            return None
        options[name] = value.decode()
    return options


def _read_predict(request: FastRequest, repository: Repository) -> None:
    options, permit = request.options, request.permit
    top_k = int(options[b"top_k"]) if b"top_k" in options else None
    version = int(options[b"version"]) if b"version" in options else None
    classifier = request.classifier = repository.classifier(version)
    check_top_k(top_k, classifier)
    permit.record.record_start(classifier.manifest.version)
    content_type = request.headers.get("content-type", "")
    upload = Upload(content_type, bytes(request.cycle.body), permit.limits.max_images)
    if upload.form.fields:
        raise Deferred
    prepare = cast(Prepare, options.get(b"prepare", "auto"))
    images = read_upload(upload, ImageReader(prepare, classifier.manifest.input.size, permit))
    request.pixels, request.count = [image.pixels for image in images], len(images)
    permit.record.record_phase("prepare")
    request.write = lambda batch, rows: (
        write_predictions(batch.predictions[rows], images, classifier, top_k),
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
    request.write = lambda batch, rows: prepared.write(batch.rows(rows), {})


_READERS = {"/pre": _read_predict, "/v2/": _read_inference, "/v1/": _read_servable}
