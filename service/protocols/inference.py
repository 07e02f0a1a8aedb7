"""Tensors in, tensors out: what the protocols have in common."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray

from service.arrays import Assessment, Tensor
from service.capacity.admission import Permit
from service.errors import InvalidTensor, TooManyImages
from service.images.decode import ImageReader, Prepare
from service.model.artifact import Manifest
from service.model.classifier import Classifier
from service.protocols.json_arrays import image_shapes
from service.protocols.tensors import BYTES, NamedTensor
from service.telemetry.record import Predictions

FILES_INPUT = "image"
"""A BYTES tensor of image files; numbers come under the name that the model gives its input."""

PROBABILITIES, CLASS_ID, LABEL = "probabilities", "class_id", "label"
NOVELTY, IN_DISTRIBUTION = "novelty", "in_distribution"
_OF_ASSESSMENT = {PROBABILITIES, CLASS_ID, LABEL, NOVELTY, IN_DISTRIBUTION}

_PIXEL_DATATYPES = {"UINT8", "INT32", "INT64"}
"""Of images in 0…scale, which are divided by the scale."""

_UNIT_DATATYPES = {"FP32", "FP64"}
"""Of what is already in the network's own units."""


class RequestedOutput(NamedTuple):
    """An output by name; with `classification`, as that many classes, best first."""

    name: str
    classification: int = 0


_DEFAULT_OUTPUTS = [RequestedOutput(name) for name in (PROBABILITIES, CLASS_ID, LABEL)]


class InferenceRequest(NamedTuple):
    """What to compute with one version of the model."""

    inputs: Sequence[NamedTensor]
    """One tensor of numbers or of image files."""
    outputs: Sequence[RequestedOutput] = ()
    """In the order of the answer; if empty, the probabilities, best class and its label."""
    prepare: str = "auto"
    """Of image files; see `read_image`."""


def input_specs(manifest: Manifest) -> list[dict[str, object]]:
    """Return name, datatype and shape of the inputs; a request has one of them."""
    own_input = manifest.input
    return [_spec(own_input.name, "FP32", *own_input.shape), _spec(FILES_INPUT, BYTES)]


def output_specs(manifest: Manifest) -> list[dict[str, object]]:
    """Return name, datatype and shape of the outputs: the assessment's, then every layer's."""
    specs = [
        _spec(PROBABILITIES, "FP32", len(manifest.class_names)),
        _spec(CLASS_ID, "INT64"),
        _spec(LABEL, BYTES),
    ]
    if manifest.novelty is not None:
        specs += [_spec(NOVELTY, "FP32"), _spec(IN_DISTRIBUTION, "BOOL")]
    return specs + [_spec(layer.name, "FP32", *layer.output_shape) for layer in manifest.layers]


def _spec(name: str, datatype: str, *shape_of_one: int) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": (-1, *shape_of_one)}


def infer(request: InferenceRequest, classifier: Classifier, permit: Permit) -> list[NamedTensor]:
    """Return the requested outputs, their rows in the order of the input's."""
    images = read_images(request, classifier, permit)
    wanted = {output.name for output in request.outputs or _DEFAULT_OUTPUTS}
    assessment, layers = run_network(classifier, images, wanted, permit)
    return write_outputs(request, assessment, layers, classifier)


def wants_layers(request: InferenceRequest) -> bool:
    """Whether an output is requested that is not of the assessment."""
    return not {output.name for output in request.outputs} <= _OF_ASSESSMENT


def read_images(request: InferenceRequest, classifier: Classifier, permit: Permit) -> Tensor:
    """Return the input as the network takes it: (n, height, width, 1) float32."""
    _check_outputs(request.outputs, classifier.manifest)
    own_input = classifier.manifest.input.name
    if len(request.inputs) != 1:
        raise InvalidTensor(
            f"{len(request.inputs)} inputs, expected one: {own_input} or {FILES_INPUT}"
        )
    [tensor] = request.inputs
    if tensor.name == own_input:
        images = numbers_to_images(tensor, classifier, permit)
    elif tensor.name == FILES_INPUT:
        images = files_to_images(tensor, classifier, permit, request.prepare)
    else:
        raise InvalidTensor(f"no input {tensor.name!r}; there is {own_input} and {FILES_INPUT}")
    permit.check()
    return images


def numbers_to_images(tensor: NamedTensor, classifier: Classifier, permit: Permit) -> Tensor:
    """Return a tensor as the network takes it: integers in 0…scale, or floats in its own units."""
    spec, values = classifier.manifest.input, tensor.values
    datatypes = _PIXEL_DATATYPES | _UNIT_DATATYPES
    if isinstance(values, list) or tensor.datatype not in datatypes:
        expected = ", ".join(sorted(datatypes))
        raise InvalidTensor(f"{tensor.name}: {tensor.datatype}, expected one of {expected}")
    if tensor.shape[1:] not in image_shapes(spec.shape):
        height, width = spec.size
        raise InvalidTensor(
            f"{tensor.name}: shape {list(tensor.shape)}, expected [n, {height}, {width}, 1], "
            f"[n, {height}, {width}] or [n, {height * width}]"
        )
    reserve_images(tensor.name, tensor.shape, permit)
    if tensor.datatype in _UNIT_DATATYPES:
        with np.errstate(over="ignore"):  # A number too large for float32 becomes infinite.
            images: Tensor = values.astype(np.float32, copy=False)
    else:
        _check_pixels(values, tensor.name, spec.scale)
        images = np.divide(values, np.float32(spec.scale), dtype=np.float32)
    return images.reshape(-1, *spec.shape)


