"""The network as a LiteRT flatbuffer: no TensorFlow in the process."""

from pathlib import PurePosixPath

import numpy as np
from ai_edge_litert.interpreter import Interpreter, SignatureRunner

from ...arrays import Assessment, Tensor, Weights
from ...capacity.parallel import WorkerThreads, parallel_map
from ...errors import ArtifactError
from ..artifact import FLATBUFFER, INT8_FLATBUFFER, Artifact

# Larger batches exceed the CPU caches, and an interpreter keeps memory for its largest batch.
IMAGES_AT_ONCE = 32


class LiteRTEngine:
    """Assesses with int8 weights if there are any; feature maps come from float32, being exact."""

    name = "litert"

    def __init__(self, artifact: Artifact) -> None:
        smallest = INT8_FLATBUFFER if artifact.file(INT8_FLATBUFFER) else FLATBUFFER
        self.precision = "int8" if smallest is INT8_FLATBUFFER else "float32"
        signature = "novelty" if artifact.manifest.novelty else "serving_default"
        self._assessors = _RunnerPool(artifact, smallest, signature)
        self._mappers = _RunnerPool(artifact, FLATBUFFER, "feature_maps")

    def assess(self, images: Tensor, workers: WorkerThreads | None = None) -> Assessment:
        outputs = self._assessors.run(images, workers)
        return Assessment(outputs["probabilities"], outputs.get("novelty"))

    def feature_maps(
        self, images: Tensor, workers: WorkerThreads | None = None
    ) -> dict[str, Tensor]:
        return self._mappers.run(images, workers)

    def weights(self, layer: str) -> Weights:
        # The schema takes 0.1 s to import, and few processes need it.
        from .flatbuffer import read_weights  # noqa: PLC0415

        return read_weights(self._mappers.content, "feature_maps", layer)


class _RunnerPool:
    """Signature runners of one flatbuffer; an interpreter is not thread-safe."""

    def __init__(self, artifact: Artifact, flatbuffer: PurePosixPath, signature: str) -> None:
        self._path = artifact.directory / flatbuffer
        # Kept for later runners: the file may be replaced while requests use this version.
        self.content = self._path.read_bytes()
        self._signature = signature
        self._input = artifact.manifest.input.name
        self._idle: list[SignatureRunner] = [self._create()]

    def run(self, images: Tensor, workers: WorkerThreads | None) -> dict[str, Tensor]:
        if len(images) <= IMAGES_AT_ONCE:
            return self._run_batch(images)
        starts = range(0, len(images), IMAGES_AT_ONCE)
        batches = [images[start : start + IMAGES_AT_ONCE] for start in starts]
        parts = parallel_map(self._run_batch, batches, workers, total_bytes=images.nbytes)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run_batch(self, images: Tensor) -> dict[str, Tensor]:
        try:
            runner = self._idle.pop()
        except IndexError:
            runner = self._create()
        outputs: dict[str, Tensor] = runner(**{self._input: images})
        self._idle.append(runner)  # Not in a finally: a failed runner is not reused.
        return outputs

    def _create(self) -> SignatureRunner:
        try:
            interpreter = Interpreter(model_content=self.content, num_threads=1)
            return interpreter.get_signature_runner(self._signature)
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(
                f"{self._path} has no signature {self._signature!r} that LiteRT can load: {error}"
            ) from error
