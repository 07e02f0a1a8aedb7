"""The Open Inference Protocol's GRPCInferenceService."""

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

from service.capacity.admission import Admission, Permit
from service.capacity.pools import Pools
from service.errors import (
    InvalidInference,
    NotReady,
    RequestError,
    StartError,
    UnknownModel,
    UnknownVersion,
)
from service.keys import KeyRing
from service.model.classifier import Classifier
from service.model.repository import Repository
from service.protocols.grpc import open_inference_pb2 as pb
from service.protocols.grpc.messages import read_request, write_response
from service.protocols.inference import infer
from service.protocols.open_inference import GRPC_EXTENSIONS, model_metadata, server_metadata
from service.settings import Settings
from service.telemetry.instrumentation import Instrumentation
from service.telemetry.record import RequestRecord

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

Context: TypeAlias = grpc.aio.ServicerContext


@dataclass(frozen=True, slots=True)
class Core:
    """What the HTTP and gRPC ports of a process share."""

    settings: Settings
    repository: Repository
    admission: Admission
    pools: Pools
    instrumentation: Instrumentation
    keys: KeyRing | None


@asynccontextmanager
async def serve(core: Core, version: str) -> AsyncIterator[None]:
    """Answer on the settings' `grpc_port` while the block runs, then drain.

    Args:
        core: Of the process.
        version: Of the service.

    Raises:
        StartError: The server cannot listen on the port.
    """
    settings = core.settings
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            # Workers share the port; a single worker must find out that another process has it.
            ("grpc.so_reuseport", int(settings.workers > 1)),
        ]
    )
    server.add_generic_rpc_handlers((_Service(core, version).handlers(),))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    try:
        if settings.tls_certificate is None or settings.tls_key is None:
            server.add_insecure_port(address)
        else:
            pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
            server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except (RuntimeError, OSError) as error:
        raise StartError(f"gRPC cannot listen on {address}") from error
    await server.start()
    logger.info("gRPC on %s", address)
    try:
        yield
    finally:
        await server.stop(core.admission.remaining(settings.drain_seconds))


class _Service:
    def __init__(self, core: Core, version: str) -> None:
        self._core = core
        self._repository = core.repository
        self._version = version

    def handlers(self) -> grpc.GenericRpcHandler:
        methods: list[tuple[_Method, type[Message], KeyRing | None]] = [
            (self._server_live, pb.ServerLiveRequest, None),  # Load balancers have no key.
            (self._server_ready, pb.ServerReadyRequest, None),
            (self._model_ready, pb.ModelReadyRequest, self._core.keys),
            (self._server_metadata, pb.ServerMetadataRequest, self._core.keys),
            (self._model_metadata, pb.ModelMetadataRequest, self._core.keys),
            (self._model_infer, pb.ModelInferRequest, self._core.keys),
        ]
        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                request_type.__name__.removesuffix("Request"): grpc.unary_unary_rpc_method_handler(
                    _observed(method, request_type, keys, self._core.instrumentation),
                    response_serializer=lambda response: response.SerializeToString(),
                )
                for method, request_type, keys in methods
            },
        )

    async def _server_live(self, *_: object) -> Message:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, *_: object) -> Message:
        ready = self._repository.is_ready and self._core.admission.is_open
        return pb.ServerReadyResponse(ready=ready)

    async def _model_ready(self, request: pb.ModelReadyRequest, *_: object) -> Message:
        try:
            self._find(request.name, request.version)
        except (NotReady, UnknownModel, UnknownVersion):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def _server_metadata(self, *_: object) -> Message:
        return pb.ServerMetadataResponse(**server_metadata(self._version, GRPC_EXTENSIONS))

    async def _model_metadata(self, request: pb.ModelMetadataRequest, *_: object) -> Message:
        manifest = self._find(request.name, request.version).manifest
        return pb.ModelMetadataResponse(**model_metadata(manifest, self._repository.serving))

    async def _model_infer(
        self, request: pb.ModelInferRequest, context: Context, record: RequestRecord
    ) -> Message:
        classifier = self._find(request.model_name, request.model_version)
        with self._core.admission.admit(record) as permit:
            permit.reserve_bytes(request.ByteSize())
            remaining = context.time_remaining()
            allowed = self._core.settings.deadline_seconds
            permit.start_deadline(allowed if remaining is None else min(remaining, allowed))
            return await self._core.pools.run(partial(_infer, request, classifier, permit), permit)

    def _find(self, name: str, version: str) -> Classifier:
        self._repository.check_name(name)
        if not version:
            return self._repository.classifier()
        if not (version.isascii() and version.isdecimal() and len(version) < 20):
            raise UnknownVersion(f"no version {version!r}: versions are numbers")
        return self._repository.classifier(int(version))


_Method = Callable[[Any, Context, RequestRecord], Awaitable[Message]]


def _infer(
    request: pb.ModelInferRequest, classifier: Classifier, permit: Permit
) -> pb.ModelInferResponse:
    permit.record.record_start(classifier.manifest.version)
    message = read_request(request)
    permit.record.record_phase("decode")
    outputs = infer(message, classifier, permit)
    response = write_response(outputs, request.id, classifier.manifest)
    permit.record.record_phase("encode")
    return response


def _observed(
    method: _Method,
    request_type: type[Message],
    keys: KeyRing | None,
    instrumentation: Instrumentation,
) -> Callable[[bytes, Context], Awaitable[Message]]:
    """Return a handler that checks the key, records the request and answers errors as gRPC does."""
    route = f"/{_SERVICE}/{request_type.__name__.removesuffix('Request')}"

    async def answer(sent_bytes: bytes, context: Context) -> Message:
        headers = dict(context.invocation_metadata())
        with instrumentation.observe(headers) as record:
            record.method, record.route, record.target = "gRPC", route, route
            record.client = context.peer()
            try:
                if keys is not None:
                    key = keys.identify(headers)
                    record.key = key.name
                    key.require("predict")
                response = await method(_parse(sent_bytes, request_type), context, record)
            except RequestError as error:
                record.status, record.error_code = error.status, error.code
                code = _CODES.get(error.status, grpc.StatusCode.INVALID_ARGUMENT)
                reason = str(error)
            except Exception:  # gRPC would send its message to the client.
                logger.exception("a gRPC request failed")
                record.fail()
                code = grpc.StatusCode.INTERNAL
                reason = "an error on our side; the log has its details"
            else:
                record.status = HTTPStatus.OK
                return response
        return await context.abort(code, reason)

    return answer


def _parse(message: bytes, request_type: type[Message]) -> Message:
    """Parse a request; gRPC itself would answer an invalid one as an internal error."""
    try:
        return request_type.FromString(message)
    except DecodeError as error:
        raise InvalidInference(f"not a message of the type {request_type.__name__}") from error
