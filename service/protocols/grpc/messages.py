"""Reads and writes the inference messages of gRPC."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from google.protobuf import message as protobuf

from ...capacity.admission import Limits, Permit
from ...errors import BodyTooLarge, InvalidInference
from ...model.classifier import Classifier
from ..inference import Document, Message, PreparedRequest, read_message
from ..tensors import BYTES, NamedTensor, to_raw, typed_values
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

_PARAMETERS = "prepare", "classification", "shared_memory_region"

_MAX_FIELDS = 1024  # Per message, besides one per image: a parsed empty field takes 100 bytes.
_SIZES = {0: 0, 1: 8, 2: 0, 5: 4}  # In bytes, by wire type; 0 if a varint follows.

Fields: TypeAlias = Mapping[int, Any]
"""By field number: the fields of a nested message, or the minimum bytes of a packed number."""

# Of ModelInferRequest.
INFER_FIELDS: Fields = {5: {3: 1, 4: {}, 5: {1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 4, 7: 8}}, 6: {2: {}}}


def parse(message_type: type[protobuf.Message], body: bytes, fields: Fields, limits: Limits) -> Any:
    """Parse a message, unless it has so many fields or numbers that they fill the memory.

    Raises BodyTooLarge; InvalidInference, where gRPC itself would answer an internal error.
    """
    left = [_MAX_FIELDS + limits.max_images, limits.max_json_marks]
    try:
        if _count(body, 0, len(body), fields, left) == len(body):
            return message_type.FromString(body)
    except (protobuf.DecodeError, LookupError):
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
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidInference(f"{len(message.inputs)} inputs, {len(raw)} raw_input_contents")
    if raw and any(sent.contents.ByteSize() for sent in message.inputs):
        raise InvalidInference("give raw_input_contents or contents, not both")
    inputs = [
        {
            "name": sent.name,
            "datatype": sent.datatype,
            "shape": list(sent.shape),
            "parameters": _parameters(sent),
            "data": raw[index] if raw else _typed_values(sent),
        }
        for index, sent in enumerate(message.inputs)
    ]
    fields = {
        "id": message.id,
        "parameters": _parameters(message),
        "inputs": inputs,
        "outputs": [{"name": o.name, "parameters": _parameters(o)} for o in message.outputs],
    }
    write = partial(_write, bool(inputs) and not raw)
    return read_message(Message(message.model_name, fields), classifier, permit, write)


def _parameters(sent: Any) -> dict[str, object]:
    """Return the parameters that the service reads."""
    found = {name: sent.parameters[name] for name in _PARAMETERS if name in sent.parameters}
    choices = {name: found[name].WhichOneof("parameter_choice") for name in found}
    return {name: getattr(found[name], choice) for name, choice in choices.items() if choice}


def _typed_values(tensor: pb.ModelInferRequest.InferInputTensor) -> object:
    field = _CONTENTS.get(tensor.datatype)
    return typed_values(getattr(tensor.contents, field), tensor.datatype) if field else []


def _write(
    is_typed: bool, head: Document, outputs: Sequence[NamedTensor], _: object
) -> pb.ModelInferResponse:
    parameters: Any = head.pop("parameters", {})
    response = pb.ModelInferResponse(**head)
    for name, text in parameters.items():
        response.parameters[name].string_param = text
    for tensor in outputs:
        name, values = tensor
        output = response.outputs.add(name=name, datatype=tensor.datatype, shape=values.shape)
        if is_typed:
            content = getattr(output.contents, _CONTENTS[tensor.datatype])
            content.extend(values.reshape(-1).tolist())
        else:
            response.raw_output_contents.append(bytes(to_raw(values)))
    return response
