"""The protocol's inference messages to and from the core's requests and tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.model.artifact import Manifest
from service.errors import InvalidInference, InvalidTensor
from service.protocols.grpc import open_inference_pb2 as pb
from service.protocols.inference import InferenceRequest, RequestedOutput
from service.protocols.tensors import (
    BYTES,
    DTYPES,
    NamedTensor,
    Values,
    check_datatype,
    check_shape,
    from_raw,
    to_raw,
)

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""Which field holds the values of a datatype, unless they come raw. FP16 always comes raw."""


def read_request(message: pb.ModelInferRequest) -> InferenceRequest:
    """Read an inference request.

    Raises:
        InvalidInference: A parameter is of the wrong kind, the raw contents are not one for each
            input, or an input has others as well.
        InvalidTensor: The contents of an input do not fit its datatype and shape.
    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidInference(f"{len(message.inputs)} inputs, {len(raw)} raw_input_contents")
    if raw and any(given.contents.ByteSize() for given in message.inputs):
        raise InvalidInference("raw_input_contents and contents exclude each other")
    tensors = []
    for index, given in enumerate(message.inputs):
        shape = tuple(given.shape)
        try:
            if raw:
                values = from_raw(raw[index], given.datatype, shape)
            else:
                values = _from_contents(given, shape)
        except InvalidTensor as error:
            raise error.at(given.name) from error
        tensors.append(NamedTensor(given.name, given.datatype, shape, values))
    outputs = [
        RequestedOutput(o.name, _parameter(o.parameters, "classification", 0))
        for o in message.outputs
    ]
    return InferenceRequest(tensors, outputs, _parameter(message.parameters, "prepare", "auto"))


def write_response(
    outputs: Sequence[NamedTensor], request_id: str, manifest: Manifest
) -> pb.ModelInferResponse:
    """Return the answer, its tensors as raw contents."""
    return pb.ModelInferResponse(
        model_name=manifest.name,
        model_version=str(manifest.version),
        id=request_id,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(
                name=output.name, datatype=output.datatype, shape=output.shape
            )
            for output in outputs
        ],
        raw_output_contents=[bytes(to_raw(output)) for output in outputs],
    )


def _from_contents(given: pb.ModelInferRequest.InferInputTensor, shape: tuple[int, ...]) -> Values:
    check_datatype(given.datatype)
    check_shape(shape)
    if given.datatype not in _CONTENTS:
        raise InvalidTensor(f"{given.datatype} has no typed contents; send it raw")
    contents = list(getattr(given.contents, _CONTENTS[given.datatype]))
    if len(contents) != np.prod(shape, dtype=object):
        raise InvalidTensor(
            f"{len(contents)} values in {_CONTENTS[given.datatype]}, the shape is {list(shape)}"
        )
    if given.datatype == BYTES:
        return contents
    try:
        return np.array(contents, DTYPES[given.datatype]).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise InvalidTensor(f"not a tensor of {given.datatype}: {error}") from error


def _parameter(parameters: Mapping[str, pb.InferParameter], name: str, default: Any) -> Any:
    """Return a parameter, which must be of the default's type."""
    if name not in parameters:
        return default
    parameter = parameters[name]
    value = getattr(parameter, parameter.WhichOneof("parameter_choice") or "bool_param")
    if type(value) is not type(default):
        raise InvalidInference(f"{name}: {value!r} is not of type {type(default).__name__}")
    return value
