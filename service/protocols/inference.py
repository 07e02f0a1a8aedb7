"""Tensors in, tensors out: what the protocols have in common, over whatever transport."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from service.capacity.admission import Ticket
from service.arrays import Assessment, Tensor
from service.model.artifact import Manifest
from service.model.classifier import Classifier
from service.errors import InvalidTensor
from service.protocols.inputs import check_count, numbers_to_images, pictures_to_images
from service.protocols.tensors import BYTES, NamedTensor
from service.settings import Settings
from service.capacity.parallel import Helpers

PICTURE_INPUT = "image"
"""A BYTES tensor of picture files; numbers come under the name the model gives its input."""

PROBABILITIES, CLASS_ID, LABEL = "probabilities", "class_id", "label"

NOVELTY, IN_DISTRIBUTION = "novelty", "in_distribution"

DEFAULT_OUTPUTS = (PROBABILITIES, CLASS_ID, LABEL)

_OF_NOVELTY = {NOVELTY, IN_DISTRIBUTION}
_OF_ASSESSMENT = {*DEFAULT_OUTPUTS, *_OF_NOVELTY}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a client may send or ask for: `shape` with −1 for the number of pictures."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output by name; with `classification`, as that many classes, best first."""

    name: str
    classification: int = 0


_DEFAULTS = [RequestedOutput(name) for name in DEFAULT_OUTPUTS]


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What a client wants of one version.

    Attributes:
        inputs: One tensor of numbers or of picture files.
        outputs: In the order of the answer; none asks for `DEFAULT_OUTPUTS`.
        prepare: How picture files are prepared; see `read_image`.
    """

    inputs: Sequence[NamedTensor]
    outputs: Sequence[RequestedOutput] = field(default=())
    prepare: str = "auto"


def input_specs(manifest: Manifest) -> list[TensorSpec]:
    """Return the inputs; a request carries one of them."""
    return [
        TensorSpec(manifest.input.name, "FP32", (-1, *manifest.input.shape)),
        TensorSpec(PICTURE_INPUT, BYTES, (-1,)),
    ]


def output_specs(manifest: Manifest) -> list[TensorSpec]:
    """Return the outputs: what the model says of a picture, then every layer's."""
    return [
        TensorSpec(PROBABILITIES, "FP32", (-1, len(manifest.class_names))),
        TensorSpec(CLASS_ID, "INT64", (-1,)),
        TensorSpec(LABEL, BYTES, (-1,)),
        *_novelty_specs(manifest),
        *(TensorSpec(layer.name, "FP32", (-1, *layer.output_shape)) for layer in manifest.layers),
    ]


def _novelty_specs(manifest: Manifest) -> list[TensorSpec]:
    if manifest.novelty is None:
        return []
    return [TensorSpec(NOVELTY, "FP32", (-1,)), TensorSpec(IN_DISTRIBUTION, "BOOL", (-1,))]


def wants_layers(request: InferenceRequest) -> bool:
    """Return whether outputs are asked for that are not of the assessment."""
    return not {output.name for output in request.outputs} <= _OF_ASSESSMENT


def infer(
    request: InferenceRequest, classifier: Classifier, settings: Settings, ticket: Ticket
) -> list[NamedTensor]:
    """Run the network and return what was asked for, rows in the order of the input's.

    Raises:
        RequestError: The request is refused by `read_images`.
    """
    images = read_images(request, classifier, settings, ticket)
    wanted = {output.name for output in request.outputs or _DEFAULTS}
    assessment, layers = run_network(classifier, images, wanted, ticket.helpers)
    return write_outputs(request, assessment, layers, classifier)


def read_images(
    request: InferenceRequest, classifier: Classifier, settings: Settings, ticket: Ticket
) -> Tensor:
    """Return the input as the network takes it: (n, height, width, 1) float32.

    Raises:
        InvalidTensor: An input or output is none the model has, or cannot be taken.
        Overloaded: There is no place for so many pictures.
        DeadlineExceeded: Nobody waits for the answer.
        RequestError: There are too many pictures, or one is refused by `read_image`.
    """
    _check_outputs(request.outputs, classifier.manifest)
    images = _to_images(request, classifier, settings, ticket)
    ticket.check()
    return images


