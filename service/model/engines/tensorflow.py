"""The network as TensorFlow loads it from the SavedModel: the reference."""

import os
from collections.abc import Mapping
from typing import Any

# Read when TensorFlow is imported: its banner of build options is no news to a user.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from service.arrays import Assessment, Tensor, Weights
from service.model.artifact import Artifact
from service.errors import ArtifactError
from service.capacity.parallel import Helpers


class TensorFlowEngine:
    """The signatures of the SavedModel."""

    name = "tensorflow"

    def __init__(self, artifact: Artifact) -> None:
        self._input = artifact.manifest.input.name
        try:
            # A signature holds no reference to the variables of the model it belongs to.
            self._model: Any = tf.saved_model.load(str(artifact.directory))
            signature = "novelty" if artifact.manifest.novelty else "serving_default"
            self._assess = self._model.signatures[signature]
            self._feature_maps = self._model.signatures["feature_maps"]
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            raise ArtifactError(
                f"{artifact.directory} has no SavedModel with every signature that TensorFlow "
                f"can load: {error}"
            ) from error

    def assess(self, images: Tensor, helpers: Helpers | None = None) -> Assessment:
        del helpers  # TensorFlow has threads of its own.
        outputs = self._assess(**{self._input: tf.constant(images)})
        arrays = {name: output.numpy() for name, output in outputs.items()}
        return Assessment(arrays["probabilities"], arrays.get("novelty"))

    def feature_maps(self, images: Tensor, helpers: Helpers | None = None) -> Mapping[str, Tensor]:
        del helpers
        outputs = self._feature_maps(**{self._input: tf.constant(images)})
        return {name: output.numpy() for name, output in outputs.items()}

    def weights(self, layer: str) -> Weights:
        variables = self._feature_maps.variables
        values = {variable.name.removesuffix(":0"): variable for variable in variables}
        return Weights(values[f"{layer}/kernel"].numpy(), values[f"{layer}/bias"].numpy())
