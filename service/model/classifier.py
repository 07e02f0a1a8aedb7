"""The transport-free core: pictures in, probabilities and feature maps out."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.arrays import Assessment, Pixels, Tensor, Weights
from service.model.artifact import Artifact, Layer, Manifest, verify
from service.model.engines import Engine, load_engine
from service.errors import ArtifactError
from service.telemetry.record import count_predictions, finish, leave_network
from service.settings import EngineChoice
from service.capacity.parallel import Helpers, do_all

P = TypeVar("P")


class Classifier:
    """One version of the model, loaded. Its methods may be called from several threads."""

    def __init__(self, artifact: Artifact, engine: Engine) -> None:
        self.manifest: Manifest = artifact.manifest
        self.engine_name = engine.name
        self._engine = engine

    def predict(self, pixels: Sequence[Pixels]) -> Tensor:
        """Classify pictures.

        Args:
            pixels: Of each picture, (height, width) numbers in [0, scale].

        Returns:
            (n, classes) float32 probabilities, in the order given.
        """
        return self.assess(pixels).probabilities

    def assess(self, pixels: Sequence[Pixels], helpers: Helpers | None = None) -> Assessment:
        """Classify pictures, and say how strange each is where the model can.

        Args:
            pixels: Of each picture, (height, width) numbers in [0, scale].
            helpers: Who may take a part of many pictures.
        """
        return self._assess(self.to_images(pixels), helpers)

    def assess_parts(
        self, parts: Sequence[P], read: Callable[[P], Sequence[Pixels]], helpers: Helpers | None
    ) -> Assessment:
        """Classify pictures that are read a part at a time, as `assess` does all at once.

        Args:
            parts: What some of them are read from.
            read: Returns those of a part; is called from several threads.
            helpers: Who may take parts as well: while one reads, others run the network.

        Raises:
            Exception: What `read` raised for the first part that it raised something for.
        """

        def assess(part: P) -> Assessment:
            images = self.to_images(read(part))
            finish("prepare")
            assessment = self._engine.assess(images)
            finish("infer")
            return assessment

        probabilities, novelties = zip(*do_all(assess, parts, math.inf, helpers), strict=True)
        whole = Assessment(
            np.concatenate(probabilities),
            None if novelties[0] is None else np.concatenate(novelties),
        )
        leave_network(len(whole.probabilities))
        count_predictions(self, *whole)
        return whole

    def in_distribution(self, novelty: Tensor) -> NDArray[np.bool_]:
        """Say which pictures are like what the model was trained on: (n,) float32 -> (n,) bool.

        A novelty that is not a number is no sign of having been seen.
        """
        if self.manifest.novelty is None:
            raise ValueError("the model has no novelty score")
        return novelty <= np.float32(self.manifest.novelty.threshold)

    def feature_maps(self, pixels: Pixels) -> Mapping[str, Tensor]:
        """Return what each layer makes of one picture.

        Args:
            pixels: (height, width) numbers in [0, scale].

        Returns:
            By layer name, the layer's output without a batch dimension, float32.
        """
        outputs = self._feature_maps(self.to_images([pixels]))
        return {name: output[0] for name, output in outputs.items()}

    def assess_images(self, images: Tensor, helpers: Helpers | None = None) -> Assessment:
        """Classify what is already in the network's own units.

        Args:
            images: (n, height, width, 1) float32, in [0, 1] if they are pictures.
            helpers: Who may take a part of many images.

        Returns:
            Probabilities and novelty in the order given; NaN for an image that has a NaN or an
            infinity in it.
        """
        if np.isfinite(images).all():
            return self._assess(images, helpers)
        broken = _not_finite(images)
        probabilities, novelty = self._assess(_without(images, broken), helpers, ~broken)
        return Assessment(
            _with_nan(probabilities, broken),
            None if novelty is None else _with_nan(novelty, broken),
        )

    def layer_outputs(self, images: Tensor, helpers: Helpers | None = None) -> Mapping[str, Tensor]:
        """Return what each layer makes of a batch in the network's own units.

        Args:
            images: (n, height, width, 1) float32, in [0, 1] if they are pictures.
            helpers: Who may take a part of many images.

        Returns:
            By layer name, the layer's output: (n, …) float32; NaN as in `assess_images`.
        """
        if np.isfinite(images).all():
            return self._feature_maps(images, helpers)
        broken = _not_finite(images)
        outputs = self._feature_maps(_without(images, broken), helpers)
        return {name: _with_nan(output, broken) for name, output in outputs.items()}

    def to_images(self, pixels: Sequence[Pixels]) -> Tensor:
        """Reshape to (n, height, width, 1) and divide by the scale: float32 in [0, 1]."""
        spec = self.manifest.input
        images: Tensor = np.divide(np.array(pixels), np.float32(spec.scale), dtype=np.float32)
        return images.reshape(-1, *spec.shape)

    def weights(self, layer: Layer) -> Weights:
        """Return kernel and bias of a layer of the manifest that has parameters."""
        return self._engine.weights(layer.name)

    @property
    def layers_with_maps(self) -> list[Layer]:
        """The layers whose output is a stack of images, in the order of the network."""
        return [layer for layer in self.manifest.layers if layer.gives_maps]

    def _assess(
        self,
        images: Tensor,
        helpers: Helpers | None,
        whole: NDArray[np.bool_] | slice = slice(None),
    ) -> Assessment:
        """Run the network; only the answers for what is `whole` are counted."""
        finish("prepare")
        probabilities, novelty = self._engine.assess(images, helpers)
        leave_network(len(images))
        count_predictions(self, probabilities[whole], None if novelty is None else novelty[whole])
        return Assessment(probabilities, novelty)

    def _feature_maps(self, images: Tensor, helpers: Helpers | None = None) -> Mapping[str, Tensor]:
        finish("prepare")
        outputs = self._engine.feature_maps(images, helpers)
        leave_network(len(images))
        return outputs

    def warm_up(self) -> None:
        """Run both signatures once and hold what comes out against the manifest.

        Raises:
            ArtifactError: The network does not do what its manifest says.
        """
        black = np.zeros(self.manifest.input.size, np.uint8)
        try:
            probabilities, novelty = self.assess([black])
            outputs = self.feature_maps(black)
        except Exception as error:  # Engines share no base class for what they raise.
            raise ArtifactError(f"the model failed its warm-up: {error}") from error
        classes = len(self.manifest.class_names)
        if probabilities.shape != (1, classes):
            raise ArtifactError(
                f"the model failed its warm-up: it gives {probabilities.shape[-1]} probabilities, "
                f"the manifest names {classes} classes"
            )
        if not np.isclose(float(probabilities.sum()), 1, atol=1e-3):
            raise ArtifactError(
                "the model failed its warm-up: its probabilities do not add up to one"
            )
        if (novelty is None) != (self.manifest.novelty is None) or (
            novelty is not None and (novelty.shape != (1,) or not np.isfinite(novelty).all())
        ):
            raise ArtifactError(
                "the model failed its warm-up: it does not give the novelty that its manifest "
                "states"
            )
        for layer in self.manifest.layers:
            if layer.name not in outputs or outputs[layer.name].shape != layer.output_shape:
                raise ArtifactError(
                    f"the model failed its warm-up: layer {layer.name} does not give the shape "
                    f"{layer.output_shape} that the manifest states"
                )


# A rectifier may turn NaN into zero, and quantising turns it into some number: each engine would
# make another plausible answer of it.


def _not_finite(images: Tensor) -> NDArray[np.bool_]:
    """Return which images have a NaN or an infinity in them: (n,) bool."""
    return np.asarray(~np.isfinite(images).all(axis=(1, 2, 3)))


def _without(images: Tensor, broken: NDArray[np.bool_]) -> Tensor:
    """Return the images with black ones in place of the broken."""
    images = images.copy()
    images[broken] = 0
    return images


def _with_nan(output: Tensor, broken: NDArray[np.bool_]) -> Tensor:
    """Return the output with the rows of the broken images unknown."""
    output = output.copy()
    output[broken] = np.nan
    return output


def load_classifier(directory: Path, engine: EngineChoice) -> Classifier:
    """Verify, load and warm up one version.

    Raises:
        ArtifactError: One of these steps failed; the message is a sentence for the operator.
    """
    artifact = verify(directory)
    classifier = Classifier(artifact, load_engine(artifact, engine))
    classifier.warm_up()
    return classifier
