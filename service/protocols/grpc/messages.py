"""Inference messages over gRPC to and from requests and tensors."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError, Message

from service.capacity.admission import Limits, Permit
from service.errors import BodyTooLarge, InvalidInference, InvalidTensor
from service.model.artifact import Manifest
from service.model.classifier import Classifier
from service.protocols.grpc import open_inference_pb2 as pb
from service.protocols.inference import (
    InferenceRequest,
    PreparedRequest,
    RequestedOutput,
    read_tensors,
    refuse_shared_memory,
)
from service.protocols.tensors import (
    BYTES,
    DTYPES,
    NamedTensor,
    Values,
    count_values,
    from_raw,
    to_raw,
)

_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(["INT8", "INT16", "INT32"], "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(["UINT8", "UINT16", "UINT32"], "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""The field of a datatype's values, unless they are raw. FP16 is always raw."""

_MAX_FIELDS = 1024  # Of a message, beside those for its images: parsed, an empty one is 100 bytes.
_SIZES = {0: 0, 1: 8, 2: 0, 5: 4}  # In bytes, by wire type; two begin with a varint.

Fields: TypeAlias = Mapping[int, Any]
"""By number: the fields of a field that is a message, or the fewest bytes of a packed number."""

INFER_FIELDS: Fields = {5: {3: 1, 4: {}, 5: {1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 4, 7: 8}}, 6: {2: {}}}
"""Of ModelInferRequest, as `parse` counts them."""


def parse(message_type: type[Message], body: bytes, fields: Fields, limits: Limits) -> Any:
    """Parse a message once its fields and numbers, in `fields` as well, have been counted.

    Raises:
        BodyTooLarge: It has more than requests have use for. They, not its bytes, take memory.
        InvalidInference: It is no such message; gRPC itself would answer an internal error.
    """
    left = [_MAX_FIELDS + limits.max_images, limits.max_json_marks]
    try:
        if _count(body, 0, len(body), fields, left) == len(body):
            return message_type.FromString(body)
    except (DecodeError, LookupError):
        pass
    raise InvalidInference(f"not a message of the type {message_type.DESCRIPTOR.name}")


def _count(body: bytes, at: int, end: int, fields: Fields, left: list[int]) -> int:
    """Subtract the fields and numbers of `body[at:end]` from what is left; return their end."""
    while at < end:
        tag, at = _varint(body, at)
        size = _SIZES[tag & 7]  # A group, which is outdated, raises KeyError.
        if not size:
            value, at = _varint(body, at)
            size = value if tag & 7 == 2 else 0
        nested = fields.get(tag >> 3, 0)
        if isinstance(nested, int):
            left[1] -= size // nested if nested else 0
        elif _count(body, at, at + size, nested, left) != at + size:
            raise IndexError
        at += size
        left[0] -= 1
        if min(left) < 0:
            raise BodyTooLarge("the message has more fields or numbers than pictures have use for")
    return at


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Return a number of at most ten bytes, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError


def read(
    message: pb.ModelInferRequest, classifier: Classifier, permit: Permit
) -> PreparedRequest[pb.ModelInferResponse]:
    """Read an inference request; its answer is typed if the request is, and raw otherwise."""
    is_typed = bool(message.inputs) and not message.raw_input_contents
    write = partial(_write_message, is_typed)
    return read_tensors(_read_message(message), classifier, permit, write)


def _read_message(message: pb.ModelInferRequest) -> InferenceRequest:
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidInference(f"{len(message.inputs)} inputs, {len(raw)} raw_input_contents")
    if raw and any(sent.contents.ByteSize() for sent in message.inputs):
        raise InvalidInference("raw_input_contents and contents exclude each other")
    for tensor in (*message.inputs, *message.outputs):
        refuse_shared_memory(tensor.name, tensor.parameters)
    tensors = []
    for index, sent in enumerate(message.inputs):
        name, datatype, shape = sent.name, sent.datatype, tuple(sent.shape)
        content, field = raw[index] if raw else None, _CONTENTS.get(datatype, "")
        try:
            values = read_values(content, sent.contents, field, datatype, shape)
        except InvalidTensor as error:
            raise error.at(name) from error
        tensors.append(NamedTensor(name, datatype, shape, values))
    outputs = [
        RequestedOutput(o.name, _parameter(o.parameters, "classification", 0))
        for o in message.outputs
    ]
    prepare = _parameter(message.parameters, "prepare", "auto")
    return InferenceRequest(message.model_name, tensors, outputs, prepare, message.id)


def _write_message(
    is_typed: bool, request: InferenceRequest, outputs: Sequence[NamedTensor], manifest: Manifest
) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(
        model_name=request.model, model_version=str(manifest.version), id=request.request_id
    )
    if request.warning:
        response.parameters["warning"].string_param = request.warning
    for name, datatype, shape, values in outputs:
        output = response.outputs.add(name=name, datatype=datatype, shape=shape)
        if is_typed:
            flat = values if isinstance(values, list) else values.reshape(-1).tolist()
            getattr(output.contents, _CONTENTS[datatype]).extend(flat)
        else:
            tensor = NamedTensor(name, datatype, shape, values)
            response.raw_output_contents.append(bytes(to_raw(tensor)))
    return response


def read_values(
    raw: bytes | None, message: Message, field: str, datatype: str, shape: tuple[int, ...]
) -> Values:
    """Return the values of a tensor from its bytes, or without them from a field of a message."""
    if raw is not None:
        return from_raw(raw, datatype, shape)
    count = count_values(datatype, shape)
    if not field:
        raise InvalidTensor(f"{datatype} has no typed contents; send it raw")
    values = list(getattr(message, field))
    if len(values) != count:
        raise InvalidTensor(f"{len(values)} values in {field}, the shape is {list(shape)}")
    if datatype == BYTES:
        return values
    try:
        return np.array(values, DTYPES[datatype]).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise InvalidTensor(f"not a tensor of {datatype}: {error}") from error


def _parameter(parameters: Mapping[str, pb.InferParameter], name: str, default: Any) -> Any:
    """Return a parameter, which must be of the default's type."""
    if name not in parameters:
        return default
    parameter = parameters[name]
    value = getattr(parameter, parameter.WhichOneof("parameter_choice") or "bool_param")
    if type(value) is not type(default):
        raise InvalidInference(f"{name}: {value!r} is not of type {type(default).__name__}")
    return value
