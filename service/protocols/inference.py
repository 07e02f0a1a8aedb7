"""Inference for all protocols: reads the request, runs the network, writes the answer."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, Generic, NamedTuple, TypeVar, cast, get_args

import numpy as np

from ..arrays import WHITE, Assessment, Flags, Tensor
from ..capacity.admission import Permit
from ..errors import AnswerTooLarge, InvalidInference, InvalidTensor, TooManyImages
from ..images.decode import ImageReader, Prepare
from ..model.artifact import LAYERS, PICTURES, Manifest
from ..model.classifier import Classifier
from ..telemetry.record import Predictions
from .json_arrays import image_shapes
from .tensors import BYTES, NUMBERS, NamedTensor, Values, read_values

FILES_INPUT = "image"  # A tensor of numbers has the model's own input name.

PROBABILITIES, CLASS_ID, LABEL = "probabilities", "class_id", "label"
NOVELTY, IN_DISTRIBUTION = "novelty", "in_distribution"

MAX_ITEMS = 1024  # Limit of inputs, outputs and dimensions; far more than any model has.
MAX_LAYER_VALUES = 400_000  # Per answer: all layers of 7 images; 1.6 MB, up to thrice that in JSON.


_KINDS = {str: "string", int: "integer", bool: "boolean", list: "list", dict: "dictionary"}
_REQUIRED: Any = object()

T = TypeVar("T")

Document = dict[str, Any]  # JSON.

Images = tuple[Tensor, Flags]  # (n, height, width, 1), and which were prepared as photographs.

Answer = tuple[bytes, int | None]
"""A REST body, and the length of its JSON if binary tensors follow."""


class PreparedRequest(NamedTuple, Generic[T]):
    """A request of any protocol after parsing."""

    images: Tensor
    """(n, height, width, 1) float32."""
    needs_assessment: bool
    needs_layers: bool
    write: Callable[[Assessment | None, Mapping[str, Tensor]], T]
    """Makes the answer from the assessment and the layers by name, as far as they are needed."""


Read = Callable[[Classifier, Permit], PreparedRequest[T]]


def prepare(read: Read[T], classifier: Classifier, permit: Permit) -> PreparedRequest[T]:
    """Read a request and prepare its images."""
    permit.record.record_start(classifier.manifest.version)
    request = read(classifier, permit)
    permit.check()
    permit.record.record_phase("prepare")
    return request


def infer(read: Read[T], classifier: Classifier, permit: Permit) -> T:
    """Read a request, run the network, and return the answer."""
    request = prepare(read, classifier, permit)
    record, manifest = permit.record, classifier.manifest
    assessment: Assessment | None = None
    layers: Mapping[str, Tensor] = {}
    if request.needs_assessment:
        assessment = classifier.assess(request.images, permit.workers)
        predictions = Predictions(manifest.version, manifest.class_names, *assessment)
        record.record_run(len(request.images), predictions)
    if request.needs_layers:
        layers = classifier.feature_maps(request.images, permit.workers)
        record.record_run(len(request.images))
    answer = request.write(assessment, layers)
    record.record_phase("encode")
    return answer


class RequestedOutput(NamedTuple):
    """An output that a request asks for."""

    name: str
    classification: int = 0  # If positive, the number of classes to return, best first.
    is_layer: bool = False  # A layer may have the name of another output.


class Message(NamedTuple):
    """A request over REST, or the same over gRPC."""

    model: str  # One of `Repository.names`.
    fields: Any  # JSON, not checked yet; a tensor's `data` may also be bytes.
    binary: memoryview = memoryview(b"")  # The tensors after the JSON, in the order of the inputs.


def read_message(
    message: Message,
    classifier: Classifier,
    permit: Permit,
    write: Callable[[Document, Sequence[NamedTensor], Sequence[bool]], T],
) -> PreparedRequest[T]:
    """Check the requested outputs and read the images.

    `write` makes the answer from its first fields, the outputs, and which of them are to be binary.
    """
    model, fields, _ = message
    manifest = classifier.manifest
    _check(fields, dict, "the request")
    request_id = _get(fields, "", "id", str, None) or permit.record.request_id
    parameters = _get(fields, "", "parameters", dict, {})
    is_binary = _get(parameters, "parameters.", "binary_data_output", bool, False)
    prepare = _get(parameters, "parameters.", "prepare", str, "auto")
    tensor = read_input(message, manifest)
    permit.record.record_phase("decode")
    wanted = _get_list(fields, "", "outputs", dict, []) or output_specs(manifest, model)
    outputs, are_binary = _read_outputs(wanted, model, manifest, is_binary)
    if tensor.name == FILES_INPUT:
        images = files_to_images(tensor, classifier, permit, prepare)
    else:
        images = numbers_to_images(tensor, classifier, permit)

    def answer(sent: Sequence[NamedTensor]) -> T:
        version, warning = str(manifest.version), permit.record.warning
        head: Document = {"model_name": model, "model_version": version, "id": request_id}
        if warning:
            head["parameters"] = {"warning": warning}
        return write(head, sent, are_binary)

    return prepare_outputs(outputs, images, classifier, answer)


def _read_outputs(
    wanted: Sequence[Mapping[str, Any]], model: str, manifest: Manifest, is_binary: bool
) -> tuple[list[RequestedOutput], list[bool]]:
    """Return the outputs, and which are to be binary; `is_binary` is the default."""
    names = [str(spec["name"]) for spec in output_specs(manifest, manifest.name + PICTURES)]
    layers = [layer.name for layer in manifest.layers]
    outputs, are_binary = [], []
    for index, sent in enumerate(wanted):
        place = f"outputs.{index}."
        name = _get(sent, place, "name", str)
        get = partial(_get, _parameters(sent, place, name), f"{place}parameters.")
        count = get("classification", int, 0)
        if name not in names and name not in layers:
            known = ", ".join(names + layers)
            raise InvalidTensor(f"no output {name!r}; the outputs are {known}")
        if count and name != PROBABILITIES:
            raise InvalidTensor(f"{name}: classification applies only to {PROBABILITIES}")
        if count < 0:
            raise InvalidTensor(f"{name}: classification must not be negative")
        is_layer = name in layers and (name not in names or model == manifest.name + LAYERS)
        outputs.append(RequestedOutput(name, count, is_layer and not count))
        are_binary.append(get("binary_data", bool, is_binary))
    if len({output.name for output in outputs}) < len(outputs):
        raise InvalidTensor("an output is requested twice")
    return outputs, are_binary


def read_input(message: Message, manifest: Manifest) -> NamedTensor:
    """Read the one input tensor, of numbers or of image files."""
    inputs = _get_list(message.fields, "", "inputs", dict)
    own_input = manifest.input.name
    if len(inputs) != 1:
        raise InvalidTensor(f"{len(inputs)} inputs, expected one: {own_input} or {FILES_INPUT}")
    [sent], place = inputs, "inputs.0."
    name = _get(sent, place, "name", str)
    if name not in (own_input, FILES_INPUT):
        raise InvalidTensor(f"no input {name!r}; the inputs are {own_input} and {FILES_INPUT}")
    shape = tuple(_get_list(sent, place, "shape", int))
    datatype = _get(sent, place, "datatype", str)
    parameters = _parameters(sent, place, name)
    size = _get(parameters, f"{place}parameters.", "binary_data_size", int, None)
    data, binary = sent.get("data"), message.binary
    if size is not None:
        if data is not None:
            raise InvalidTensor(f"{name}: give data or binary_data_size, not both")
        if not 0 <= size <= len(binary):
            raise InvalidTensor(
                f"{name}: binary_data_size is {size}, {len(binary)} bytes follow the JSON"
            )
        data, binary = binary[:size], binary[size:]
    if binary:
        raise InvalidInference(f"{len(binary)} bytes of the body belong to no input")
    try:
        return NamedTensor(name, read_values(data, datatype, shape))
    except InvalidTensor as error:
        raise error.at(name) from error


def _parameters(tensor: Any, place: str, name: str) -> Any:
    parameters = _get(tensor, place, "parameters", dict, {})
    if "shared_memory_region" in parameters:
        raise InvalidTensor(f"{name}: shared_memory_region: not supported; send the tensor")
    return parameters


def input_spec(manifest: Manifest, model: str) -> dict[str, object]:
    """Return name, datatype and shape of the input under a name of the model."""
    if model == manifest.name + PICTURES:
        return _spec(FILES_INPUT, BYTES)
    return _spec(manifest.input.name, "FP32", *manifest.input.shape)


def output_specs(manifest: Manifest, model: str) -> list[dict[str, object]]:
    """Return name, datatype and shape of the outputs under a name of the model."""
    probabilities = _spec(PROBABILITIES, "FP32", len(manifest.class_names))
    if model == manifest.name + LAYERS:
        return [_spec(layer.name, "FP32", *layer.output_shape) for layer in manifest.layers]
    if model == manifest.name:
        return [probabilities]
    specs = [probabilities, _spec(CLASS_ID, "INT64"), _spec(LABEL, BYTES)]
    if manifest.novelty is not None:
        specs += [_spec(NOVELTY, "FP32"), _spec(IN_DISTRIBUTION, "BOOL")]
    return specs


def _spec(name: str, datatype: str, *shape_of_one: int) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": (-1, *shape_of_one)}


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


def prepare_outputs(
    outputs: Sequence[RequestedOutput],
    images: Images,
    classifier: Classifier,
    write: Callable[[Sequence[NamedTensor]], T],
) -> PreparedRequest[T]:
    """Return a request for known outputs; `write` makes the answer from these, in order.

    Raises AnswerTooLarge if the layers among them exceed `MAX_LAYER_VALUES`.
    """
    tensor, photos = images
    wanted = {output.name for output in outputs if output.is_layer}
    layers = [layer for layer in classifier.manifest.layers if layer.name in wanted]
    count = len(tensor) * sum(prod(layer.output_shape) for layer in layers)
    if count > MAX_LAYER_VALUES:
        raise AnswerTooLarge(
            f"the layers of {len(tensor)} images have {count} numbers, the limit is "
            f"{MAX_LAYER_VALUES}: ask for fewer layers, or send fewer images"
        )

    def answer(assessment: Assessment | None, layers: Mapping[str, Tensor]) -> T:
        values_of = partial(_values, assessment, layers, photos, classifier)
        return write([NamedTensor(output.name, values_of(output)) for output in outputs])

    return PreparedRequest(tensor, len(wanted) < len(outputs), bool(wanted), answer)


def numbers_to_images(tensor: NamedTensor, classifier: Classifier, permit: Permit) -> Images:
    """Return a tensor of integers in 0…255, or of floats in the network's units, as its input."""
    spec, values = classifier.manifest.input, tensor.values
    if values.dtype.kind not in "iuf":
        raise InvalidTensor(f"{tensor.name}: {tensor.datatype}, expected one of {NUMBERS}")
    if values.shape[1:] not in image_shapes(spec.shape):
        height, width = spec.size
        hint = "; put one image in a list of its own" * (values.shape in image_shapes(spec.shape))
        raise InvalidTensor(
            f"{tensor.name}: shape {list(values.shape)}, expected [n, {height}, {width}, 1], [n, "
            f"{height}, {width}] or [n, {height * width}]{hint}"
        )
    _reserve(tensor, permit)
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # Numbers too large for float32 become infinite.
            images: Tensor = values.astype(np.float32, copy=False)
        white = WHITE / spec.scale
        if images.max() > white:
            permit.record.warning = (
                f"{tensor.name}: the largest number is {images.max():g}, and {white:g} is "
                f"white: divide by {spec.scale:g}"
            )
    else:
        low, high = (0, WHITE) if values.dtype == np.uint8 else (values.min(), values.max())
        if low < 0 or high > WHITE:
            raise InvalidTensor(f"{tensor.name}: {low if low < 0 else high} is outside 0…{WHITE}")
        images = np.divide(values, np.float32(spec.scale), dtype=np.float32)
    return images.reshape(-1, *spec.shape), False


