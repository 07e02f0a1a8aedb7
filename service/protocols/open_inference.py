"""The Open Inference Protocol V2 over REST: inference in JSON and binary, metadata, statistics."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, NamedTuple, TypeVar

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    NonNegativeInt,
    ValidationError,
    model_validator,
)

from service.capacity.admission import Limits, Permit
from service.errors import InvalidInference, InvalidTensor
from service.model.artifact import Manifest
from service.model.classifier import Classifier
from service.model.repository import Repository
from service.protocols.inference import (
    InferenceRequest,
    RequestedOutput,
    input_specs,
    output_specs,
)
from service.protocols.json_arrays import Shape, image_shapes, parse_json, parse_with_numbers
from service.protocols.tensors import NamedTensor, Values, from_json, from_raw, to_raw

PLATFORM = "tensorflow_savedmodel"

SERVER_NAME = "fashion_mnist_service"

REST_EXTENSIONS = ["binary_tensor_data", "classification", "model_repository", "statistics"]

GRPC_EXTENSIONS = ["classification"]

MAX_ITEMS = 1024
"""Inputs, outputs or dimensions that are validated; no model has as many."""

T = TypeVar("T")

# A body has room for millions of wrong items, and to report all of them would take minutes.
_Items = Annotated[list[T], FailFast(), Field(max_length=MAX_ITEMS)]


class _Part(BaseModel):
    # Clients send parameters that only other servers know. What is frozen can be a default that all
    # requests share; anything else would be copied for each.
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: object) -> object:
        """Ignore fields that are null: some clients write all the fields they know."""
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if value is not None}


class _InputParameters(_Part):
    binary_data_size: NonNegativeInt | None = None


class _Input(_Part):
    name: str
    shape: _Items[int]
    datatype: str
    parameters: _InputParameters = _InputParameters()
    data: Any = None


class _OutputParameters(_Part):
    binary_data: bool | None = None
    classification: int = 0


class _Output(_Part):
    name: str
    parameters: _OutputParameters = _OutputParameters()


class _Parameters(_Part):
    binary_data_output: bool = False
    prepare: str = "auto"


class _Request(_Part):
    id: str | None = None
    parameters: _Parameters = _Parameters()
    inputs: _Items[_Input]
    outputs: _Items[_Output] = Field(default_factory=list)


class Message(NamedTuple):
    """A request, and the form of its answer."""

    request: InferenceRequest
    request_id: str | None = None
    binary: Mapping[str, bool | None] = {}
    """Whether an output is to be binary, by name."""
    binary_by_default: bool = False
    """Whether the outputs are for which that does not say."""


def read_message(
    body: bytes, json_length: int | None, classifier: Classifier, permit: Permit
) -> Message:
    """Read an inference request: JSON, then the binary tensors in the order of the inputs.

    `json_length` is None if all of the body is JSON, 0 if it is one raw image for the model's own
    input.
    """
    spec = classifier.manifest.input
    if json_length == 0:
        shape = (1, *spec.shape)
        tensor = NamedTensor(spec.name, "FP32", shape, from_raw(body, "FP32", shape))
        permit.record.record_phase("decode")
        return Message(InferenceRequest([tensor]), binary_by_default=True)
    if json_length is not None and not 0 <= json_length <= len(body):
        raise InvalidInference(
            f"the JSON is said to have {json_length} bytes, the body has {len(body)}"
        )
    text = body[:json_length]
    try:
        sent = _Request.model_validate(_parse(text, spec.shape, permit.limits))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the request"
        raise InvalidInference(f"{where}: {first['msg']}") from error
    tensors = _read_inputs(sent.inputs, memoryview(body)[len(text) :])
    outputs = [RequestedOutput(o.name, o.parameters.classification) for o in sent.outputs]
    request = InferenceRequest(tensors, outputs, sent.parameters.prepare)
    binary = {o.name: o.parameters.binary_data for o in sent.outputs}
    permit.record.record_phase("decode")
    return Message(request, sent.id, binary, sent.parameters.binary_data_output)


def _parse(text: bytes, image: Shape, limits: Limits) -> Any:
    """Parse a request; the `data` of its only input is an array if it is flat or nested numbers."""
    match parse_with_numbers(text, "data", [(), *image_shapes(image)], limits):
        # An array has no negative integers: with one, all are floats.
        case ({"inputs": [{"data": [], "datatype": datatype} as tensor]} as document, numbers) if (
            numbers.dtype.kind == "u" or datatype in {"FP32", "FP64"}
        ):
            tensor["data"] = numbers
            return document
    return parse_json(text, limits)


def _read_inputs(inputs: Sequence[_Input], binary: memoryview) -> list[NamedTensor]:
    tensors = []
    start = 0
    for sent in inputs:
        end = start + (sent.parameters.binary_data_size or 0)
        try:
            values = _read_values(sent, binary[start:end])
        except InvalidTensor as error:
            raise error.at(sent.name) from error
        tensors.append(NamedTensor(sent.name, sent.datatype, tuple(sent.shape), values))
        start = end
    if start != len(binary):
        raise InvalidInference(f"{len(binary) - start} bytes of the body belong to no input")
    return tensors


def _read_values(sent: _Input, raw: memoryview) -> Values:
    size = sent.parameters.binary_data_size
    if size is None:
        return from_json(sent.data, sent.datatype, sent.shape)
    if sent.data is not None:
        raise InvalidTensor("data and binary_data_size exclude each other")
    if size != len(raw):
        raise InvalidTensor(f"binary_data_size is {size}, {len(raw)} bytes are left in the body")
    return from_raw(raw, sent.datatype, sent.shape)


def write_message(
    outputs: Sequence[NamedTensor], message: Message, manifest: Manifest
) -> tuple[bytes, int | None]:
    """Return the body of the answer, and the length of its JSON if binary tensors follow it."""
    tails: list[bytes | memoryview] = []
    entries = []
    for name, datatype, shape, values in outputs:
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        is_binary = message.binary.get(name)
        if message.binary_by_default if is_binary is None else is_binary:
            tails.append(to_raw(NamedTensor(name, datatype, shape, values)))
            entry["parameters"] = {"binary_data_size": len(tails[-1])}
        elif isinstance(values, list):
            entry["data"] = [element.decode() for element in values]
        else:
            entry["data"] = values.reshape(-1)
        entries.append(entry)
    answer: dict[str, Any] = {"model_name": manifest.name, "model_version": str(manifest.version)}
    if message.request_id is not None:
        answer["id"] = message.request_id
    answer["outputs"] = entries
    # In JSON, NaN and infinity become null; a binary output keeps them.
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([head, *tails]), len(head)) if tails else (head, None)


def server_metadata(version: str, extensions: Sequence[str]) -> dict[str, object]:
    """Describe the server; its extensions depend on the transport."""
    return {"name": SERVER_NAME, "version": version, "extensions": extensions}


def model_metadata(manifest: Manifest, versions: Collection[int]) -> dict[str, object]:
    """Describe the inputs and outputs of one version, and list the versions."""
    return {
        "name": manifest.name,
        "versions": list(map(str, sorted(versions))),
        "platform": PLATFORM,
        "inputs": input_specs(manifest),
        "outputs": output_specs(manifest),
    }


def repository_index(repository: Repository, *, only_ready: bool) -> list[dict[str, str]]:
    """List every version found, the lowest first, and why one is not served."""
    entries = [
        {
            "name": repository.name,
            "version": str(status.number),
            "state": "READY" if status.state == "AVAILABLE" else "UNAVAILABLE",
            "reason": status.error,
        }
        for status in reversed(repository.statuses)
    ]
    return [entry for entry in entries if entry["state"] == "READY" or not only_ready]


def statistics(repository: Repository, versions: Collection[int]) -> dict[str, object]:
    """Return what all workers counted since the service started, the lowest version first."""
    return {"model_stats": [_model_stats(repository, number) for number in sorted(versions)]}


def _model_stats(repository: Repository, version: int) -> dict[str, object]:
    totals = repository.metrics.statistics(version)
    durations = {"success": totals.success, "fail": totals.fail, **totals.parts}
    return {
        "name": repository.name,
        "version": str(version),
        "last_inference": totals.last_inference_ms,
        "inference_count": totals.images,
        "execution_count": totals.executions,
        "inference_stats": {name: asdict(duration) for name, duration in durations.items()},
        "batch_stats": [
            {
                "batch_size": images,
                **{name: asdict(parts[name]) for name in parts if name != "queue"},
            }
            for images, parts in totals.batches.items()
        ],
    }
