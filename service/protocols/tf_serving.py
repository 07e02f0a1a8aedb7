"""The messages of TensorFlow Serving's REST API."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson

from service.arrays import Assessment, Tensor
from service.capacity.admission import Limits, Permit
from service.errors import InvalidInference, InvalidJSON, InvalidTensor
from service.model.artifact import Manifest
from service.model.classifier import Classifier
from service.model.repository import VersionStatus
from service.protocols.inference import (
    NOVELTY,
    PROBABILITIES,
    files_to_images,
    numbers_to_images,
    reserve_images,
    run_network,
)
from service.protocols.json_arrays import (
    Shape,
    decode_file,
    image_shapes,
    parse_json,
    parse_with_numbers,
)
from service.protocols.tensors import BYTES, NamedTensor, flatten

Signature = Literal["serving_default", "novelty", "feature_maps"]
"""Gives probabilities, these and the novelty, or the output of every layer."""


class PredictRequest(NamedTuple):
    """A request for one of the model's signatures."""

    signature: Signature
    by_row: bool
    """Whether the answer is a list with an item per image, or a table of columns."""
    images: Tensor
    """(n, height, width, 1) float32."""


def predict(request: PredictRequest, classifier: Classifier, permit: Permit) -> bytes:
    """Run the signature that a request is for, and return the answer."""
    wanted = {"layers"} if request.signature == "feature_maps" else {PROBABILITIES}
    assessment, layers = run_network(classifier, request.images, wanted, permit)
    if assessment is None:
        return write_answer(request, layers)
    return write_assessment(request, assessment)


def read_request(body: bytes, classifier: Classifier, permit: Permit) -> PredictRequest:
    """Read a predict request: `instances`, with an item per image, or `inputs`, one tensor.

    An image is numbers in the network's own units, or `{"b64": "…"}` of an image file.

    Raises:
        RequestError: The request is malformed, or its images are rejected.
    """
    manifest = classifier.manifest
    try:
        document = _parse(body, manifest.input.shape, permit.limits)
    except InvalidJSON as error:
        raise error.at("JSON parse error") from error
    permit.record.record_phase("decode")
    if not isinstance(document, dict):
        raise InvalidInference("the request must be a JSON object")
    by_row = "instances" in document
    if by_row == ("inputs" in document):
        raise InvalidInference("exactly one of 'instances' and 'inputs' must be given")
    signature = _signature(document.get("signature_name"), manifest)
    field, read = ("instances", _rows) if by_row else ("inputs", _columns)
    value = read(document[field], manifest.input.name)
    return PredictRequest(signature, by_row, _to_images(field, value, classifier, permit))


def write_assessment(request: PredictRequest, assessment: Assessment) -> bytes:
    """Return the answer to a request for a signature other than `feature_maps`."""
    probabilities, novelty = assessment
    if request.signature == "novelty" and novelty is not None:
        return write_answer(request, {NOVELTY: novelty, PROBABILITIES: probabilities})
    return write_answer(request, probabilities)


def write_answer(request: PredictRequest, outputs: Tensor | Mapping[str, Tensor]) -> bytes:
    """Return the answer in the form of the request; a single output has no name in it."""
    answer: dict[str, Any]
    if not request.by_row:
        answer = {"outputs": outputs}
    elif isinstance(outputs, Mapping):
        rows = range(len(request.images))
        answer = {"predictions": [{name: outputs[name][row] for name in outputs} for row in rows]}
    else:
        answer = {"predictions": outputs}
    tensors = outputs.values() if isinstance(outputs, Mapping) else [outputs]
    if all(np.isfinite(tensor).all() for tensor in tensors):
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    # Like TensorFlow Serving, with NaN, Infinity and -Infinity, which are not JSON.
    return json.dumps(answer, default=np.ndarray.tolist).encode()


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


def metadata(manifest: Manifest) -> dict[str, object]:
    """Return the signatures of one version, as its SavedModel has them."""
    probabilities: dict[str, Shape] = {PROBABILITIES: (len(manifest.class_names),)}
    signatures: dict[Signature, dict[str, Shape]] = {"serving_default": probabilities}
    if manifest.novelty is not None:
        signatures["novelty"] = {NOVELTY: (), **probabilities}
    signatures["feature_maps"] = {layer.name: layer.output_shape for layer in manifest.layers}
    # Keras exports signatures sorted by name, and TensorFlow numbers their calls.
    calls = {
        name: f"StatefulPartitionedCall{f'_{number}' if number else ''}"
        for number, name in enumerate(sorted(signatures))
    }
    definitions = {
        name: {
            "inputs": {
                manifest.input.name: _tensor_info(
                    manifest.input.shape, f"{name}_{manifest.input.name}:0"
                )
            },
            "outputs": {
                output: _tensor_info(outputs[output], f"{calls[name]}:{index}")
                for index, output in enumerate(sorted(outputs))
            },
            "method_name": "tensorflow/serving/predict",
        }
        for name, outputs in signatures.items()
    }
    spec = {"name": manifest.name, "signature_name": "", "version": str(manifest.version)}
    return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": definitions}}}


def _tensor_info(shape: Shape, name: str) -> dict[str, object]:
    dimensions = [{"size": str(size), "name": ""} for size in (-1, *shape)]
    return {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
        "name": name,
    }


def _parse(text: bytes, image: Shape, limits: Limits) -> Any:
    """Parse a request; `instances` or `inputs` is an array if it holds images as numbers."""
    for field in ("instances", "inputs"):
        match parse_with_numbers(text, field, image_shapes(image), limits):
            case (dict(document), numbers) if document.get(field) == []:
                return {**document, field: numbers}
    return parse_json(text, limits)


def _signature(name: object, manifest: Manifest) -> Signature:
    if name in (None, "", "serving_default"):
        return "serving_default"
    if name == "feature_maps":
        return "feature_maps"
    if name == "novelty" and manifest.novelty is not None:
        return "novelty"
    raise InvalidInference(
        f"serving signature name: {json.dumps(name)[:80]} not found in signature def"
    )


def _rows(instances: object, input_name: str) -> object:
    """Return the values of `instances`, whose items may name the one input."""
    if isinstance(instances, list) and all(
        isinstance(item, dict) and item.keys() == {input_name} for item in instances
    ):
        return [item[input_name] for item in instances]
    return instances


def _columns(inputs: object, input_name: str) -> object:
    """Return the value of `inputs`, which may name the one input."""
    if isinstance(inputs, dict) and inputs.keys() == {input_name}:
        inputs = inputs[input_name]
    return [inputs] if isinstance(inputs, dict) else inputs


def _to_images(field: str, value: object, classifier: Classifier, permit: Permit) -> Tensor:
    try:
        flat, shape, types = flatten(value)
    except InvalidTensor as error:
        raise error.at(field) from error
    if types == {dict} and len(shape) == 1:
        reserve_images(field, shape, permit)
        hint = ", or name the input as the metadata does"
        files = [
            decode_file(item, f"{field}[{index}]", InvalidTensor, hint)
            for index, item in enumerate(flat)
        ]
        return files_to_images(NamedTensor(field, BYTES, shape, files), classifier, permit)
    if not types <= {int, float}:
        raise InvalidTensor(f"{field}: expected numbers, or an object with b64 for each picture")
    try:
        with np.errstate(over="ignore"):  # A number too large for float32 becomes infinite.
            values = np.array(flat, np.float32).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise InvalidTensor(f"{field}: not a tensor of FP32: {error}") from error
    return numbers_to_images(NamedTensor(field, "FP32", shape, values), classifier, permit)