def write_outputs(
    request: InferenceRequest,
    assessment: Assessment | None,
    layers: Mapping[str, Tensor],
    classifier: Classifier,
) -> list[NamedTensor]:
    """Return what was asked for, of an assessment and of layers by name."""
    outputs = request.outputs or _DEFAULTS
    return [_output(output, assessment, layers, classifier) for output in outputs]


def run_network(
    classifier: Classifier, images: Tensor, wanted: set[str], helpers: Helpers | None
) -> tuple[Assessment | None, Mapping[str, Tensor]]:
    """Run what it takes for the outputs wanted: an assessment, layers by name, or both."""
    of_assessment = wanted & _OF_ASSESSMENT
    assessment = classifier.assess_images(images, helpers) if of_assessment else None
    layers = classifier.layer_outputs(images, helpers) if wanted - of_assessment else {}
    return assessment, layers


def _to_images(
    request: InferenceRequest, classifier: Classifier, settings: Settings, ticket: Ticket
) -> Tensor:
    own_name = classifier.manifest.input.name
    if len(request.inputs) != 1:
        raise InvalidTensor(
            f"{len(request.inputs)} inputs, expected one: {own_name} or {PICTURE_INPUT}"
        )
    [tensor] = request.inputs
    if tensor.name == own_name:
        return numbers_to_images(tensor, classifier, settings.max_images, ticket)
    if tensor.name != PICTURE_INPUT:
        raise InvalidTensor(f"no input {tensor.name!r}; there is {own_name} and {PICTURE_INPUT}")
    if not isinstance(tensor.values, list):
        raise InvalidTensor(f"{tensor.name}: {tensor.datatype}, expected {BYTES}")
    check_count(tensor.name, tensor.shape, settings.max_images, ticket)
    if tensor.shape not in {(len(tensor.values),), (len(tensor.values), 1)}:
        raise InvalidTensor(f"{tensor.name}: shape {list(tensor.shape)}, expected [n] or [n, 1]")
    return pictures_to_images(tensor, request.prepare, classifier, settings, ticket)


def _check_outputs(outputs: Sequence[RequestedOutput], manifest: Manifest) -> None:
    if not outputs:
        return
    known = [spec.name for spec in output_specs(manifest)]
    for output in outputs:
        if output.name not in known:
            raise InvalidTensor(f"no output {output.name!r}; there is {', '.join(known)}")
        if output.classification and output.name != PROBABILITIES:
            raise InvalidTensor(f"{output.name}: only {PROBABILITIES} can be classified")
        if output.classification < 0:
            raise InvalidTensor(f"{output.name}: classification must not be negative")
    if len({output.name for output in outputs}) < len(outputs):
        raise InvalidTensor("an output is asked for twice")


def _output(
    output: RequestedOutput,
    assessment: Assessment | None,
    layers: Mapping[str, Tensor],
    classifier: Classifier,
) -> NamedTensor:
    if assessment is None or output.name not in _OF_ASSESSMENT:
        values = layers[output.name]
        return NamedTensor(output.name, "FP32", values.shape, values)
    probabilities, novelty = assessment
    class_names = classifier.manifest.class_names
    if novelty is not None and output.name in _OF_NOVELTY:
        return _novelty_output(output.name, novelty, classifier)
    if output.classification:
        count = min(output.classification, probabilities.shape[1])
        ranked = _ranked(probabilities, count, class_names)
        return NamedTensor(output.name, BYTES, (len(probabilities), count), ranked)
    if output.name == PROBABILITIES:
        return NamedTensor(output.name, "FP32", probabilities.shape, probabilities)
    best = probabilities.argmax(axis=1).astype(np.int64)
    if output.name == CLASS_ID:
        return NamedTensor(output.name, "INT64", best.shape, best)
    labels = [class_names[class_id].encode() for class_id in best.tolist()]
    return NamedTensor(output.name, BYTES, best.shape, labels)


def _novelty_output(name: str, novelty: Tensor, classifier: Classifier) -> NamedTensor:
    if name == NOVELTY:
        return NamedTensor(name, "FP32", novelty.shape, novelty)
    known = classifier.in_distribution(novelty)
    return NamedTensor(name, "BOOL", known.shape, known)


def _ranked(probabilities: Tensor, count: int, class_names: Sequence[str]) -> list[bytes]:
    """Return `value:index:label` of the best classes of each row, row by row."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return [
        f"{row[class_id]:f}:{class_id}:{class_names[class_id]}".encode()
        for row, best in zip(probabilities.tolist(), order.tolist(), strict=True)
        for class_id in best
    ]
