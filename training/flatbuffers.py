"""The network compiled for LiteRT, and how close it stays to Keras."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from training.architecture import INPUT_NAME
from training.data import Inputs, Labelled
from training.errors import ExportError
from training.quiet import native_noise_hidden

PREDICTION_SIGNATURE = "serving_default"
FEATURE_MAPS_SIGNATURE = "feature_maps"
PROBABILITIES = "probabilities"

BATCH = 500

MAX_PROBABILITY_DIFFERENCE = 1e-5
MAX_FEATURE_MAP_DIFFERENCE = 1e-4
MIN_LABEL_AGREEMENT = 0.995
MAX_ACCURACY_DIFFERENCE = 0.001

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Parity:
    """A flatbuffer's answers on the test images beside those of Keras."""

    max_probability_difference: float
    label_agreement: float
    accuracy: float
    shipped: bool


@dataclass(frozen=True)
class FullParity(Parity):
    """The same for a flatbuffer that also gives feature maps."""

    max_feature_map_difference: float


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


def measure_float32(flatbuffer: bytes, model: Any, test: Labelled) -> FullParity:
    """Compare the float32 flatbuffer with Keras, probabilities and feature maps.

    Args:
        flatbuffer: with both signatures.
        model: the Keras model it was made from.
        test: images (n, 28, 28, 1) float32 in [0, 1] and labels.

    Raises:
        ExportError: it differs by more than LiteRT's own rounding.
    """
    interpreter = _interpreter(flatbuffer)
    reference = keras.Model(model.inputs[0], [layer.output for layer in model.layers])
    feature_maps = interpreter.get_signature_runner(FEATURE_MAPS_SIGNATURE)
    differences = []
    for images in _batches(test.images):
        maps = feature_maps(**{INPUT_NAME: images})
        for layer, expected in zip(model.layers, reference(images, training=False), strict=True):
            differences.append(np.abs(maps[layer.name] - np.asarray(expected)).max())
    map_difference = float(np.max(differences))
    parity = _measure(interpreter, model, test, holds=lambda *_: True)
    if not (  # so asked, because no comparison holds for NaN
        parity.max_probability_difference <= MAX_PROBABILITY_DIFFERENCE
        and map_difference <= MAX_FEATURE_MAP_DIFFERENCE
    ):
        raise ExportError(
            "the float32 flatbuffer differs from Keras: probabilities by "
            f"{parity.max_probability_difference:.1e} (at most {MAX_PROBABILITY_DIFFERENCE}), "
            f"feature maps by {map_difference:.1e} (at most {MAX_FEATURE_MAP_DIFFERENCE})"
        )
    return FullParity(**asdict(parity), max_feature_map_difference=map_difference)


def measure_int8(flatbuffer: bytes, model: Any, test: Labelled) -> Parity:
    """Compare the flatbuffer of int8 weights with Keras; it is shipped where it agrees enough."""
    return _measure(_interpreter(flatbuffer), model, test, holds=_agrees_enough)


def _interpreter(flatbuffer: bytes) -> Any:
    with native_noise_hidden():
        interpreter = Interpreter(model_content=flatbuffer)
        interpreter.allocate_tensors()
    return interpreter


def _agrees_enough(label_agreement: float, accuracy_difference: float) -> bool:
    return label_agreement >= MIN_LABEL_AGREEMENT and accuracy_difference <= MAX_ACCURACY_DIFFERENCE


def _measure(
    interpreter: Any, model: Any, test: Labelled, holds: Callable[[float, float], bool]
) -> Parity:
    predict = interpreter.get_signature_runner(PREDICTION_SIGNATURE)
    answers = [predict(**{INPUT_NAME: images})[PROBABILITIES] for images in _batches(test.images)]
    probabilities: Floats = np.concatenate(answers)
    expected: Floats = model.predict(test.images, batch_size=BATCH, verbose=0)
    labels, expected_labels = probabilities.argmax(axis=1), expected.argmax(axis=1)
    agreement = float(np.mean(labels == expected_labels))
    accuracy = float(np.mean(labels == test.labels))
    expected_accuracy = float(np.mean(expected_labels == test.labels))
    return Parity(
        max_probability_difference=float(np.abs(probabilities - expected).max()),
        label_agreement=agreement,
        accuracy=accuracy,
        shipped=holds(agreement, abs(accuracy - expected_accuracy)),
    )


def _batches(images: Inputs) -> list[Inputs]:
    return [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
