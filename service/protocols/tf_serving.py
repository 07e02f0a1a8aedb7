"""The messages of TensorFlow Serving's REST API."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson

from service.capacity.admission import Ticket
from service.arrays import Assessment, Tensor
from service.model.artifact import Manifest
from service.model.classifier import Classifier
from service.errors import InvalidInference, InvalidJSON, InvalidTensor
from service.telemetry.record import finish
from service.protocols.inference import NOVELTY, PROBABILITIES, run_network
from service.protocols.inputs import check_count, numbers_to_images, pictures_to_images
from service.protocols.json_requests import parse_predict
from service.protocols.tensors import BYTES, NamedTensor, flatten
from service.settings import Settings
from service.capacity.parallel import Helpers
from service.model.version_status import VersionStatus

Signature = Literal["serving_default", "novelty", "feature_maps"]


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """A request for one of the model's signatures.

    Attributes:
        signature: Probabilities, these with the novelty, or every layer's output.
        by_row: Whether the answer is a list of pictures or a table of columns.
        images: (n, height, width, 1) float32.
    """

    signature: Signature
    by_row: bool
    images: Tensor


def predict(request: PredictRequest, classifier: Classifier, helpers: Helpers | None) -> bytes:
    """Run the signature that a request is for, and return the answer."""
    wanted = {"layers"} if request.signature == "feature_maps" else {PROBABILITIES}
    assessment, layers = run_network(classifier, request.images, wanted, helpers)
    if assessment is None:
        return write_answer(request, layers)
    return write_assessment(request, assessment)


def write_assessment(request: PredictRequest, assessment: Assessment) -> bytes:
    """Return the answer to a request for a signature other than `feature_maps`."""
    probabilities, novelty = assessment
    if request.signature == "novelty" and novelty is not None:
        return write_answer(request, {NOVELTY: novelty, PROBABILITIES: probabilities})
    return write_answer(request, probabilities)


def read_request(
    body: bytes, classifier: Classifier, settings: Settings, ticket: Ticket
) -> PredictRequest:
    """Read a predict request: `instances`, a picture an item, or `inputs`, one tensor.

    Numbers are the network's own units. A picture file may stand for numbers, as `{"b64": "…"}`.

    Raises:
        InvalidJSON: `body` is not JSON, or nests deeper than `max_json_depth`.
        BodyTooLarge: It has more than `max_json_marks`.
        InvalidInference: The request does not have the form, or no such signature.
        InvalidTensor: The values are not pictures.
        RequestError: There are too many pictures, or one is refused by `read_image`.
    """
    spec = classifier.manifest.input
    try:
        document = parse_predict(body, spec.shape, settings.json_limits)
    except InvalidJSON as error:
        raise error.at("JSON parse error") from error
    finish("decode")
    if not isinstance(document, dict):
        raise InvalidInference("the request must be a JSON object")
    by_row = "instances" in document
    if by_row == ("inputs" in document):
        raise InvalidInference("exactly one of 'instances' and 'inputs' must be given")
    signature = _signature(document.get("signature_name"), classifier.manifest)
    if by_row:
        field, value = "instances", _rows(document["instances"], spec.name)
    else:
        field, value = "inputs", _columns(document["inputs"], spec.name)
    return PredictRequest(signature, by_row, _to_images(field, value, classifier, settings, ticket))


def write_answer(request: PredictRequest, outputs: Tensor | Mapping[str, Tensor]) -> bytes:
    """Return the answer in the form of the request; a single output goes without its name."""
    if not request.by_row:
        answer: dict[str, Any] = {"outputs": outputs}
    elif isinstance(outputs, Mapping):
        answer = {
            "predictions": [
                {name: output[row] for name, output in outputs.items()}
                for row in range(len(request.images))
            ]
        }
    else:
        answer = {"predictions": outputs}
    tensors = outputs.values() if isinstance(outputs, Mapping) else [outputs]
    if all(np.isfinite(tensor).all() for tensor in tensors):
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    # Not JSON, but what TensorFlow Serving writes: NaN, Infinity and -Infinity.
    return json.dumps(answer, default=np.ndarray.tolist).encode()


def status(statuses: Sequence[VersionStatus]) -> dict[str, object]:
    """Return where in their life versions are."""
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
    images = {manifest.input.name: manifest.input.shape}
    layers = {layer.name: layer.output_shape for layer in manifest.layers}
    probabilities = {PROBABILITIES: (len(manifest.class_names),)}
    signatures: dict[Signature, _Shapes] = {"serving_default": probabilities}
    if manifest.novelty is not None:
        signatures["novelty"] = {NOVELTY: (), **probabilities}
    signatures["feature_maps"] = layers
    # Keras exports them by name, and TensorFlow numbers the calls as they come.
    calls = [f"StatefulPartitionedCall{number}" for number in ("", "_1", "_2")]
    call_of = dict(zip(sorted(signatures), calls, strict=False))
    return {
        "model_spec": {
            "name": manifest.name,
            "signature_name": "",
            "version": str(manifest.version),
        },
        "metadata": {
            "signature_def": {
                "signature_def": {
                    name: _signature_def(name, images, outputs, call=call_of[name])
                    for name, outputs in signatures.items()
                }
            }
        },
    }


_Shapes = Mapping[str, tuple[int, ...]]


def _signature_def(signature: str, inputs: _Shapes, outputs: _Shapes, *, call: str) -> object:
    return {
        "inputs": {
            name: _tensor_info(shape, f"{signature}_{name}:0") for name, shape in inputs.items()
        },
        "outputs": {
            name: _tensor_info(outputs[name], f"{call}:{index}")
            for index, name in enumerate(sorted(outputs))
        },
        "method_name": "tensorflow/serving/predict",
    }


def _tensor_info(shape: tuple[int, ...], name: str) -> object:
    return {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in (-1, *shape)],
            "unknown_rank": False,
        },
        "name": name,
    }


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


def _to_images(
    field: str, value: object, classifier: Classifier, settings: Settings, ticket: Ticket
) -> Tensor:
    try:
        flat, shape, kinds = flatten(value)
    except InvalidTensor as error:
        raise error.at(field) from error
    if kinds == {dict} and len(shape) == 1:
        check_count(field, shape, settings.max_images, ticket)
        files = [_from_base64(item, f"{field}[{index}]") for index, item in enumerate(flat)]
        tensor = NamedTensor(field, BYTES, shape, files)
        return pictures_to_images(tensor, "auto", classifier, settings, ticket)
    if not kinds <= {int, float}:
        raise InvalidTensor(f"{field}: expected numbers, or an object with b64 for each picture")
    try:
        with np.errstate(over="ignore"):  # Too large for FP32 is infinity, as everywhere.
            values = np.array(flat, np.float32).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise InvalidTensor(f"{field}: not a tensor of FP32: {error}") from error
    tensor = NamedTensor(field, "FP32", shape, values)
    return numbers_to_images(tensor, classifier, settings.max_images, ticket)


def _from_base64(item: dict[str, object], place: str) -> bytes:
    encoded = item.get("b64")
    if item.keys() != {"b64"} or not isinstance(encoded, str):
        raise InvalidTensor(
            f'{place}: an object must be {{"b64": "<picture file in base64>"}}, or name the input '
            "as the metadata does"
        )
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise InvalidTensor(f"{place}: b64 is not valid base64: {error}") from error