def files_to_images(
    tensor: NamedTensor, classifier: Classifier, permit: Permit, prepare: str = "auto"
) -> Tensor:
    """Return a BYTES tensor of image files as the network takes it."""
    files = tensor.values
    if not isinstance(files, list):
        raise InvalidTensor(f"{tensor.name}: {tensor.datatype}, expected {BYTES}")
    reserve_images(tensor.name, tensor.shape, permit)
    if tensor.shape not in {(len(files),), (len(files), 1)}:
        raise InvalidTensor(f"{tensor.name}: shape {list(tensor.shape)}, expected [n] or [n, 1]")
    if prepare not in get_args(Prepare):
        raise InvalidTensor(f"prepare: {prepare!r} is none of {', '.join(get_args(Prepare))}")
    reader = ImageReader(cast(Prepare, prepare), classifier.manifest.input.size, permit)
    images = reader.read_all(files, tensor.name)
    return classifier.to_images([image.pixels for image in images])


def reserve_images(name: str, shape: Sequence[int], permit: Permit) -> None:
    """Reserve capacity for as many images as the first dimension of a tensor says."""
    limit = permit.limits.max_images
    if not shape or shape[0] < 1:
        raise InvalidTensor(f"{name}: shape {list(shape)} has no picture")
    if shape[0] > limit:
        raise TooManyImages(f"{name}: {shape[0]} pictures, the limit is {limit}")
    permit.reserve_images(shape[0])


def run_network(
    classifier: Classifier, images: Tensor, wanted: set[str], permit: Permit
) -> tuple[Assessment | None, Mapping[str, Tensor]]:
    """Return an assessment, the layers by name, or both, as the outputs wanted need."""
    record, manifest = permit.record, classifier.manifest
    record.record_phase("prepare")
    assessment: Assessment | None = None
    layers: Mapping[str, Tensor] = {}
    if wanted & _OF_ASSESSMENT:
        assessment = classifier.assess(images, permit.workers)
        predictions = Predictions(manifest.version, manifest.class_names, *assessment)
        record.record_run(len(images), predictions)
    if wanted - _OF_ASSESSMENT:
        layers = classifier.feature_maps(images, permit.workers)
        record.record_run(len(images))
    return assessment, layers


def write_outputs(
    request: InferenceRequest,
    assessment: Assessment | None,
    layers: Mapping[str, Tensor],
    classifier: Classifier,
) -> list[NamedTensor]:
    """Return the requested outputs from what `run_network` returned."""
    return [
        _write_output(output, assessment, layers, classifier)
        for output in request.outputs or _DEFAULT_OUTPUTS
    ]


def _check_pixels(values: NDArray[Any], name: str, scale: float) -> None:
    if values.dtype.itemsize == 1 and scale >= np.iinfo(values.dtype).max:
        return  # It cannot hold anything else.
    low, high = values.min(), values.max()
    if low < 0 or high > scale:
        outside = low if low < 0 else high
        raise InvalidTensor(f"{name}: {outside} is outside 0…{scale:g}")


def _check_outputs(outputs: Sequence[RequestedOutput], manifest: Manifest) -> None:
    if not outputs:
        return
    known = [str(spec["name"]) for spec in output_specs(manifest)]
    for output in outputs:
        if output.name not in known:
            raise InvalidTensor(f"no output {output.name!r}; there is {', '.join(known)}")
        if output.classification and output.name != PROBABILITIES:
            raise InvalidTensor(f"{output.name}: only {PROBABILITIES} can be classified")
        if output.classification < 0:
            raise InvalidTensor(f"{output.name}: classification must not be negative")
    if len({output.name for output in outputs}) < len(outputs):
        raise InvalidTensor("an output is asked for twice")


def _write_output(
    output: RequestedOutput,
    assessment: Assessment | None,
    layers: Mapping[str, Tensor],
    classifier: Classifier,
) -> NamedTensor:
    name, class_count = output
    if assessment is None or name not in _OF_ASSESSMENT:
        return NamedTensor(name, "FP32", layers[name].shape, layers[name])
    probabilities, novelty = assessment
    class_names = classifier.manifest.class_names
    if class_count:
        ranked = _ranked(probabilities, class_count, class_names)
        shape = (len(probabilities), min(class_count, len(class_names)))
        return NamedTensor(name, BYTES, shape, ranked)
    best = probabilities.argmax(axis=1).astype(np.int64)
    if name == LABEL:
        labels = [class_names[class_id].encode() for class_id in best.tolist()]
        return NamedTensor(name, BYTES, best.shape, labels)
    datatype: str = "FP32"
    values: NDArray[Any] = probabilities
    if name == CLASS_ID:
        datatype, values = "INT64", best
    elif novelty is not None and name == NOVELTY:
        values = novelty
    elif novelty is not None and name == IN_DISTRIBUTION:
        datatype, values = "BOOL", classifier.in_distribution(novelty)
    return NamedTensor(name, datatype, values.shape, values)


def _ranked(probabilities: Tensor, count: int, class_names: Sequence[str]) -> list[bytes]:
    """Return `value:index:label` of the best classes of each row, row by row."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return [
        f"{row[class_id]:f}:{class_id}:{class_names[class_id]}".encode()
        for row, best in zip(probabilities.tolist(), order.tolist(), strict=True)
        for class_id in best
    ]
