"""Inference messages over gRPC to and from requests and tensors."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from service.errors import InvalidInference, InvalidTensor
from service.model.artifact import Manifest
from service.protocols.grpc import open_inference_pb2 as pb
from service.protocols.inference import InferenceRequest, RequestedOutput
from service.protocols.tensors import (
    BYTES,
    DTYPES,
    NamedTensor,
    Values,
    check_form,
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


def read_request(message: pb.ModelInferRequest) -> InferenceRequest:
    """Read an inference request.

    Raises:
        InvalidInference: A parameter is of the wrong type, the raw contents are not one for each
            input, or an input has typed contents as well.
        InvalidTensor: The contents of an input do not fit its datatype and shape.
    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidInference(f"{len(message.inputs)} inputs, {len(raw)} raw_input_contents")
    if raw and any(sent.contents.ByteSize() for sent in message.inputs):
        raise InvalidInference("raw_input_contents and contents exclude each other")
    tensors = []
    for index, sent in enumerate(message.inputs):
        name, datatype, shape = sent.name, sent.datatype, tuple(sent.shape)
        try:
            if raw:
                values = from_raw(raw[index], datatype, shape)
            else:
                values = _from_contents(sent.contents, datatype, shape)
        except InvalidTensor as error:
            raise error.at(name) from error
        tensors.append(NamedTensor(name, datatype, shape, values))
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


def _from_contents(
    contents: pb.InferTensorContents, datatype: str, shape: tuple[int, ...]
) -> Values:
    check_form(datatype, shape)
    if datatype not in _CONTENTS:
        raise InvalidTensor(f"{datatype} has no typed contents; send it raw")
    values = list(getattr(contents, _CONTENTS[datatype]))
    if len(values) != prod(shape):
        raise InvalidTensor(
            f"{len(values)} values in {_CONTENTS[datatype]}, the shape is {list(shape)}"
        )
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
