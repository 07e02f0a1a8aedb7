"""The Open Inference Protocol V2 over REST: inference in JSON and binary, metadata, statistics."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import orjson

from service.capacity.admission import Permit
from service.errors import InvalidInference, InvalidTensor
from service.model.artifact import Manifest
from service.model.classifier import Classifier
from service.model.repository import Repository
from service.protocols.inference import (
    DEFAULT_OUTPUTS,
    Answer,
    InferenceRequest,
    PreparedRequest,
    RequestedOutput,
    input_specs,
    output_specs,
    read_tensors,
)
from service.protocols.json_arrays import image_shapes, parse_with_numbers
from service.protocols.tensors import NamedTensor, from_json, from_raw, to_raw

REST_EXTENSIONS = ["binary_tensor_data", "classification", "model_repository", "statistics"]
GRPC_EXTENSIONS = ["classification"]

MAX_ITEMS = 1024  # Inputs, outputs or dimensions that are read; no model has as many.

_BINARY_OUTPUTS = [output._replace(is_binary=True) for output in DEFAULT_OUTPUTS]
_KINDS = {str: "string", int: "integer", bool: "boolean", list: "list", dict: "dictionary"}
_REQUIRED: Any = object()


def read(
    body: bytes, json_length: int | None, classifier: Classifier, permit: Permit
) -> PreparedRequest[Answer]:
    """Read an inference request as `read_message` does; `write_message` makes its answer."""
    request = read_message(body, json_length, classifier, permit)
    return read_tensors(request, classifier, permit, write_message)


def read_message(
    body: bytes, json_length: int | None, classifier: Classifier, permit: Permit
) -> InferenceRequest:
    """Read JSON, then the binary tensors in the order of the inputs.

    `json_length` is None if all of the body is JSON, 0 if it is one raw image for the model's own
    input.
    """
    spec = classifier.manifest.input
    if json_length == 0:
        shape = (1, *spec.shape)
        tensor = NamedTensor(spec.name, "FP32", shape, from_raw(body, "FP32", shape))
        return InferenceRequest([tensor], _BINARY_OUTPUTS)
    if json_length is not None and not 0 <= json_length <= len(body):
        raise InvalidInference(
            f"the JSON is said to have {json_length} bytes, the body has {len(body)}"
        )
    text = body[:json_length]
    path, shapes = ("inputs", 0, "data"), [(), *image_shapes(spec.shape)]
    message = parse_with_numbers(text, path, shapes, permit.limits)
    _check(message, dict, "the request")
    request_id = _get(message, "", "id", str, None)
    parameters = _get(message, "", "parameters", dict, {})
    is_binary = _get(parameters, "parameters.", "binary_data_output", bool, False)
    prepare = _get(parameters, "parameters.", "prepare", str, "auto")
    inputs = _get_list(message, "", "inputs", dict)
    outputs = [
        _read_output(sent, f"outputs.{index}.", is_binary)
        for index, sent in enumerate(_get_list(message, "", "outputs", dict, []))
    ]
    tensors, binary = [], memoryview(body)[len(text) :]
    for index, sent in enumerate(inputs):
        tensor, binary = _read_input(sent, f"inputs.{index}.", binary)
        tensors.append(tensor)
    if binary:
        raise InvalidInference(f"{len(binary)} bytes of the body belong to no input")
    defaults = _BINARY_OUTPUTS if is_binary else DEFAULT_OUTPUTS
    return InferenceRequest(tensors, outputs or defaults, prepare, request_id)


def _read_output(sent: dict[str, Any], place: str, is_binary: bool) -> RequestedOutput:
    name = _get(sent, place, "name", str)
    parameters = _get(sent, place, "parameters", dict, {})
    get = partial(_get, parameters, f"{place}parameters.")
    return RequestedOutput(name, get("classification", int, 0), get("binary_data", bool, is_binary))


def _read_input(
    sent: dict[str, Any], place: str, binary: memoryview
) -> tuple[NamedTensor, memoryview]:
    """Return the tensor, and the bytes that are left for the inputs after it."""
    name = _get(sent, place, "name", str)
    shape = tuple(_get_list(sent, place, "shape", int))
    datatype = _get(sent, place, "datatype", str)
    parameters = _get(sent, place, "parameters", dict, {})
    size = _get(parameters, f"{place}parameters.", "binary_data_size", int, None)
    data = sent.get("data")
    if size is not None and data is not None:
        raise InvalidTensor(f"{name}: data and binary_data_size exclude each other")
    if size is not None and not 0 <= size <= len(binary):
        raise InvalidTensor(
            f"{name}: binary_data_size is {size}, {len(binary)} bytes are left in the body"
        )
    try:
        if size is None:
            values = from_json(data, datatype, shape)
        else:
            values = from_raw(binary[:size], datatype, shape)
    except InvalidTensor as error:
        raise error.at(name) from error
    return NamedTensor(name, datatype, shape, values), binary[size or 0 :]


def _check(value: object, kind: type, place: str) -> None:
    if type(value) is not kind:
        raise InvalidInference(f"{place}: Input should be a valid {_KINDS[kind]}")


def _get(fields: Any, place: str, name: str, kind: type, default: Any = _REQUIRED) -> Any:
    """Return a field; null is one left out: some clients write all the fields they know."""
    value = fields.get(name)
    if value is None and default is _REQUIRED:
        raise InvalidInference(f"{place}{name}: Field required")
    if value is None:
        return default
    _check(value, kind, place + name)
    return value


def _get_list(fields: Any, place: str, name: str, kind: type, default: Any = _REQUIRED) -> Any:
    items = _get(fields, place, name, list, default)
    # A body has room for millions of wrong items.
    for index, item in enumerate(items[:MAX_ITEMS]):
        _check(item, kind, f"{place}{name}.{index}")
    if len(items) > MAX_ITEMS:
        raise InvalidInference(f"{place}{name}: List should have at most {MAX_ITEMS} items")
    return items


def write_message(
    request: InferenceRequest, outputs: Sequence[NamedTensor], manifest: Manifest
) -> Answer:
    """Return the body of the answer, and the length of its JSON if binary tensors follow it."""
    tails: list[bytes | memoryview] = []
    entries = []
    for requested, output in zip(request.outputs, outputs, strict=True):
        name, datatype, shape, values = output
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if requested.is_binary:
            tails.append(to_raw(output))
            entry["parameters"] = {"binary_data_size": len(tails[-1])}
        elif isinstance(values, list):
            entry["data"] = [element.decode() for element in values]
        else:
            entry["data"] = values.reshape(-1)
        entries.append(entry)
    answer: dict[str, Any] = {"model_name": manifest.name, "model_version": str(manifest.version)}
    if request.request_id is not None:
        answer["id"] = request.request_id
    if request.warning:
        answer["parameters"] = {"warning": request.warning}
    answer["outputs"] = entries
    # In JSON, NaN and infinity become null; a binary output keeps them.
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([head, *tails]), len(head)) if tails else (head, None)


def server_metadata(version: str, extensions: Sequence[str]) -> dict[str, object]:
    """Describe the server; its extensions depend on the transport."""
    return {"name": "fashion_mnist_service", "version": version, "extensions": extensions}


def model_metadata(manifest: Manifest, versions: Collection[int]) -> dict[str, object]:
    """Describe the inputs and outputs of one version, and list the versions."""
    return {
        "name": manifest.name,
        "versions": list(map(str, sorted(versions))),
        "platform": "tensorflow_savedmodel",
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
    of_version, name = repository.metrics.statistics.of_version, repository.name
    stats = [{"name": name, "version": str(n), **of_version(n)} for n in sorted(versions)]
    return {"model_stats": stats}