def files_to_images(
    tensor: NamedTensor, classifier: Classifier, permit: Permit, prepare: str = "auto"
) -> Images:
    """Return a BYTES tensor of image files as the network's input."""
    shape = tensor.values.shape
    if tensor.datatype != BYTES:
        raise InvalidTensor(f"{tensor.name}: {tensor.datatype}, expected {BYTES}")
    _reserve(tensor, permit)
    if shape[1:] not in {(), (1,)}:
        raise InvalidTensor(f"{tensor.name}: shape {list(shape)}, expected [n] or [n, 1]")
    if prepare not in get_args(Prepare):
        raise InvalidTensor(f"prepare: {prepare!r} is not one of {', '.join(get_args(Prepare))}")
    reader = ImageReader(cast(Prepare, prepare), classifier.manifest.input.size, permit)
    images = reader.read_all(tensor.values.reshape(-1).tolist(), tensor.name)
    photos = np.array([image.preparation == "photo" for image in images])
    return classifier.to_images([image.pixels for image in images]), photos


def _reserve(tensor: NamedTensor, permit: Permit) -> None:
    name, shape, limit = tensor.name, tensor.values.shape, permit.limits.max_images
    if not shape or shape[0] < 1:
        raise InvalidTensor(f"{name}: shape {list(shape)} holds no image")
    if shape[0] > limit:
        raise TooManyImages(f"{name}: {shape[0]} images, the limit is {limit}")
    permit.reserve_images(shape[0])


