"""The transport-free core: images in, probabilities and feature maps out."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..arrays import Assessment, Flags, Pixels, Tensor, Weights
from ..capacity.parallel import WorkerThreads
from ..errors import ArtifactError
from .artifact import Artifact, Layer

# LiteRT folds these layers into the kernels of others.
_MERGED = ("BatchNormalization", "Normalization", "Rescaling")

Shapes = dict[str, tuple[int, ...]]  # By name of the output.
LayerOutputs = Mapping[str, Tensor]  # Each layer's output by name: (n, …) float32.


class Engine(Protocol):
    """One loaded network; thread-safe. The methods are those of `Classifier`."""

    name: str
    precision: str  # Of the weights that `assess` uses: float32 or int8.

    def assess(self, images: Tensor, workers: WorkerThreads | None = ..., /) -> Assessment: ...
    def feature_maps(
        self, images: Tensor, workers: WorkerThreads | None = ..., /
    ) -> LayerOutputs: ...
    def weights(self, layer: str) -> Weights: ...


class Classifier:
    """One loaded version of the model; thread-safe."""

    def __init__(self, artifact: Artifact, engine: Engine) -> None:
        self.manifest = artifact.manifest
        self.engine_name, self.precision = engine.name, engine.precision
        self._engine = engine

    @property
    def layers_with_maps(self) -> list[Layer]:
        """The layers whose output is (height, width, channels), in network order."""
        return [layer for layer in self.manifest.layers if len(layer.output_shape) == 3]

    @cached_property
    def signatures(self) -> dict[str, Shapes]:
        """The outputs of each signature of the SavedModel, with their shapes for one image."""
        manifest = self.manifest
        probabilities: Shapes = {"probabilities": (len(manifest.class_names),)}
        signatures = {"serving_default": probabilities}
        if manifest.novelty is not None:
            signatures["novelty"] = {"novelty": (), **probabilities}
        signatures["feature_maps"] = {layer.name: layer.output_shape for layer in manifest.layers}
        return signatures

    def to_images(self, pixels: Sequence[Pixels]) -> Tensor:
        """Return (n, height, width, 1) float32: pixels in [0, 255] divided by the scale."""
        spec = self.manifest.input
        images: Tensor = np.divide(np.array(pixels), np.float32(spec.scale), dtype=np.float32)
        return images.reshape(-1, *spec.shape)

    def assess(self, images: Tensor, workers: WorkerThreads | None = None) -> Assessment:
        """Classify (n, height, width, 1) images, and score their novelty if the model can.

        An image with NaN or infinity gets NaN rows. `workers` may share a large batch.
        """
        images, fill = _blank_invalid(images)
        probabilities, novelty = self._engine.assess(images, workers)
        return Assessment(fill(probabilities), None if novelty is None else fill(novelty))

    def feature_maps(self, images: Tensor, workers: WorkerThreads | None = None) -> LayerOutputs:
        """Return every layer's output; arguments and NaN rows as in `assess`."""
        images, fill = _blank_invalid(images)
        outputs = self._engine.feature_maps(images, workers)
        return {name: fill(output) for name, output in outputs.items()}

    def has_weights(self, layer: Layer) -> bool:
        """Return whether `weights` can return the layer's trained kernel and bias."""
        is_merged = any(other.type in _MERGED for other in self.manifest.layers)
        return layer.type in ("Conv2D", "Dense") and not is_merged

    def weights(self, layer: Layer) -> Weights:
        return self._engine.weights(layer.name)

    def in_distribution(self, novelty: Tensor, *, photos: Flags = False) -> NDArray[np.bool_]:
        """Return which of (n,) scores are those of images like the training data; NaN is not.

        Prepared photographs may have their own threshold. Raises ValueError without a score.
        """
        stated = self.manifest.novelty
        if stated is None:
            raise ValueError("the model has no novelty score")
        photo = stated.threshold if stated.photo_threshold is None else stated.photo_threshold
        limit = stated.threshold if photos is False else np.where(photos, photo, stated.threshold)
        return novelty <= np.float32(limit)

    def warm_up(self) -> None:
        """Run both signatures once; raise ArtifactError if they do not match the manifest."""
        black = self.to_images([np.zeros(self.manifest.input.size, np.uint8)])
        try:
            reason = self._find_mismatch(self.assess(black), self.feature_maps(black))
        except Exception as error:  # The engines' errors share no base class.
            raise ArtifactError(f"the model failed its warm-up: {error}") from error
        if reason:
            raise ArtifactError(f"the model failed its warm-up: {reason}")

    def _find_mismatch(self, assessment: Assessment, outputs: LayerOutputs) -> str:
        """Return how the outputs for one image differ from the manifest, or ""."""
        probabilities, novelty = assessment
        classes = len(self.manifest.class_names)
        if probabilities.shape != (1, classes):
            given = probabilities.shape[-1]
            return f"it gives {given} probabilities, the manifest names {classes} classes"
        if not np.isclose(float(probabilities.sum()), 1, atol=1e-3):
            return "its probabilities do not add up to one"
        is_score = novelty is not None and novelty.shape == (1,) and bool(np.isfinite(novelty[0]))
        if is_score != (self.manifest.novelty is not None):
            return "it does not give the novelty that its manifest states"
        for layer in self.manifest.layers:
            name, shape = layer.name, layer.output_shape
            if name not in outputs or outputs[name].shape != (1, *shape):
                return f"layer {name} does not give the shape {shape} that the manifest states"
        return ""


def _blank_invalid(images: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the images with non-finite ones made black, and a function that sets outputs to NaN.

    Otherwise ReLU and quantization would turn NaN into a plausible answer.
    """
    if math.isfinite(np.vdot(images, images)):  # One pass: NaN and infinity stay in the sum.
        return images, lambda output: output
    is_valid = np.isfinite(images).all(axis=(1, 2, 3))

    def keep_valid(values: Tensor, other: float) -> Tensor:
        return np.where(is_valid.reshape(-1, *[1] * (values.ndim - 1)), values, np.float32(other))

    return keep_valid(images, 0), lambda output: keep_valid(output, math.nan)
