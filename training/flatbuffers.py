"""The network compiled for LiteRT, and how close it stays to Keras."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from .architecture import feature_map_model
from .data import Inputs, Labelled
from .errors import ExportError
from .native_logging import native_noise_hidden
from .novelty import NOVELTY, PROBABILITIES, assess

PREDICTION_SIGNATURE = "serving_default"
FEATURE_MAPS_SIGNATURE = "feature_maps"
NOVELTY_SIGNATURE = "novelty"

BATCH = 500

MAX_PROBABILITY_DIFFERENCE = 1e-4
MAX_FEATURE_MAP_DIFFERENCE = 1e-4
"""Of the largest value of a layer's maps, or of 1 if that is less."""
MAX_NOVELTY_DIFFERENCE = 1e-4
MIN_LABEL_AGREEMENT = 0.995
MIN_NOVELTY_AGREEMENT = 0.99
MAX_ACCURACY_DIFFERENCE = 0.001

Floats = npt.NDArray[np.float32]


class Reference:
    """What Keras answers on the test images, (n, height, width, 1) float32 in [0, 1].

    Args:
        model: the Keras model that the flatbuffers were made from.
        assessor: the same with its novelty score, if it has one.
        test: the images and their labels.
        threshold: the novelty above which an image is novel.
    """

    def __init__(self, model: Any, assessor: Any, test: Labelled, threshold: float | None) -> None:
        self.model, self.test, self.threshold = model, test, threshold
        self.input_name = model.inputs[0].name
        if assessor is not None:
            self.probabilities, self.novelty = assess(assessor, test.images)
        else:
            self.probabilities = model.predict(test.images, batch_size=BATCH, verbose=0)


def convert(saved_model: Path, signatures: list[str], *, int8_weights: bool) -> bytes:
    """Compile signatures of a SavedModel into one flatbuffer.

    Args:
        saved_model: the SavedModel's folder.
        signatures: names of its signatures.
        int8_weights: quantise the weights, with ranges taken at run time for what they multiply.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=signatures
    )
    if int8_weights:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with native_noise_hidden():
        flatbuffer: bytes = converter.convert()
    return flatbuffer


def measure_float32(flatbuffer: bytes, reference: Reference) -> dict[str, Any]:
    """Compare the float32 flatbuffer with Keras: probabilities, novelty and feature maps.

    Raises:
        ExportError: it differs by more than LiteRT's own rounding.
    """
    interpreter = open_flatbuffer(flatbuffer)
    keras_maps = feature_map_model(reference.model)
    feature_maps = interpreter.get_signature_runner(FEATURE_MAPS_SIGNATURE)
    map_difference = 0.0
    for images in _batches(reference.test.images):
        maps = feature_maps(**{reference.input_name: images})
        for name, expected in keras_maps(images, training=False).items():
            scale = max(1.0, float(np.abs(expected).max()))
            difference = float(np.abs(maps[name] - np.asarray(expected)).max())
            map_difference = max(map_difference, difference / scale)
    parity = _measure(interpreter, reference)
    limits = {
        "max_probability_difference": MAX_PROBABILITY_DIFFERENCE,
        "max_feature_map_difference": MAX_FEATURE_MAP_DIFFERENCE,
        "max_novelty_difference": MAX_NOVELTY_DIFFERENCE,
    }
    measured = {**parity, "max_feature_map_difference": map_difference}
    if wrong := [  # so asked, because no comparison holds for NaN
        f"{name} {measured[name]:.1e} (at most {limit})"
        for name, limit in limits.items()
        if name in measured and not measured[name] <= limit
    ]:
        raise ExportError(f"the float32 flatbuffer differs from Keras: {', '.join(wrong)}")
    return {**measured, "shipped": True}


def measure_int8(flatbuffer: bytes, reference: Reference) -> dict[str, Any]:
    """Compare the flatbuffer of int8 weights with Keras; it is shipped where it agrees enough."""
    parity = _measure(open_flatbuffer(flatbuffer), reference)
    keras_accuracy = np.mean(reference.probabilities.argmax(axis=1) == reference.test.labels)
    return {**parity, "shipped": _agrees_enough(parity, float(keras_accuracy))}


def _agrees_enough(parity: dict[str, float], keras_accuracy: float) -> bool:
    return (
        parity["label_agreement"] >= MIN_LABEL_AGREEMENT
        and abs(parity["accuracy"] - keras_accuracy) <= MAX_ACCURACY_DIFFERENCE
        and parity.get("novelty_agreement", 1.0) >= MIN_NOVELTY_AGREEMENT
    )


def open_flatbuffer(flatbuffer: bytes) -> Any:
    """Return an interpreter of a flatbuffer that has its memory."""
    with native_noise_hidden():
        interpreter = Interpreter(model_content=flatbuffer)
        interpreter.allocate_tensors()
    return interpreter


def _measure(interpreter: Any, reference: Reference) -> dict[str, float]:
    def answers(signature: str, output: str) -> Floats:
        runner = interpreter.get_signature_runner(signature)
        batches = _batches(reference.test.images)
        return np.concatenate([runner(**{reference.input_name: x})[output] for x in batches])

    expected = reference.probabilities
    probabilities = answers(PREDICTION_SIGNATURE, PROBABILITIES)
    labels = probabilities.argmax(axis=1)
    measured = {
        "max_probability_difference": float(np.abs(probabilities - expected).max()),
        "label_agreement": float(np.mean(labels == expected.argmax(axis=1))),
        "accuracy": float(np.mean(labels == reference.test.labels)),
    }
    if reference.threshold is not None:
        novelty, known = answers(NOVELTY_SIGNATURE, NOVELTY), reference.novelty
        agrees = (novelty > reference.threshold) == (known > reference.threshold)
        measured["max_novelty_difference"] = float(np.abs(novelty - known).max())
        measured["novelty_agreement"] = float(np.mean(agrees))
    return measured


def _batches(images: Inputs) -> list[Inputs]:
    return [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