def _values(
    assessment: Assessment | None,
    layers: Mapping[str, Tensor],
    photos: Flags,
    classifier: Classifier,
    output: RequestedOutput,
) -> Values:
    name, class_names = output.name, classifier.manifest.class_names
    if output.is_layer or assessment is None:
        return layers[name]
    probabilities, novelty = assessment
    if output.classification:
        return _ranked(probabilities, output.classification, class_names)
    if name == PROBABILITIES:
        return probabilities
    if novelty is not None and name == NOVELTY:
        return novelty
    if novelty is not None and name == IN_DISTRIBUTION:
        return classifier.in_distribution(novelty, photos=photos)
    # NaN has no class, and an empty label.
    class_ids = np.where(np.isnan(probabilities[:, 0]), -1, probabilities.argmax(axis=1))
    return class_ids if name == CLASS_ID else _texts((*class_names, ""))[class_ids]


def _ranked(probabilities: Tensor, count: int, class_names: Sequence[str]) -> Values:
    """Return `value:index:label` of the best classes, (n, count)."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    texts = [
        f"{row[class_id]:f}:{class_id}:{class_names[class_id]}"
        for row, best in zip(probabilities.tolist(), order.tolist(), strict=True)
        for class_id in best
    ]
    return _texts(texts).reshape(order.shape)


def _texts(texts: Sequence[str]) -> Values:
    return np.array([text.encode() for text in texts], object)
