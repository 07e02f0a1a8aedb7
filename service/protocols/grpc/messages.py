"""Reads and writes the inference messages of gRPC."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError, Message

from ...capacity.admission import Limits, Permit
from ...errors import BodyTooLarge, InvalidInference, InvalidTensor
from ...model.artifact import Manifest
from ...model.classifier import Classifier
from .. import inference, tensors
from ..inference import InferenceRequest, PreparedRequest, RequestedOutput
from ..tensors import BYTES, DTYPES, NamedTensor, Values
from . import open_inference_pb2 as pb

# The field of a datatype's values, unless they are raw. FP16 is always raw.
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

_MAX_FIELDS = 1024  # Per message, besides one per image: a parsed empty field takes 100 bytes.
_SIZES = {0: 0, 1: 8, 2: 0, 5: 4}  # In bytes, by wire type; 0 if a varint follows.

Fields: TypeAlias = Mapping[int, Any]
"""By field number: the fields of a nested message, or the minimum bytes of a packed number."""

# Of ModelInferRequest.
INFER_FIELDS: Fields = {5: {3: 1, 4: {}, 5: {1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 4, 7: 8}}, 6: {2: {}}}


def parse(message_type: type[Message], body: bytes, fields: Fields, limits: Limits) -> Any:
    """Parse a message, unless it has so many fields or numbers that they fill the memory.

    Raises BodyTooLarge; InvalidInference, where gRPC itself would answer an internal error.
    """
    left = [_MAX_FIELDS + limits.max_images, limits.max_json_marks]
    try:
        if _count(body, 0, len(body), fields, left) == len(body):
            return message_type.FromString(body)
    except (DecodeError, LookupError):
        pass
    raise InvalidInference(f"not a message of the type {message_type.DESCRIPTOR.name}")


def _count(body: bytes, at: int, end: int, fields: Fields, left: list[int]) -> int:
    """Subtract the fields and numbers of `body[at:end]` from `left`; return where they end."""
    while at < end:
        tag, at = _varint(body, at)
        size = _SIZES[tag & 7]  # A deprecated group raises KeyError.
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
            raise BodyTooLarge("the message has more fields or numbers than any image needs")
    return at


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Return a varint of at most ten bytes, and where it ends."""
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
    """Read an inference request; its answer is typed if the request is, else raw."""
    is_typed = bool(message.inputs) and not message.raw_input_contents
    write = partial(_write_message, is_typed)
    return inference.read_tensors(_read_message(message), classifier, permit, write)


def _read_message(message: pb.ModelInferRequest) -> InferenceRequest:
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidInference(f"{len(message.inputs)} inputs, {len(raw)} raw_input_contents")
    if raw and any(sent.contents.ByteSize() for sent in message.inputs):
        raise InvalidInference("give raw_input_contents or contents, not both")
    for tensor in (*message.inputs, *message.outputs):
        inference.refuse_shared_memory(tensor.name, tensor.parameters)
    inputs = []
    for index, sent in enumerate(message.inputs):
        name, datatype, shape = sent.name, sent.datatype, tuple(sent.shape)
        content, field = raw[index] if raw else None, _CONTENTS.get(datatype, "")
        try:
            values = read_values(content, sent.contents, field, datatype, shape)
        except InvalidTensor as error:
            raise error.at(name) from error
        inputs.append(NamedTensor(name, datatype, shape, values))
    outputs = [
        RequestedOutput(o.name, _parameter(o.parameters, "classification", 0))
        for o in message.outputs
    ]
    prepare = _parameter(message.parameters, "prepare", "auto")
    return InferenceRequest(message.model_name, inputs, outputs, prepare, message.id)


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
            response.raw_output_contents.append(bytes(tensors.to_raw(tensor)))
    return response


def read_values(
    raw: bytes | None, message: Message, field: str, datatype: str, shape: tuple[int, ...]
) -> Values:
    """Return the values of a tensor from `raw`, or from a field of the message if it is None."""
    if raw is not None:
        return tensors.from_raw(raw, datatype, shape)
    count = tensors.count_values(datatype, shape)
    if not field:
        raise InvalidTensor(f"{datatype} has no typed contents; use raw_input_contents")
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
    """Return a parameter, which must have the default's type."""
    if name not in parameters:
        return default
    parameter = parameters[name]
    value = getattr(parameter, parameter.WhichOneof("parameter_choice") or "bool_param")
    if type(value) is not type(default):
        raise InvalidInference(f"{name}: {value!r} is not of type {type(default).__name__}")
    return value
