"""The gRPC port: the Open Inference Protocol, TensorFlow Serving's predictions, health, reflection.

gRPC delivers whole messages and does not report progress. So a call reads its message only after
its key is checked, few calls read at a time, and a thread parses the message within limits.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol, TypeAlias

import grpc
import grpc.aio
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from ... import errors
from ...capacity.admission import Admission, Permit
from ...capacity.pools import Pools
from ...errors import RequestError
from ...keys import KeyRing
from ...model.repository import Repository
from ...model.workers import Workers
from ...settings import Settings
from ...telemetry.instrumentation import Instrumentation
from ...telemetry.record import RequestRecord
from .. import open_inference as protocol
from ..inference import infer
from . import open_inference_pb2 as pb
from .messages import INFER_FIELDS, parse, read

logger = logging.getLogger(__name__)

INFERENCE, HEALTH = "inference.GRPCInferenceService", "grpc.health.v1.Health"
REFLECTION = reflection.SERVICE_NAME

MAX_SMALL_BYTES = 65536  # Of a message other than an inference.
UNREAD_BYTES = 16384  # Of a message that its call does not read yet.

# Of a connection, and as long again for its open calls: nothing else ends the calls of a client
# that does not read its answers. Other clients reconnect without losing a call.
MAX_AGE_SECONDS = 60
PATIENCE_SECONDS = 1.0  # For a message to arrive, or a stream to be idle, while other calls wait.
WATCH_SECONDS = 0.1  # Poll interval of the health that a client watches.
MAX_WATCHES = 64  # At a time: they need no key, and last as long as their connection.

_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

Context: TypeAlias = grpc.aio.ServicerContext
Work: TypeAlias = Callable[[Context, RequestRecord], Awaitable[None]]
Handler: TypeAlias = Callable[[object, Context], Awaitable[None]]
Answer: TypeAlias = Callable[[bytes, Repository, Permit], bytes]
Kinds: TypeAlias = tuple[type[Message], type[Message]]
Fields: TypeAlias = "Callable[[Any, Core], Mapping[str, object] | None]"


class Core(Protocol):
    """The state of the application, which the HTTP and gRPC ports share."""

    settings: Settings
    repository: Repository
    workers: Workers
    admission: Admission
    pools: Pools
    instrumentation: Instrumentation
    keys: KeyRing | None


@asynccontextmanager
async def serve(core: Core, answers: Mapping[str, Answer]) -> AsyncIterator[None]:
    """Listen on the settings' `grpc_port` during the block, then drain; may raise StartError.

    `answers` are the methods of another protocol, by path.
    """
    settings = core.settings
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", min(settings.max_body_bytes, 2**31 - 1)),
            ("grpc.max_send_message_length", -1),
            ("grpc.http2.lookahead_bytes", UNREAD_BYTES),
            ("grpc.http2.bdp_probe", 0),  # Would raise the lookahead to megabytes.
            ("grpc.max_connection_age_ms", MAX_AGE_SECONDS * 1000),
            ("grpc.max_connection_age_grace_ms", MAX_AGE_SECONDS * 1000),
            # Workers share the port; a single worker must fail if another process has it.
            ("grpc.so_reuseport", int(settings.workers > 1)),
        ],
        maximum_concurrent_rpcs=settings.max_images_in_flight,
    )
    service = _Service(core)
    # All are streams of bytes, which clients cannot tell from unary calls.
    for path, method in service.methods(answers).items():
        name, _, end = path.strip("/").rpartition("/")
        handlers = {end: grpc.stream_stream_rpc_method_handler(method)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    try:
        if settings.tls_certificate is None or settings.tls_key is None:
            server.add_insecure_port(address)
        else:
            pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
            server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except (RuntimeError, OSError) as error:
        raise errors.StartError(f"gRPC cannot listen on {address}") from error
    await server.start()
    logger.info("gRPC on %s", address)
    try:
        yield
    finally:
        service.streams.limit_reads(0)
        await server.stop(core.admission.remaining(settings.drain_seconds))


class _Receiver:
    """Limits how many calls read a message at a time, each counting as `size` bytes in flight."""

    def __init__(
        self, admission: Admission, size: int, slots: int, seconds: float | None, patience: float
    ) -> None:
        self._admission, self._size = admission, size
        self._seconds, self._patience = seconds, patience
        self._slots = asyncio.Semaphore(slots)
        self._waiting = 0
        self._started: dict[asyncio.Timeout, float] = {}

    async def receive(self, context: Context) -> bytes | None:
        """Return the next message, or None at the end; raises RequestTimeout or Overloaded."""
        if self._slots.locked():
            self.limit_reads(self._patience)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        timeout = asyncio.timeout(self._patience if self._waiting else self._seconds)
        try:
            with self._admission.hold(self._size):
                async with timeout:
                    self._started[timeout] = asyncio.get_running_loop().time()
                    message = await context.read()
        except TimeoutError as error:
            raise errors.RequestTimeout("the message was not complete in time") from error
        finally:
            self._started.pop(timeout, None)
            self._slots.release()
        return None if message is grpc.aio.EOF else message

    def limit_reads(self, seconds: float) -> None:
        """Limit all current reads to `seconds` since their start."""
        for timeout, start in self._started.items():
            if not timeout.expired():
                timeout.reschedule(min(start + seconds, timeout.when() or float("inf")))


class _Service:
    def __init__(self, core: Core) -> None:
        self._core = core
        settings, size = core.settings, core.settings.max_body_bytes
        # A quarter of the bytes in flight is for messages of calls, another for those of streams.
        slots = max(1, settings.max_bytes_in_flight // 4 // size)
        make = partial(_Receiver, core.admission)
        self._calls = make(size, slots, settings.receive_seconds, PATIENCE_SECONDS)
        self.streams = make(size, slots, None, PATIENCE_SECONDS)
        # Health checks, which need no key, must not block other calls.
        self._probes = make(0, slots, settings.receive_seconds, PATIENCE_SECONDS / 10)
        self._watches = asyncio.Semaphore(MAX_WATCHES)

    def methods(self, answers: Mapping[str, Answer]) -> dict[str, Handler]:
        """Return the handlers by path of the method."""
        works: dict[str, Work] = {
            path: partial(self._infer, answer) for path, answer in answers.items()
        }
        for name, fields in _FIELDS.items():
            kinds = getattr(pb, f"{name}Request"), getattr(pb, f"{name}Response")
            works[f"{INFERENCE}/{name}"] = partial(self._respond, self._calls, kinds, fields)
        kinds = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        works |= {
            f"{INFERENCE}/ModelInfer": partial(self._infer, partial(_infer, lambda sent: sent)),
            f"{INFERENCE}/ModelStreamInfer": self._stream,
            f"{REFLECTION}/ServerReflectionInfo": self._reflect,
            f"{HEALTH}/Check": partial(self._respond, self._probes, kinds, _check),
            f"{HEALTH}/Watch": self._watch,
        }
        return {f"/{path}": partial(self._handle, f"/{path}", works[path]) for path in works}

    async def _handle(self, path: str, work: Work, _: object, context: Context) -> None:
        """Record a call, check its key and answer it, with an error if necessary."""
        try:
            with self._record(path, context) as record:
                if self._core.keys is not None and path not in _OPEN:
                    key = self._core.keys.identify(dict(context.invocation_metadata()))
                    record.key = key.name
                    key.require("administer" if path.startswith(_ADMINISTRATION) else "predict")
                await work(context, record)
        except RequestError as error:
            code = _CODES.get(error.status, grpc.StatusCode.INVALID_ARGUMENT)
            reason = str(error)
        except Exception:  # gRPC would send the exception's message to the client.
            logger.exception("a gRPC request failed")
            code, reason = grpc.StatusCode.INTERNAL, errors.INTERNAL_ERROR
        else:
            return
        await context.abort(code, reason)  # Outside the handlers, whose frames keep the message.

    @contextmanager
    def _record(self, path: str, context: Context) -> Iterator[RequestRecord]:
        """Record a request during the block, with HTTP's status for the error that ends it."""
        instrumentation = self._core.instrumentation
        record = instrumentation.begin(dict(context.invocation_metadata()))
        record.method, record.client = "gRPC", context.peer()
        record.route = record.target = path
        try:
            yield record
            record.status = HTTPStatus.OK
        except RequestError as error:
            record.status, record.error_code = error.status, error.code
            raise
        except asyncio.CancelledError:
            record.status, record.error_code = 400, "client_disconnected"
            raise
        except Exception:
            record.fail()
            raise
        finally:
            instrumentation.end(record)

    async def _send(self, context: Context, response: Message | bytes) -> None:
        content = response if isinstance(response, bytes) else response.SerializeToString()
        try:
            await context.write(content)
        except Exception as error:  # The class is private to gRPC.
            raise asyncio.CancelledError from error

    async def _respond(
        self, receiver: _Receiver, kinds: Kinds, fields: Fields, context: Context, _: object
    ) -> None:
        """Answer a request other than an inference; one without fields is not read."""
        kind, answer = kinds
        request = await self._read_small(receiver, kind, context)
        document = await asyncio.to_thread(fields, request, self._core)
        await self._send(context, ParseDict(document or {}, answer()))

    async def _read_small(self, receiver: _Receiver, kind: type[Message], context: Context) -> Any:
        body = await receiver.receive(context) if kind.DESCRIPTOR.fields else b""
        if body is None or len(body) > MAX_SMALL_BYTES:
            raise errors.BodyTooLarge(f"expected one message of at most {MAX_SMALL_BYTES} bytes")
        return parse(kind, body, {}, self._core.admission.limits)

    async def _watch(self, context: Context, _: object) -> None:
        """Send the health now and after each change, until the process drains."""
        if self._watches.locked():
            raise errors.Overloaded(f"{MAX_WATCHES} clients are watching; that is the limit")
        async with self._watches:
            request = await self._read_small(self._probes, health_pb2.HealthCheckRequest, context)
            sent = None
            while True:
                fields: dict[str, object] = {"status": "SERVICE_UNKNOWN"}
                with suppress(errors.UnknownModel):
                    fields = _check(request, self._core)
                if fields != sent:
                    await self._send(context, ParseDict(fields, health_pb2.HealthCheckResponse()))
                    sent = fields
                if not self._core.admission.is_open:
                    return
                await asyncio.sleep(WATCH_SECONDS)

    async def _infer(self, answer: Answer, context: Context, record: RequestRecord) -> None:
        self._core.admission.check(images=0)
        begin = asyncio.get_running_loop().time()
        body = await self._calls.receive(context)
        if body is None:
            raise errors.InvalidInference("the call has no message")
        await self._run(answer, body, context, record, begin)

    async def _stream(self, context: Context, _: object) -> None:
        """Answer each message in turn, with an error if necessary."""
        answer = partial(_infer, lambda sent: pb.ModelStreamInferResponse(infer_response=sent))
        while (body := await self.streams.receive(context)) is not None:
            try:
                with self._record(f"/{INFERENCE}/ModelInfer", context) as record:
                    await self._run(answer, body, context, record, begin=float("inf"))
            except RequestError as error:
                await self._send(context, pb.ModelStreamInferResponse(error_message=str(error)))

    async def _run(
        self, answer: Answer, body: bytes, context: Context, record: RequestRecord, begin: float
    ) -> None:
        core = self._core
        record.record_phase("receive")
        # Twice the body, because the parsed message is a copy.
        with core.admission.admit(record, byte_count=2 * len(body), begin=begin) as permit:
            remaining, allowed = context.time_remaining(), core.settings.deadline_seconds
            permit.start_deadline(allowed if remaining is None else min(remaining, allowed))
            response = await core.pools.run(partial(answer, body, core.repository, permit), permit)
            permit.reserve_bytes(len(response))
            await self._send(context, response)  # Blocks until the client has read it.

    async def _reflect(self, context: Context, _: object) -> None:
        async def requests() -> AsyncIterator[Message]:
            while (body := await self.streams.receive(context)) is not None:
                yield parse(kind, body, {}, self._core.admission.limits)

        kind = reflection_pb2.ServerReflectionRequest
        servicer = reflection.aio.ReflectionServicer([INFERENCE, HEALTH, REFLECTION])
        async for answer in servicer.ServerReflectionInfo(requests(), context):
            await self._send(context, answer)


