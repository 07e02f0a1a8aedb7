"""The messages of the Open Inference Protocol V2 over REST, JSON and binary."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

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

from service.model.artifact import Manifest
from service.protocols.json_parsing import JsonLimits
from service.errors import InvalidInference, InvalidTensor
from service.protocols.json_arrays import Shape
from service.protocols.inference import (
    InferenceRequest,
    RequestedOutput,
    TensorSpec,
    input_specs,
    output_specs,
)
from service.protocols.json_requests import parse_inference
from service.protocols.tensors import NamedTensor, Values, from_raw, to_raw
from service.protocols.tensors import from_json as tensor_from_json

PLATFORM = "tensorflow_savedmodel"

SERVER_NAME = "fashion_mnist_service"

REST_EXTENSIONS = ["binary_tensor_data", "classification", "model_repository", "statistics"]

GRPC_EXTENSIONS = ["classification"]


MAX_ITEMS = 1024
"""Inputs, outputs or dimensions that are looked at; no model has as many."""

T = TypeVar("T")

# A body has room for millions of wrong items, and to note all of them would take minutes.
_Items = Annotated[list[T], FailFast(), Field(max_length=MAX_ITEMS)]


class _Part(BaseModel):
    # What a server does not know it ignores: clients send parameters of other servers along.
    # What is frozen can be a default that all share; of another, each request would get a copy.
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: object) -> object:
        """Take null for a field left out: some clients write all the fields they know."""
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


@dataclass(frozen=True, slots=True)
class Message:
    """A request, and how it wants to be answered.

    Attributes:
        request: What to compute.
        request_id: To be echoed, or None.
        binary: Of the outputs asked for by name, whether each comes as bytes.
        binary_by_default: Whether outputs that were not asked for by name do.
    """

    request: InferenceRequest
    request_id: str | None = None
    binary: dict[str, bool] = field(default_factory=dict)
    binary_by_default: bool = False


def read_message(
    body: bytes, json_length: int | None, manifest: Manifest, limits: JsonLimits
) -> Message:
    """Read an inference request.

    Args:
        body: JSON, and behind it the tensors that it says are binary, in the order of the inputs.
        json_length: Bytes of the JSON; None if it is the whole body, 0 if the body is nothing but
            one raw picture for the model's own input.
        manifest: Of the model it is for.
        limits: Of the JSON.

    Raises:
        InvalidJSON: The JSON is none, or nests too deeply.
        BodyTooLarge: It has too many marks.
        InvalidInference: A field is missing or of the wrong kind, or the bytes do not add up.
        InvalidTensor: The data of an input does not fit its datatype and shape.
    """
    if json_length == 0:
        return Message(InferenceRequest([_raw_picture(body, manifest)]), binary_by_default=True)
    if json_length is not None and not 0 <= json_length <= len(body):
        raise InvalidInference(
            f"the JSON is said to have {json_length} bytes, the body has {len(body)}"
        )
    text = body[:json_length]
    document = _parse(text, manifest.input.shape, limits)
    tensors = _read_inputs(document.inputs, memoryview(body)[len(text) :])
    return Message(
        InferenceRequest(
            tensors,
            [RequestedOutput(o.name, o.parameters.classification) for o in document.outputs],
            document.parameters.prepare,
        ),
        document.id,
        {
            o.name: o.parameters.binary_data
            for o in document.outputs
            if o.parameters.binary_data is not None
        },
        document.parameters.binary_data_output,
    )


def write_message(
    outputs: Sequence[NamedTensor], message: Message, manifest: Manifest
) -> tuple[bytes, int | None]:
    """Return the body of the answer, and the bytes of its JSON if tensors follow it."""
    tails: list[bytes | memoryview] = []
    entries = []
    for output in outputs:
        entry: dict[str, Any] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": output.shape,
        }
        if message.binary.get(output.name, message.binary_by_default):
            raw = to_raw(output)
            tails.append(raw)
            entry["parameters"] = {"binary_data_size": len(raw)}
        elif isinstance(output.values, list):
            entry["data"] = [element.decode() for element in output.values]
        else:
            entry["data"] = output.values.reshape(-1)
        entries.append(entry)
    answer: dict[str, Any] = {"model_name": manifest.name, "model_version": str(manifest.version)}
    if message.request_id is not None:
        answer["id"] = message.request_id
    answer["outputs"] = entries
    # What is not finite becomes null, which JSON has; the bytes of a binary output keep it.
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([head, *tails]), len(head)) if tails else (head, None)


def server_metadata(version: str, extensions: Sequence[str]) -> dict[str, object]:
    """Return what the server is; which extensions it has depends on what carries them."""
    return {"name": SERVER_NAME, "version": version, "extensions": extensions}


def model_metadata(manifest: Manifest, versions: Sequence[int]) -> dict[str, object]:
    """Return the inputs and outputs of one version, with the versions there are."""
    return {
        "name": manifest.name,
        "versions": [str(version) for version in sorted(versions)],
        "platform": PLATFORM,
        "inputs": [_describe(spec) for spec in input_specs(manifest)],
        "outputs": [_describe(spec) for spec in output_specs(manifest)],
    }


def _describe(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _raw_picture(body: bytes, manifest: Manifest) -> NamedTensor:
    spec = manifest.input
    shape = (1, *spec.shape)
    return NamedTensor(spec.name, "FP32", shape, from_raw(body, "FP32", shape))


def _parse(text: bytes, image: Shape, limits: JsonLimits) -> _Request:
    document = parse_inference(text, image, limits)
    try:
        return _Request.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the request"
        raise InvalidInference(f"{where}: {first['msg']}") from error


def _read_inputs(inputs: Sequence[_Input], binary: memoryview) -> list[NamedTensor]:
    tensors = []
    start = 0
    for given in inputs:
        end = start + (given.parameters.binary_data_size or 0)
        try:
            values = _read_values(given, binary[start:end])
        except InvalidTensor as error:
            raise error.at(given.name) from error
        tensors.append(NamedTensor(given.name, given.datatype, tuple(given.shape), values))
        start = end
    if start != len(binary):
        raise InvalidInference(f"{len(binary) - start} bytes of the body belong to no input")
    return tensors


def _read_values(given: _Input, raw: memoryview) -> Values:
    size = given.parameters.binary_data_size
    if size is None:
        return tensor_from_json(given.data, given.datatype, given.shape)
    if given.data is not None:
        raise InvalidTensor("data and binary_data_size exclude each other")
    if size != len(raw):
        raise InvalidTensor(f"binary_data_size is {size}, {len(raw)} bytes are left in the body")
    return from_raw(raw, given.datatype, given.shape)
