"""What runs the network. Each engine is one module, imported only when it is chosen."""

import importlib.util
import logging
from collections.abc import Mapping
from typing import Protocol

from service.arrays import Assessment, Tensor, Weights
from service.model.artifact import FLATBUFFER, Artifact
from service.errors import ArtifactError
from service.settings import EngineChoice
from service.capacity.parallel import Helpers

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """One loaded network. Both methods may be called from several threads at once."""

    name: str
    """What users call it: `litert` or `tensorflow`."""

    def assess(self, images: Tensor, helpers: Helpers | None = None) -> Assessment:
        """Classify a batch, and say how strange each image is where the model can.

        Args:
            images: (n, height, width, 1) float32 in [0, 1].
            helpers: Who may take a part of a large batch.
        """
        ...

    def feature_maps(self, images: Tensor, helpers: Helpers | None = None) -> Mapping[str, Tensor]:
        """Return what every layer makes of a batch.

        Args:
            images: (n, height, width, 1) float32 in [0, 1].
            helpers: Who may take a part of a large batch.

        Returns:
            By layer name, the layer's output: (n, …) float32.
        """
        ...

    def weights(self, layer: str) -> Weights:
        """Return kernel and bias of a layer that has parameters, exactly as they were trained."""
        ...


def load_engine(artifact: Artifact, choice: EngineChoice) -> Engine:
    """Load the network of `artifact`, and say in the log which engine was taken and why.

    Raises:
        ArtifactError: The chosen engine cannot load this artifact, or is not installed.
    """
    has_flatbuffer = artifact.file(FLATBUFFER) is not None
    engine: Engine
    if choice == "litert" or (choice == "auto" and has_flatbuffer):
        reason = "asked for" if choice == "litert" else f"there is a {FLATBUFFER.name}"
        if not has_flatbuffer:
            raise ArtifactError(f"{artifact.directory} has no {FLATBUFFER} for the litert engine")
        from service.model.engines.litert import LiteRTEngine

        engine = LiteRTEngine(artifact)
    else:
        reason = "asked for" if choice == "tensorflow" else f"there is no {FLATBUFFER.name}"
        if importlib.util.find_spec("tensorflow") is None:
            raise ArtifactError(
                f"the tensorflow engine ({reason}) needs TensorFlow, which is not installed: "
                "it comes with the extra `training`"
            )
        from service.model.engines.tensorflow import TensorFlowEngine

        engine = TensorFlowEngine(artifact)
    logger.info("engine %s (%s)", engine.name, reason)
    return engine
