"""Inference messages over gRPC to and from requests and tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.capacity.admission import Permit
from service.errors import InvalidInference, InvalidTensor
from service.model.artifact import Manifest
from service.model.classifier import Classifier
from service.protocols.grpc import open_inference_pb2 as pb
from service.protocols.inference import (
    DEFAULT_OUTPUTS,
    InferenceRequest,
    PreparedRequest,
    RequestedOutput,
    read_tensors,
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


def read(
    message: pb.ModelInferRequest, classifier: Classifier, permit: Permit
) -> PreparedRequest[pb.ModelInferResponse]:
    """Read an inference request, whose answer has its tensors as raw contents."""
    return read_tensors(_read_message(message), classifier, permit, _write_message)


def _read_message(message: pb.ModelInferRequest) -> InferenceRequest:
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
    prepare = _parameter(message.parameters, "prepare", "auto")
    return InferenceRequest(tensors, outputs or DEFAULT_OUTPUTS, prepare, message.id)


def _write_message(
    request: InferenceRequest, outputs: Sequence[NamedTensor], manifest: Manifest
) -> pb.ModelInferResponse:
    return pb.ModelInferResponse(
        model_name=manifest.name,
        model_version=str(manifest.version),
        id=request.request_id,
        parameters={"warning": pb.InferParameter(string_param=request.warning)}
        if request.warning
        else {},
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
    count = count_values(datatype, shape)
    if datatype not in _CONTENTS:
        raise InvalidTensor(f"{datatype} has no typed contents; send it raw")
    values = list(getattr(contents, _CONTENTS[datatype]))
    if len(values) != count:
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
