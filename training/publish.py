"""Publish a model that was built elsewhere: check it, prepare it for the service, score it."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import keras
import numpy as np

from . import TrainingError, saved_model
from .architecture import INPUT_NAME
from .batches import predict
from .config import PublishSettings
from .data import (
    CLASS_NAMES,
    GREY_LEVELS,
    Images,
    Labelled,
    Labels,
    load_fashion_mnist,
    load_test_images,
    to_inputs,
)
from .evaluate import cross_entropy, score
from .export import next_version, publish_version
from .novelty import measure_novelty
from .recipe import IMAGE_SIDE
from .report import write_test_figures

PROBES = 64  # Random images that the model is run on where it has no test images.
SCALE_IMAGES = slice(0, 2000)  # The test images that the scale is found with.
LARGEST_INPUT = 2.0  # Width of the range, -1…1, that Rescaling makes of grey values at most.
LEAST_GAIN = 2.0  # Less than so many times chance suggests another order of the classes.
_LAYER_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_./>-]*")


def run(settings: PublishSettings) -> None:
    """Publish `settings.model`, a file or a SavedModel folder, as the next version."""
    model = load(settings.model)
    network = as_classifier(model, settings.name, from_logits=settings.from_logits)
    classes, size = network.output_shape[-1], network.input_shape[1:3]
    class_names = read_class_names(settings, classes)
    found = _find_test_images(settings, class_names, size)
    if settings.novelty and found is None:
        raise TrainingError("--novelty needs the test images: name them with --test-data")
    scale = _scale_of(network, found)
    probes = np.random.default_rng(0).integers(0, 256, (PROBES, *size), np.uint8)
    images = to_inputs(found[0] if found else probes, scale)
    print(f"Running it on {len(images):,} images")
    probabilities = predict(network, images)
    labels = found[1] if found else probabilities.argmax(axis=1)
    test, scores = Labelled(images, labels), {}
    if found:
        scores = score(probabilities, labels, class_names)
        accuracy = scores["test"]["accuracy"]
        print(f"Right on {accuracy:.2%} of the {len(labels):,} test images")
        if accuracy < LEAST_GAIN / classes:
            print("That is hardly better than chance: is it trained, and on classes in this order?")
    if settings.novelty:
        scores["novelty"] = measure_novelty(network, images, images, None, seed=0)
    artifacts = settings.artifacts or settings.model.parent / "exported" / settings.name
    target = artifacts / str(settings.version or next_version(artifacts))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        if found:
            write_test_figures(report, test, probabilities, class_names)
        publish_version(
            target, network, test, report, class_names=class_names, scores=scores, scale=scale
        )
    print("and open http://127.0.0.1:8000")


def load(path: Path) -> Any:
    """Load a Keras model or a SavedModel without running its code, or raise a TrainingError."""
    if not path.exists():
        raise TrainingError(f"{path} does not exist")
    if (path / "saved_model.pb").is_file():
        return saved_model.load(path)
    if path.suffix not in (".h5", ".hdf5") and not (path.suffix == ".keras" and is_zipfile(path)):
        raise TrainingError(f"{path} is neither a whole .keras or .h5 file nor a SavedModel folder")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # which one depends on the file
        reason = str(error).rpartition("Exception encountered: ")[2].strip().splitlines()[0]
        raise TrainingError(
            f"Keras {keras.__version__} cannot load {path} without running code from it: {reason}"
        ) from error


def as_classifier(model: Any, name: str, *, from_logits: bool) -> Any:
    """Return the model, renamed, with inputs (height, width, 1) and probabilities as output.

    A model that cannot be served is a TrainingError.
    """
    inputs, outputs = getattr(model, "inputs", []), getattr(model, "outputs", [])  # Once built.
    if (len(inputs), len(outputs)) != (1, 1):
        counts = f"{len(inputs)} inputs and {len(outputs)} outputs"
        raise TrainingError(f"the model has {counts}; only one of each can be served")
    model, output = keras.Model(inputs[0], outputs[0]), outputs[0]  # without dicts of tensors
    size = _image_size(model.input_shape[1:])
    names = [operation.name for operation in model.operations[1:]]  # The input may have any name.
    if wrong := [name for name in names if not _LAYER_NAME.fullmatch(name)]:
        raise TrainingError(f"layer {wrong[0]!r}: rename it, TensorFlow cannot run such a name")
    if len(output.shape) != 2 or output.shape[1] < 2:
        raise TrainingError(
            f"layer {model.layers[-1].name} gives {tuple(output.shape[1:])} for an image; it must "
            "be one number for each of at least two classes"
        )
    for layer in _all_layers(model):
        layer.dtype_policy = "float32"  # LiteRT cannot run mixed precision.
    network = _with_input(model, keras.Input((*size, 1), name=_free(INPUT_NAME, names)), names)
    network.set_weights(model.get_weights())
    scores = network.outputs[0]
    if _gives_logits(model, from_logits):
        scores = keras.layers.Softmax(name=_free("softmax", names))(scores)
    elif not isinstance(network.operations[-1], keras.layers.Layer):  # as of keras.ops
        scores = keras.layers.Identity(name=_free("probabilities", names))(scores)
    return keras.Model(network.inputs, scores, name=name)


def _image_size(shape: Sequence[int | None]) -> tuple[int, int]:
    """Return height and width of the images that a model of this input takes."""
    match tuple(shape):
        case (int(height), int(width)) | (int(height), int(width), 1):
            return height, width
        case (int(pixels),) if (side := int(pixels**0.5)) ** 2 == pixels:
            return side, side
        case (_, _, 3):
            raise TrainingError(f"the model takes colour images, {shape}, not grey ones")
    raise TrainingError(
        f"the model takes {shape}; it must be (height, width, 1), (height, width) or the pixels of "
        "a square"
    )


def _free(name: str, taken: Sequence[str]) -> str:
    """Return the name, or one that begins with it and that no layer has."""
    return name if name not in taken else _free(f"{name}_1", taken)


def _with_input(model: Any, images: Any, names: Sequence[str]) -> Any:
    """Return the same layers, without their weights, on an input of (height, width, 1)."""
    shape, taken = model.input_shape[1:], images
    if shape != images.shape[1:]:
        taken = keras.layers.Reshape(shape, name=_free("reshape", names))(images)

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        inputs = keras.tree.map_structure(lambda x: taken if x is images else x, inputs)
        return layer(*inputs, **options)

    return keras.models.clone_model(model, input_tensors=images, call_function=call)


def _all_layers(model: Any) -> list[Any]:
    """Return the layers of a model, and those of the models among them."""
    own = getattr(model, "layers", [])
    return [*own, *(inner for layer in own for inner in _all_layers(layer))]


def _gives_logits(model: Any, from_logits: bool) -> bool:
    """Tell from the answers to random images whether the model gives logits."""
    images = np.random.default_rng(0).random((PROBES, *model.input_shape[1:]), np.float32)
    answers = predict(model, images)
    if (answers >= 0).all() and np.allclose(answers.sum(axis=1), 1, atol=1e-3):
        return False
    last = getattr(model.layers[-1], "activation", None)
    if from_logits or last is keras.activations.linear:
        return True
    name, hint = model.layers[-1].name, "if they are logits, say so with --from-logits"
    hint = "it must be softmax, not sigmoid" if last is keras.activations.sigmoid else hint
    raise TrainingError(
        f"the outputs of layer {name} add up to {answers[0].sum():g}, not 1: {hint}"
    )


def read_class_names(settings: PublishSettings, classes: int) -> tuple[str, ...]:
    """Return the names of the classes: as given, Fashion-MNIST's for ten, or numbers."""
    names = tuple(filter(None, settings.classes))
    if settings.class_file:
        try:
            lines = settings.class_file.read_text("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise TrainingError(f"{settings.class_file} is not text in UTF-8: {error}") from error
        names = tuple(name.strip() for name in lines if name.strip())
    if not names:
        return CLASS_NAMES if classes == len(CLASS_NAMES) else tuple(map(str, range(classes)))
    if not len(names) == len(set(names)) == classes:
        given = f"{len(names)} class names are given, {len(set(names))} of them different"
        raise TrainingError(f"{given}; the model has {classes} classes")
    return names


def _find_test_images(
    settings: PublishSettings, class_names: Sequence[str], size: tuple[int, int]
) -> tuple[Images, Labels] | None:
    """Return images, (n, height, width), and labels to score the model on, if there are any."""
    if settings.evaluate and settings.test_data:
        return load_test_images(settings.test_data, size, len(class_names))
    if not settings.evaluate or (tuple(class_names), size) != (CLASS_NAMES, (IMAGE_SIDE,) * 2):
        return None
    data = load_fashion_mnist(settings.data_dir, settings.allow_other_data, class_names)
    return data.test_images, data.test_labels


def _scale_of(network: Any, found: tuple[Images, Labels] | None) -> float:
    """Return the number to divide grey values by: 255, or 1 for a model that divides them itself.

    Without a Rescaling layer the loss decides: values of the wrong scale change the accuracy
    little, but make the network overconfident.
    """
    rescalings = [x for x in _all_layers(network) if isinstance(x, keras.layers.Rescaling)]
    if any(np.max(np.abs(x.scale)) * GREY_LEVELS <= LARGEST_INPUT for x in rescalings):
        return 1.0
    if found is None:
        print("Without test images it is assumed to take values in 0…1")
        return GREY_LEVELS
    losses = {}
    for scale in (float(GREY_LEVELS), 1.0):
        probabilities = predict(network, to_inputs(found[0][SCALE_IMAGES], scale))
        losses[scale] = cross_entropy(probabilities, found[1][SCALE_IMAGES])
    best = min(losses, key=lambda scale: losses[scale])
    if best == 1:
        print("It takes grey values in 0…255: its loss is lower than with values in 0…1")
    return best
