"""The network as TensorFlow loads it from the SavedModel: the reference."""

import os
from typing import Any

# Read on import; keeps TensorFlow from logging its build options.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from ...arrays import Assessment, Tensor, Weights
from ...capacity.parallel import WorkerThreads
from ...errors import ArtifactError
from ..artifact import Artifact


class TensorFlowEngine:
    """The signatures of the SavedModel, which TensorFlow runs in its own threads."""

    name, precision = "tensorflow", "float32"

    def __init__(self, artifact: Artifact) -> None:
        self._input = artifact.manifest.input.name
        try:
            # Kept because a signature does not keep the model's variables alive.
            self._model: Any = tf.saved_model.load(str(artifact.directory))
            signature = "novelty" if artifact.manifest.novelty else "serving_default"
            self._assess = self._model.signatures[signature]
            self._feature_maps = self._model.signatures["feature_maps"]
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            raise ArtifactError(
                f"{artifact.directory} has no SavedModel with every signature that TensorFlow "
                f"can load: {error}"
            ) from error

    def assess(self, images: Tensor, _workers: WorkerThreads | None = None) -> Assessment:
        outputs = self._run(self._assess, images)
        return Assessment(outputs["probabilities"], outputs.get("novelty"))

    def feature_maps(
        self, images: Tensor, _workers: WorkerThreads | None = None
    ) -> dict[str, Tensor]:
        return self._run(self._feature_maps, images)

    def weights(self, layer: str) -> Weights:
        values = {v.name.removesuffix(":0"): v.numpy() for v in self._feature_maps.variables}
        kernel = values[f"{layer}/kernel"]
        return Weights(kernel, values.get(f"{layer}/bias", np.zeros(kernel.shape[-1], np.float32)))

    def _run(self, signature: Any, images: Tensor) -> dict[str, Tensor]:
        outputs = signature(**{self._input: tf.constant(images)})
        return {name: output.numpy() for name, output in outputs.items()}
