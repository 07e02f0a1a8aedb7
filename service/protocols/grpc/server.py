"""The Open Inference Protocol's GRPCInferenceService, over the same core as its REST routes."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from service.capacity.admission import Admission, Ticket
from service.model.classifier import Classifier
from service.errors import (
    InvalidInference,
    NotReady,
    RequestError,
    StartError,
    UnknownModel,
    UnknownVersion,
)
from service.protocols.grpc import open_inference_pb2 as pb
from service.protocols.grpc.messages import read_request, write_response
from service.keys import KeyRing
from service.capacity.pools import Lanes
from service.telemetry.record import begin, finish
from service.telemetry.instrumentation import Observer
from service.protocols.inference import infer
from service.protocols.open_inference import GRPC_EXTENSIONS, model_metadata, server_metadata
from service.model.repository import Repository
from service.settings import Settings

logger = logging.getLogger(__name__)

_SERVICE = "inference.GRPCInferenceService"

_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

_OPEN = {"ServerLive", "ServerReady"}
"""What whoever watches over the process asks without a key."""

Context: TypeAlias = grpc.aio.ServicerContext

_Method = Callable[[Any, Context], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class Core:
    """What the service shares between its ports."""

    settings: Settings
    repository: Repository
    admission: Admission
    lanes: Lanes
    observer: Observer
    keys: KeyRing | None


@asynccontextmanager
async def serve(core: Core, version: str) -> AsyncIterator[None]:
    """Answer on the port that the settings say for as long as the block runs, then drain.

    Args:
        core: What the service shares between its ports.
        version: Of the service.

    Raises:
        StartError: The port cannot be listened on.
    """
    settings = core.settings
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            # Workers share the port; a lone one wants to know if somebody else has it.
            ("grpc.so_reuseport", int(settings.workers > 1)),
        ]
    )
    server.add_generic_rpc_handlers((_Service(core, version).handlers(),))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    try:
        _listen(server, address, settings)
    except (RuntimeError, OSError) as error:
        raise StartError(f"gRPC cannot listen on {address}") from error
    await server.start()
    logger.info("gRPC on %s", address)
    try:
        yield
    finally:
        await server.stop(core.admission.left_of(settings.drain_seconds))


def _listen(server: grpc.aio.Server, address: str, settings: Settings) -> None:
    if settings.tls_certificate is None or settings.tls_key is None:
        server.add_insecure_port(address)
        return
    pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
    server.add_secure_port(address, grpc.ssl_server_credentials([pair]))


class _Service:
    def __init__(self, core: Core, version: str) -> None:
        self._core = core
        self._repository = core.repository
        self._version = version

    def handlers(self) -> grpc.GenericRpcHandler:
        methods: list[tuple[_Method, type[Message]]] = [
            (self._server_live, pb.ServerLiveRequest),
            (self._server_ready, pb.ServerReadyRequest),
            (self._model_ready, pb.ModelReadyRequest),
            (self._server_metadata, pb.ServerMetadataRequest),
            (self._model_metadata, pb.ModelMetadataRequest),
            (self._model_infer, pb.ModelInferRequest),
        ]
        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    _observed(name, request, method, self._core),
                    response_serializer=lambda response: response.SerializeToString(),
                )
                for method, request in methods
                for name in [request.__name__.removesuffix("Request")]
            },
        )

    async def _server_live(self, _: pb.ServerLiveRequest, __: Context) -> Message:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _: pb.ServerReadyRequest, __: Context) -> Message:
        ready = self._repository.is_ready and self._core.admission.is_open
        return pb.ServerReadyResponse(ready=ready)

    async def _model_ready(self, request: pb.ModelReadyRequest, _: Context) -> Message:
        try:
            self._find(request.name, request.version)
        except (NotReady, UnknownModel, UnknownVersion):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def _server_metadata(self, _: pb.ServerMetadataRequest, __: Context) -> Message:
        return pb.ServerMetadataResponse(**server_metadata(self._version, GRPC_EXTENSIONS))

    async def _model_metadata(self, request: pb.ModelMetadataRequest, _: Context) -> Message:
        manifest = self._find(request.name, request.version).manifest
        return pb.ModelMetadataResponse(**model_metadata(manifest, list(self._repository.serving)))

    async def _model_infer(self, request: pb.ModelInferRequest, context: Context) -> Message:
        classifier = self._find(request.model_name, request.model_version)
        with self._core.admission.admit() as ticket:
            ticket.hold_bytes(request.ByteSize())
            left = context.time_remaining()
            allowed = self._core.settings.deadline_seconds
            ticket.start_clock(allowed if left is None else min(left, allowed))
            job = partial(self._infer, request, classifier, ticket)
            return await self._core.lanes.run(job, ticket)

    def _infer(
        self, request: pb.ModelInferRequest, classifier: Classifier, ticket: Ticket
    ) -> pb.ModelInferResponse:
        begin(classifier)
        message = read_request(request)
        finish("decode")
        outputs = infer(message, classifier, self._core.settings, ticket)
        response = write_response(outputs, request.id, classifier.manifest)
        finish("encode")
        return response

    def _find(self, name: str, version: str) -> Classifier:
        self._repository.check_name(name)
        if not version:
            return self._repository.classifier()
        if not (version.isascii() and version.isdecimal() and len(version) < 20):
            raise UnknownVersion(f"no version {version!r}: versions are numbers")
        return self._repository.classifier(int(version))


def _observed(
    name: str, request_type: type[Message], method: _Method, core: Core
) -> Callable[[bytes, grpc.aio.ServicerContext], Awaitable[Message]]:
    """Return a method that asks for a key, is observed, and answers errors as gRPC has them."""
    route = f"/{_SERVICE}/{name}"
    keys = None if name in _OPEN else core.keys

    async def answer(sent_bytes: bytes, context: grpc.aio.ServicerContext) -> Message:
        sent = dict(context.invocation_metadata())
        with core.observer.observe(sent) as seen:
            seen.method, seen.route, seen.target, seen.client = "gRPC", route, route, context.peer()
            try:
                if keys is not None:
                    key = keys.identify(sent)
                    seen.key = key.name
                    key.require("predict")
                response = await method(_parse(sent_bytes, request_type), context)
            except RequestError as error:
                seen.status, seen.rejected = error.status, error.code
                code = _CODES.get(error.status, grpc.StatusCode.INVALID_ARGUMENT)
                reason = str(error)
            except Exception:  # gRPC would send the client what it says.
                logger.exception("a gRPC request failed")
                seen.fail()
                code = grpc.StatusCode.INTERNAL
                reason = "an error on our side; the log has its details"
            else:
                seen.status = HTTPStatus.OK
                return response
        return await context.abort(code, reason)

    return answer


def _parse(message: bytes, request_type: type[Message]) -> Message:
    """Read a request; left to gRPC, one that is none would be answered as our own failure."""
    try:
        return request_type.FromString(message)
    except DecodeError as error:
        raise InvalidInference(f"not a message of the type {request_type.__name__}") from error
