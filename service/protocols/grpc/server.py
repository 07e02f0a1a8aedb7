"""The Open Inference Protocol's GRPCInferenceService."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from service.capacity.admission import Admission
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
from service.protocols.grpc.messages import read
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

_OPEN = {"ServerLive", "ServerReady"}
"""Load balancers ask these without a key."""

_METHODS = {*_OPEN, "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"}

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

    `version` is the service's. StartError is raised if the server cannot listen on the port.
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
    service = _Service(core, version)
    handlers = {name: service.handler(name) for name in _METHODS}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
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


@dataclass(frozen=True, slots=True)
class _Service:
    core: Core
    version: str

    def handler(self, name: str) -> grpc.RpcMethodHandler:
        """Return the handler of a method."""
        return grpc.unary_unary_rpc_method_handler(
            partial(self._observe, name),
            response_serializer=lambda response: response.SerializeToString(),
        )

    async def _observe(self, name: str, body: bytes, context: Context) -> Message:
        """Check the key, record the request and answer it, errors too."""
        headers = dict(context.invocation_metadata())
        with self.core.instrumentation.observe(headers) as record:
            record.method, record.client = "gRPC", context.peer()
            record.route = record.target = f"/{_SERVICE}/{name}"
            try:
                if self.core.keys is not None and name not in _OPEN:
                    key = self.core.keys.identify(headers)
                    record.key = key.name
                    key.require("predict")
                response = await self._answer(_parse(body, f"{name}Request"), context, record)
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

    async def _answer(self, request: Any, context: Context, record: RequestRecord) -> Message:
        core, repository = self.core, self.core.repository
        match request:
            case pb.ServerLiveRequest():
                return pb.ServerLiveResponse(live=True)
            case pb.ServerReadyRequest():
                return pb.ServerReadyResponse(ready=repository.is_ready and core.admission.is_open)
            case pb.ServerMetadataRequest():
                return pb.ServerMetadataResponse(**server_metadata(self.version, GRPC_EXTENSIONS))
            case pb.ModelReadyRequest(name=name, version=version):
                ready = False
                with suppress(NotReady, UnknownModel, UnknownVersion):
                    _find(repository, name, version)
                    ready = True
                return pb.ModelReadyResponse(ready=ready)
            case pb.ModelMetadataRequest(name=name, version=version):
                manifest = _find(repository, name, version).manifest
                return pb.ModelMetadataResponse(**model_metadata(manifest, repository.serving))
        classifier = _find(repository, request.model_name, request.model_version)
        with core.admission.admit(record) as permit:
            permit.reserve_bytes(request.ByteSize())
            remaining = context.time_remaining()
            allowed = core.settings.deadline_seconds
            permit.start_deadline(allowed if remaining is None else min(remaining, allowed))
            job = partial(infer, partial(read, request), classifier, permit)
            return await core.pools.run(job, permit)


def _find(repository: Repository, name: str, version: str) -> Classifier:
    repository.check_name(name)
    if not version:
        return repository.classifier()
    if not (version.isascii() and version.isdecimal() and len(version) < 20):
        raise UnknownVersion(f"no version {version!r}: versions are numbers")
    return repository.classifier(int(version))


def _parse(message: bytes, type_name: str) -> Message:
    """Parse a request; gRPC itself would answer an invalid one as an internal error."""
    try:
        return getattr(pb, type_name).FromString(message)
    except DecodeError as error:
        raise InvalidInference(f"not a message of the type {type_name}") from error
