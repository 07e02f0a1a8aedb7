"""The messages of TensorFlow Serving's REST API."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import orjson

from ..capacity.admission import Permit
from ..errors import InvalidInference, InvalidJSON, InvalidTensor
from ..model.classifier import Classifier
from ..model.occlusion import explain_each
from ..model.repository import VersionStatus
from . import inference
from .inference import Answer, Images, PreparedRequest, Read, RequestedOutput
from .json_arrays import Shape, decode_file, image_shapes, parse_with_numbers
from .tensors import NamedTensor, flatten, to_numbers


def read(body: bytes, classifier: Classifier, permit: Permit) -> PreparedRequest[Answer]:
    """Read a predict request: `instances`, with an item per image, or `inputs`, one tensor.

    An image is numbers in the network's units, or `{"b64": "…"}` of an image file.
    """
    manifest = classifier.manifest
    field = "instances" if b'"instances"' in body else "inputs"
    shapes = image_shapes(manifest.input.shape)
    try:
        document = parse_with_numbers(body, [field], shapes, permit.limits)
    except InvalidJSON as error:
        raise error.at("JSON parse error") from error
    permit.record.record_phase("decode")
    if not isinstance(document, dict):
        raise InvalidInference("the request must be a JSON object")
    by_row = "instances" in document
    if by_row == ("inputs" in document):
        raise InvalidInference("exactly one of 'instances' and 'inputs' must be given")
    field = "instances" if by_row else "inputs"

    outputs = signature_outputs(document.get("signature_name"), classifier)
    value = _without_name(document[field], manifest.input.name, by_row)
    images = _to_images(field, value, classifier, permit)
    write = partial(_write, by_row=by_row)
    return inference.prepare_outputs(outputs, images, classifier, write)


def signature_outputs(signature: object, classifier: Classifier) -> list[RequestedOutput]:
    """Return the outputs of a signature, in order; raises InvalidInference if it is unknown."""
    name = "serving_default" if signature in (None, "") else signature
    if not isinstance(name, str) or (names := classifier.signatures.get(name)) is None:
        short = name[:80] if isinstance(name, str) else name
        sent = type(name).__name__ if isinstance(name, list | dict) else json.dumps(short)
        raise InvalidInference(f"serving signature name: {sent} not found in signature def")
    return [RequestedOutput(each, is_layer=name == "feature_maps") for each in sorted(names)]


def _write(outputs: Sequence[NamedTensor], *, by_row: bool) -> Answer:
    tensors: dict[str, Any] = {output.name: output.values for output in outputs}
    table: Any = tensors
    if len(tensors) == 1:
        [table] = tensors.values()
    elif by_row:
        rows = zip(*tensors.values(), strict=True)
        table = [dict(zip(tensors, row, strict=True)) for row in rows]
    answer = {"predictions" if by_row else "outputs": table}
    if all(np.isfinite(tensor).all() for tensor in tensors.values()):
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), None
    # TensorFlow Serving writes NaN, Infinity and -Infinity too, which are not JSON.
    return json.dumps(answer, default=lambda array: array.tolist()).encode(), None


def explain(read_images: Read[Answer], classifier: Classifier, permit: Permit) -> bytes:
    """Answer an `:explain` request; NaN becomes null."""
    images = inference.prepare(read_images, classifier, permit).images
    answer = {"explanations": explain_each(images, classifier, permit)}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def status(statuses: Sequence[VersionStatus]) -> dict[str, object]:
    """Return the state of each version."""
    return {
        "model_version_status": [
            {
                "version": str(version.number),
                "state": version.state,
                "status": {
                    "error_code": "FAILED_PRECONDITION" if version.error else "OK",
                    "error_message": version.error,
                },
            }
            for version in statuses
        ]
    }


def metadata(classifier: Classifier) -> dict[str, object]:
    """Describe the signatures of a version like its SavedModel."""
    manifest, signatures = classifier.manifest, classifier.signatures
    definitions = {}
    for signature, outputs in signatures.items():
        # TensorFlow numbers the signatures' calls in the order of their names.
        number = sorted(signatures).index(signature)
        call = f"StatefulPartitionedCall_{number}" if number else "StatefulPartitionedCall"
        name, shape = manifest.input.name, manifest.input.shape
        definitions[signature] = {
            "inputs": {name: _tensor_info(shape, f"{signature}_{name}:0")},
            "outputs": {
                output: _tensor_info(outputs[output], f"{call}:{index}")
                for index, output in enumerate(sorted(outputs))
            },
            "method_name": "tensorflow/serving/predict",
        }
    spec = {"name": manifest.name, "signature_name": "", "version": str(manifest.version)}
    return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": definitions}}}


def _tensor_info(shape: Shape, name: str) -> dict[str, object]:
    dimensions = [{"size": str(size), "name": ""} for size in (-1, *shape)]
    shape_info = {"dim": dimensions, "unknown_rank": False}
    return {"dtype": "DT_FLOAT", "tensor_shape": shape_info, "name": name}


def _without_name(value: Any, input_name: str, by_row: bool) -> object:
    """Return the value of the only input, whose name each row, or the table, may give."""
    if by_row:
        is_named = isinstance(value, list) and all(
            isinstance(item, dict) and item.keys() == {input_name} for item in value
        )
        return [item[input_name] for item in value] if is_named else value
    if isinstance(value, dict) and value.keys() == {input_name}:
        value = value[input_name]
    return [value] if isinstance(value, dict | str) else value


def _to_images(field: str, value: object, classifier: Classifier, permit: Permit) -> Images:
    try:
        flat, shape, types = flatten(value)
    except InvalidTensor as error:
        raise error.at(field) from error
    if types and types <= {dict, str} and len(shape) == 1:
        hint = ", or name the input as the metadata does"
        files = [
            decode_file(item, f"{field}[{index}]", InvalidTensor, hint)
            for index, item in enumerate(flat)
        ]
        tensor = NamedTensor(field, np.array(files, object))
        return inference.files_to_images(tensor, classifier, permit)
    if not types <= {int, float}:
        raise InvalidTensor(f"{field}: expected numbers, or an object with b64 for each image")
    try:
        values = to_numbers(flat, types, "FP32").reshape(shape)
    except InvalidTensor as error:
        raise error.at(field) from error
    return inference.numbers_to_images(NamedTensor(field, values), classifier, permit)
