"""The Open Inference Protocol V2: REST messages, and the metadata for REST and gRPC."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from .. import __version__
from ..capacity.admission import Permit
from ..errors import InvalidInference, InvalidTensor
from ..model.artifact import Manifest
from ..model.classifier import Classifier
from ..model.repository import Repository
from . import inference
from .inference import Answer, InferenceRequest, PreparedRequest, RequestedOutput
from .json_arrays import image_shapes, parse_with_numbers
from .tensors import BYTES, NamedTensor, from_json, from_raw, to_raw

GRPC_EXTENSIONS = ["classification", "model_configuration", "model_repository", "statistics"]
REST_EXTENSIONS = ["binary_tensor_data", *GRPC_EXTENSIONS]

PLATFORM = "tensorflow_savedmodel"

MAX_ITEMS = 1024  # Limit of inputs, outputs and dimensions; far more than any model has.

Document = dict[str, object]  # JSON.

_KINDS = {str: "string", int: "integer", bool: "boolean", list: "list", dict: "dictionary"}
_REQUIRED: Any = object()


def read(
    model: str, body: bytes, json_length: int | None, classifier: Classifier, permit: Permit
) -> PreparedRequest[Answer]:
    """Read an inference request as `read_message` does."""
    request = read_message(model, body, json_length, classifier, permit)
    return inference.read_tensors(request, classifier, permit, write_message)


def read_message(
    model: str, body: bytes, json_length: int | None, classifier: Classifier, permit: Permit
) -> InferenceRequest:
    """Read JSON, then the binary tensors in the order of the inputs.

    `json_length` is None if the whole body is JSON, 0 if it is one raw image.
    """
    spec = classifier.manifest.input
    if json_length == 0:
        shape = (1, *spec.shape)
        tensor = NamedTensor(spec.name, "FP32", shape, from_raw(body, "FP32", shape))
        return InferenceRequest(model, [tensor], is_binary=True)
    if json_length is not None and not 0 <= json_length <= len(body):
        raise InvalidInference(
            f"the header gives the JSON {json_length} bytes, but the body has {len(body)}"
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
    return InferenceRequest(model, tensors, outputs, prepare, request_id, is_binary)


def _read_output(sent: dict[str, Any], place: str, is_binary: bool) -> RequestedOutput:
    name = _get(sent, place, "name", str)
    parameters = _get(sent, place, "parameters", dict, {})
    inference.refuse_shared_memory(name, parameters)
    get = partial(_get, parameters, f"{place}parameters.")
    return RequestedOutput(name, get("classification", int, 0), get("binary_data", bool, is_binary))


def _read_input(
    sent: dict[str, Any], place: str, binary: memoryview
) -> tuple[NamedTensor, memoryview]:
    """Return the tensor, and the binary data of the inputs after it."""
    name = _get(sent, place, "name", str)
    shape = tuple(_get_list(sent, place, "shape", int))
    datatype = _get(sent, place, "datatype", str)
    parameters = _get(sent, place, "parameters", dict, {})
    inference.refuse_shared_memory(name, parameters)
    size = _get(parameters, f"{place}parameters.", "binary_data_size", int, None)
    data = sent.get("data")
    if size is not None and data is not None:
        raise InvalidTensor(f"{name}: give data or binary_data_size, not both")
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
    """Return a field; null counts as missing, because some clients send every field they know."""
    value = fields.get(name)
    if value is None and default is _REQUIRED:
        raise InvalidInference(f"{place}{name}: Field required")
    if value is None:
        return default
    _check(value, kind, place + name)
    return value


def _get_list(fields: Any, place: str, name: str, kind: type, default: Any = _REQUIRED) -> Any:
    items = _get(fields, place, name, list, default)
    # Limited, because a body may have millions of wrong items.
    for index, item in enumerate(items[:MAX_ITEMS]):
        _check(item, kind, f"{place}{name}.{index}")
    if len(items) > MAX_ITEMS:
        raise InvalidInference(f"{place}{name}: List should have at most {MAX_ITEMS} items")
    return items


def write_message(
    request: InferenceRequest, outputs: Sequence[NamedTensor], manifest: Manifest
) -> Answer:
    """Write the answer to an inference request."""
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
    answer: dict[str, Any] = {
        "model_name": request.model,
        "model_version": str(manifest.version),
        "id": request.request_id,
    }
    if request.warning:
        answer["parameters"] = {"warning": request.warning}
    answer["outputs"] = entries
    # NaN and infinity become null in JSON.
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([head, *tails]), len(head)) if tails else (head, None)


def server_metadata(extensions: Sequence[str]) -> Document:
    """Describe the server."""
    return {"name": "fashion_mnist_service", "version": __version__, "extensions": extensions}


def model_metadata(repository: Repository, name: str, version: str) -> Document:
    """Describe the input and outputs of a version under a name of the model."""
    manifest = repository.find(name, version).manifest
    return {
        "name": name,
        "versions": list(map(str, sorted(repository.serving))),
        "platform": PLATFORM,
        "inputs": [inference.input_spec(manifest, name)],
        "outputs": inference.output_specs(manifest, name),
    }


def model_config(repository: Repository, max_images: int, name: str, version: str) -> Document:
    """Return the fields of Triton's `config.pbtxt` that its clients read."""
    classifier = repository.find(name, version)
    spec = inference.input_spec(classifier.manifest, name)
    outputs = inference.output_specs(classifier.manifest, name)
    parity = orjson.dumps(classifier.manifest.scores.get("parity")).decode()
    layout = {} if spec["datatype"] == BYTES else {"format": "FORMAT_NHWC"}
    return {
        "name": name,
        "platform": PLATFORM,
        "backend": "tensorflow",
        "max_batch_size": max_images,
        "input": [_tensor_config(spec) | layout],
        "output": [_tensor_config(output) for output in outputs],
        "parameters": {
            "engine": {"string_value": classifier.engine_name},
            "precision": {"string_value": classifier.precision},
            "parity": {"string_value": parity},  # Differences from the SavedModel's answers.
        },
    }


def _tensor_config(spec: Mapping[str, Any]) -> Document:
    """Describe a tensor without its batch dimension."""
    datatype = "STRING" if spec["datatype"] == BYTES else spec["datatype"]
    return {"name": spec["name"], "data_type": f"TYPE_{datatype}", "dims": spec["shape"][1:]}


def repository_index(repository: Repository, *, only_ready: bool) -> list[dict[str, str]]:
    """List every version, lowest first, with the reason if it is not served."""
    entries = [
        {
            "name": name,
            "version": str(status.number),
            "state": "READY" if status.state == "AVAILABLE" else "UNAVAILABLE",
            "reason": status.error,
        }
        for name in repository.names
        for status in reversed(repository.statuses)
    ]
    return [entry for entry in entries if entry["state"] == "READY" or not only_ready]


def statistics(repository: Repository, name: str = "", version: str = "") -> Document:
    """Return the statistics of all workers since the start, the same under each model name."""
    name = name or repository.name
    repository.check_name(name)
    versions = sorted(repository.serving)
    if version:
        versions = [repository.find(name, version).manifest.version]
    of_version = repository.metrics.statistics.of_version
    return {"model_stats": [{"name": name, "version": str(n), **of_version(n)} for n in versions]}