def _infer(
    wrap: Callable[[Message], Message], body: bytes, repository: Repository, permit: Permit
) -> bytes:
    request = parse(pb.ModelInferRequest, body, INFER_FIELDS, permit.limits)
    classifier = repository.find(request.model_name, request.model_version)
    return bytes(wrap(infer(partial(read, request), classifier, permit)).SerializeToString())


def _is_ready(core: Core) -> bool:
    return core.repository.is_ready and core.admission.is_open


def _check(request: Any, core: Core) -> dict[str, object]:
    if request.service not in ("", INFERENCE):
        raise errors.UnknownModel(f"no service {request.service!r}")
    return {"status": "SERVING" if _is_ready(core) else "NOT_SERVING"}


def _is_served(request: Any, core: Core) -> dict[str, object]:
    with suppress(errors.NotReady, errors.UnknownModel, errors.UnknownVersion):
        core.repository.find(request.name, request.version)
        return {"ready": True}
    return {"ready": False}


# The fields of each response of the Open Inference Protocol.
_FIELDS: dict[str, Fields] = {
    "ServerLive": lambda _, __: {"live": True},
    "ServerReady": lambda _, core: {"ready": _is_ready(core)},
    "ServerMetadata": lambda _, __: protocol.server_metadata(protocol.GRPC_EXTENSIONS),
    "ModelReady": _is_served,
    "ModelMetadata": lambda sent, core: protocol.model_metadata(
        core.repository, sent.name, sent.version
    ),
    "ModelConfig": lambda sent, core: {
        "config": protocol.model_config(
            core.repository, core.settings.max_images, sent.name, sent.version
        )
    },
    "ModelStatistics": lambda sent, core: protocol.statistics(
        core.repository, sent.name, sent.version
    ),
    "RepositoryIndex": lambda sent, core: {
        "models": protocol.repository_index(core.repository, only_ready=sent.ready)
    },
    "RepositoryModelLoad": lambda sent, core: core.workers.load(sent.model_name, sent.parameters),
    "RepositoryModelUnload": lambda sent, core: core.workers.unload(sent.model_name),
}

# Load balancers call these without a key.
_OPEN = {
    *(f"/{INFERENCE}/ServerLive", f"/{INFERENCE}/ServerReady"),
    *(f"/{HEALTH}/Check", f"/{HEALTH}/Watch"),
}

# The methods that load and unload the model.
_ADMINISTRATION = f"/{INFERENCE}/RepositoryModel"
