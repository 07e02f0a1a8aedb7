"""The network as a LiteRT flatbuffer: no TensorFlow in the process."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from ai_edge_litert.interpreter import Interpreter, SignatureRunner

from service.arrays import Assessment, Tensor, Weights
from service.model.artifact import FLATBUFFER, INT8_FLATBUFFER, Artifact
from service.errors import ArtifactError
from service.capacity.parallel import Helpers, do_all

IMAGES_AT_ONCE = 32
"""More leave the processor's caches, and every interpreter keeps room for its largest batch."""


class LiteRTEngine:
    """Probabilities and novelty from the int8 flatbuffer where there is one, maps from float32.

    Feature maps of the quantised network are off by about 0.01, which a person comparing them
    with Keras' own would see; its other answers were held against Keras' when it was exported.
    """

    name = "litert"

    def __init__(self, artifact: Artifact) -> None:
        smallest = INT8_FLATBUFFER if artifact.file(INT8_FLATBUFFER) else FLATBUFFER
        signature = "novelty" if artifact.manifest.novelty else "serving_default"
        self._assessors = _RunnerPool(artifact, smallest, signature)
        self._mappers = _RunnerPool(artifact, FLATBUFFER, "feature_maps")

    def assess(self, images: Tensor, helpers: Helpers | None = None) -> Assessment:
        outputs = self._assessors.run(images, helpers)
        return Assessment(outputs["probabilities"], outputs.get("novelty"))

    def feature_maps(self, images: Tensor, helpers: Helpers | None = None) -> Mapping[str, Tensor]:
        return self._mappers.run(images, helpers)

    def weights(self, layer: str) -> Weights:
        # The schema takes a tenth of a second to import, and most processes are never asked.
        from service.model.engines.flatbuffer import WeightReader  # noqa: PLC0415

        return WeightReader(self._mappers.content, "feature_maps").read(layer)


class _RunnerPool:
    """Signature runners of one flatbuffer, each used by one thread at a time.

    An interpreter keeps its tensors inside itself and must not be shared. There are never more
    than the most threads that have called at once.
    """

    def __init__(self, artifact: Artifact, flatbuffer: PurePosixPath, signature: str) -> None:
        self._path: Path = artifact.directory / flatbuffer
        # A later runner must come from the same bytes, whatever happens to the directory: requests
        # go on with this version while it is being replaced or removed.
        self.content = self._path.read_bytes()
        self._signature = signature
        self._input = artifact.manifest.input.name
        self._idle: list[SignatureRunner] = [self._create()]

    def run(self, images: Tensor, helpers: Helpers | None) -> Mapping[str, Tensor]:
        """Return what the signature makes of images, by the name of the output."""
        if len(images) <= IMAGES_AT_ONCE:
            return self._run_at_once(images)
        firsts = range(0, len(images), IMAGES_AT_ONCE)
        batches = [images[first : first + IMAGES_AT_ONCE] for first in firsts]
        parts = do_all(self._run_at_once, batches, images.nbytes, helpers)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run_at_once(self, images: Tensor) -> Mapping[str, Tensor]:
        try:
            runner = self._idle.pop()
        except IndexError:
            runner = self._create()
        outputs: Mapping[str, Tensor] = runner(**{self._input: images})
        # Not in a finally: one that failed half-way is left to the garbage collector.
        self._idle.append(runner)
        return outputs

    def _create(self) -> SignatureRunner:
        try:
            interpreter = Interpreter(model_content=self.content, num_threads=1)
            return interpreter.get_signature_runner(self._signature)
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(
                f"{self._path} has no signature {self._signature!r} that LiteRT can load: {error}"
            ) from error
