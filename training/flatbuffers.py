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

from training.architecture import INPUT_NAME, trace_layers
from training.data import Inputs, Labelled
from training.errors import ExportError
from training.novelty import NOVELTY, PROBABILITIES, Assessor
from training.quiet import native_noise_hidden

PREDICTION_SIGNATURE = "serving_default"
FEATURE_MAPS_SIGNATURE = "feature_maps"
NOVELTY_SIGNATURE = "novelty"

BATCH = 500

MAX_PROBABILITY_DIFFERENCE = 1e-5
MAX_FEATURE_MAP_DIFFERENCE = 1e-4
MAX_NOVELTY_DIFFERENCE = 1e-3
MIN_LABEL_AGREEMENT = 0.995
MIN_NOVELTY_AGREEMENT = 0.99
MAX_ACCURACY_DIFFERENCE = 0.001

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Parity:
    """A flatbuffer's answers on the test images beside those of Keras."""

    max_probability_difference: float
    label_agreement: float
    accuracy: float
    max_novelty_difference: float
    novelty_agreement: float
    """Share of the images that both, or neither, find novel."""
    shipped: bool


@dataclass(frozen=True)
class FullParity(Parity):
    """The same for a flatbuffer that also gives feature maps."""

    max_feature_map_difference: float


class Reference:
    """What Keras answers on the test images, (n, 28, 28, 1) float32 in [0, 1].

    Args:
        model: the Keras model that the flatbuffers were made from.
        assessor: the same with its novelty score.
        test: the images and their labels.
    """

    def __init__(self, model: Any, assessor: Assessor, test: Labelled) -> None:
        self.model, self.test = model, test
        self.answers = assessor.assess(test.images)
        self.is_novel = assessor.is_novel


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


def measure_float32(flatbuffer: bytes, reference: Reference) -> FullParity:
    """Compare the float32 flatbuffer with Keras: probabilities, novelty and feature maps.

    Raises:
        ExportError: it differs by more than LiteRT's own rounding.
    """
    interpreter = _interpreter(flatbuffer)
    layers = reference.model.layers
    inputs, outputs = trace_layers(reference.model)
    keras_maps = keras.Model(inputs, [outputs[layer.name] for layer in layers])
    feature_maps = interpreter.get_signature_runner(FEATURE_MAPS_SIGNATURE)
    differences = []
    for images in _batches(reference.test.images):
        maps = feature_maps(**{INPUT_NAME: images})
        for layer, expected in zip(layers, keras_maps(images, training=False), strict=True):
            differences.append(np.abs(maps[layer.name] - np.asarray(expected)).max())
    map_difference = float(np.max(differences))
    parity = _measure(interpreter, reference, holds=lambda *_: True)
    if not (  # so asked, because no comparison holds for NaN
        parity.max_probability_difference <= MAX_PROBABILITY_DIFFERENCE
        and parity.max_novelty_difference <= MAX_NOVELTY_DIFFERENCE
        and map_difference <= MAX_FEATURE_MAP_DIFFERENCE
    ):
        raise ExportError(
            "the float32 flatbuffer differs from Keras: probabilities by "
            f"{parity.max_probability_difference:.1e} (at most {MAX_PROBABILITY_DIFFERENCE}), "
            f"novelty by {parity.max_novelty_difference:.1e} (at most {MAX_NOVELTY_DIFFERENCE}), "
            f"feature maps by {map_difference:.1e} (at most {MAX_FEATURE_MAP_DIFFERENCE})"
        )
    return FullParity(**asdict(parity), max_feature_map_difference=map_difference)


def measure_int8(flatbuffer: bytes, reference: Reference) -> Parity:
    """Compare the flatbuffer of int8 weights with Keras; it is shipped where it agrees enough."""
    return _measure(_interpreter(flatbuffer), reference, holds=_agrees_enough)


def _interpreter(flatbuffer: bytes) -> Any:
    with native_noise_hidden():
        interpreter = Interpreter(model_content=flatbuffer)
        interpreter.allocate_tensors()
    return interpreter


def _agrees_enough(
    label_agreement: float, accuracy_difference: float, novelty_agreement: float
) -> bool:
    return (
        label_agreement >= MIN_LABEL_AGREEMENT
        and accuracy_difference <= MAX_ACCURACY_DIFFERENCE
        and novelty_agreement >= MIN_NOVELTY_AGREEMENT
    )


def _measure(
    interpreter: Any, reference: Reference, holds: Callable[[float, float, float], bool]
) -> Parity:
    expected, true_labels = reference.answers, reference.test.labels
    predict = interpreter.get_signature_runner(PREDICTION_SIGNATURE)
    assess_novelty = interpreter.get_signature_runner(NOVELTY_SIGNATURE)
    batches = _batches(reference.test.images)
    probabilities = np.concatenate([predict(**{INPUT_NAME: x})[PROBABILITIES] for x in batches])
    novelty = np.concatenate([assess_novelty(**{INPUT_NAME: x})[NOVELTY] for x in batches])
    labels, expected_labels = probabilities.argmax(axis=1), expected.probabilities.argmax(axis=1)
    agreement = float(np.mean(labels == expected_labels))
    accuracy = float(np.mean(labels == true_labels))
    expected_accuracy = float(np.mean(expected_labels == true_labels))
    agrees_on_novelty = reference.is_novel(novelty) == reference.is_novel(expected.novelty)
    novelty_agreement = float(np.mean(agrees_on_novelty))
    return Parity(
        max_probability_difference=float(np.abs(probabilities - expected.probabilities).max()),
        label_agreement=agreement,
        accuracy=accuracy,
        max_novelty_difference=float(np.abs(novelty - expected.novelty).max()),
        novelty_agreement=novelty_agreement,
        shipped=holds(agreement, abs(accuracy - expected_accuracy), novelty_agreement),
    )


def _batches(images: Inputs) -> list[Inputs]:
    return [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
