"""The Open Inference Protocol V2: REST messages, and the metadata for REST and gRPC."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from .. import __version__
from ..capacity.admission import Permit
from ..errors import InvalidInference
from ..model.classifier import Classifier
from ..model.repository import Repository
from .inference import (
    Answer,
    Document,
    Message,
    PreparedRequest,
    input_spec,
    output_specs,
    read_message,
)
from .json_arrays import image_shapes, parse_with_numbers
from .tensors import BYTES, NamedTensor, to_raw

GRPC_EXTENSIONS = ["classification", "model_configuration", "model_repository", "statistics"]
REST_EXTENSIONS = ["binary_tensor_data", *GRPC_EXTENSIONS]

PLATFORM = "tensorflow_savedmodel"


def read(
    model: str, body: bytes, json_length: int | None, classifier: Classifier, permit: Permit
) -> PreparedRequest[Answer]:
    """Read a request over REST: JSON, then the binary tensors in the order of the inputs.

    `json_length` is None if the whole body is JSON, 0 if it is one raw image.
    """
    spec = classifier.manifest.input
    if json_length is not None and not 0 <= json_length <= len(body):
        raise InvalidInference(
            f"the header gives the JSON {json_length} bytes, but the body has {len(body)}"
        )
    if json_length == 0:
        image = {"name": spec.name, "shape": [1, *spec.shape], "datatype": "FP32", "data": body}
        message = Message(model, {"inputs": [image], "parameters": {"binary_data_output": True}})
    else:
        text = body[:json_length]
        path, shapes = ("inputs", 0, "data"), [(), *image_shapes(spec.shape)]
        fields = parse_with_numbers(text, path, shapes, permit.limits)
        message = Message(model, fields, memoryview(body)[len(text) :])
    return read_message(message, classifier, permit, _write)


def _write(head: Document, outputs: Sequence[NamedTensor], are_binary: Sequence[bool]) -> Answer:
    tails: list[bytes | memoryview] = []
    entries = []
    for output, is_binary in zip(outputs, are_binary, strict=True):
        name, values = output
        entry: Document = {"name": name, "datatype": output.datatype, "shape": values.shape}
        if is_binary:
            tails.append(to_raw(values))
            entry["parameters"] = {"binary_data_size": len(tails[-1])}
        elif output.datatype == BYTES:
            entry["data"] = [element.decode() for element in values.reshape(-1).tolist()]
        else:
            entry["data"] = values.reshape(-1)
        entries.append(entry)
    # NaN and infinity become null in JSON.
    text = orjson.dumps({**head, "outputs": entries}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([text, *tails]), len(text)) if tails else (text, None)


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
        "inputs": [input_spec(manifest, name)],
        "outputs": output_specs(manifest, name),
    }


def model_config(repository: Repository, max_images: int, name: str, version: str) -> Document:
    """Return the fields of Triton's `config.pbtxt` that its clients read."""
    classifier = repository.find(name, version)
    spec = input_spec(classifier.manifest, name)
    outputs = output_specs(classifier.manifest, name)
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
