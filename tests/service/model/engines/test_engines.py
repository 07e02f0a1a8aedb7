"""Both engines load the same version directory and give the same results."""

import importlib.util
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.capacity.parallel import WorkerThreads
from service.errors import ArtifactError
from service.model.artifact import FLATBUFFER, INT8_FLATBUFFER, Artifact, verify
from service.model.repository import load_engine
from service.settings import EngineChoice
from tests.service.conftest import ENGINES, edit_manifest

TIMEOUT_SECONDS = 20
BATCH_CPU_SECONDS = 0.0002
"""Processor time of a thread that shows that it ran a part of a batch and did not only poll."""

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def images(test_slice: Slice) -> NDArray[np.float32]:
    return test_slice[0].reshape(-1, 28, 28, 1).astype(np.float32) / np.float32(255)


def without_files(artifact: Artifact, *paths: object) -> Artifact:
    """Return the artifact as if it had been published without these files."""
    files = {
        path: digest
        for path, digest in artifact.manifest.files.items()
        if path not in map(str, paths)
    }
    manifest = artifact.manifest.model_copy(update={"files": files})
    return Artifact(artifact.directory, manifest)


def test_float32_probabilities_agree_within_1e_5_and_novelty_within_1e_3(
    artifact: Artifact, images: NDArray[np.float32]
) -> None:
    litert = load_engine(without_files(artifact, INT8_FLATBUFFER), "litert")
    tensorflow = load_engine(artifact, "tensorflow")
    of_litert, of_tensorflow = litert.assess(images), tensorflow.assess(images)
    np.testing.assert_allclose(of_litert.probabilities, of_tensorflow.probabilities, atol=1e-5)
    assert of_litert.novelty is not None
    assert of_tensorflow.novelty is not None
    np.testing.assert_allclose(of_litert.novelty, of_tensorflow.novelty, atol=1e-3)


def test_engines_agree_on_labels_of_the_test_slice(
    artifact: Artifact, test_slice: Slice, images: NDArray[np.float32]
) -> None:
    litert = load_engine(artifact, "litert").assess(images).probabilities.argmax(axis=1)
    tensorflow = load_engine(artifact, "tensorflow").assess(images).probabilities.argmax(axis=1)
    assert (litert == tensorflow).mean() >= 0.995


def test_engines_agree_on_novelty_of_known_and_unknown_images(
    artifact: Artifact, images: NDArray[np.float32]
) -> None:
    assert artifact.manifest.novelty is not None
    inputs = np.concatenate([images, 1 - images])
    novel = []
    for choice in ENGINES:
        novelty = load_engine(artifact, choice).assess(inputs).novelty
        assert novelty is not None
        assert novelty.shape == (2000,)
        assert novelty.dtype == np.float32
        novel.append(novelty > artifact.manifest.novelty.threshold)
    assert (novel[0] == novel[1]).mean() >= 0.99


def test_large_batch_is_split_over_threads_with_equal_results(
    artifact: Artifact, images: NDArray[np.float32]
) -> None:
    litert = load_engine(artifact, "litert")
    alone, maps = litert.assess(images), litert.feature_maps(images[:40])
    assert alone.novelty is not None
    with ThreadPoolExecutor(1) as pool:
        workers, end = WorkerThreads(pool, 1), time.monotonic() + TIMEOUT_SECONDS
        idle = pool.submit(time.thread_time).result()
        while pool.submit(time.thread_time).result() < idle + BATCH_CPU_SECONDS:
            assert time.monotonic() < end, "no other thread ran a part of the batch"
            together = litert.assess(images, workers)
            np.testing.assert_array_equal(together.probabilities, alone.probabilities)
            assert together.novelty is not None
            np.testing.assert_array_equal(together.novelty, alone.novelty)
        for name, output in litert.feature_maps(images[:40], workers).items():
            np.testing.assert_array_equal(output, maps[name])


@pytest.mark.parametrize("choice", ENGINES)
def test_model_without_novelty_is_assessed_without_it(
    artifact: Artifact, images: NDArray[np.float32], choice: EngineChoice
) -> None:
    without_novelty = replace(
        artifact, manifest=artifact.manifest.model_copy(update={"novelty": None})
    )
    probabilities, novelty = load_engine(without_novelty, choice).assess(images[:3])
    assert novelty is None
    expected = load_engine(artifact, choice).assess(images[:3]).probabilities
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_feature_maps_agree_within_1e_4(artifact: Artifact, images: NDArray[np.float32]) -> None:
    litert = load_engine(artifact, "litert").feature_maps(images[:8])
    tensorflow = load_engine(artifact, "tensorflow").feature_maps(images[:8])
    assert set(litert) == set(tensorflow) == {layer.name for layer in artifact.manifest.layers}
    for name, output in litert.items():
        np.testing.assert_allclose(output, tensorflow[name], atol=1e-4)


def test_auto_selects_litert_if_there_is_a_flatbuffer_and_logs_why(
    artifact: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "service")
    assert load_engine(artifact, "auto").name == "litert"
    assert "engine litert (there is a model.tflite)" in caplog.text


def test_auto_selects_tensorflow_without_a_flatbuffer_and_logs_why(
    artifact: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "service")
    bare = without_files(artifact, FLATBUFFER, INT8_FLATBUFFER)
    assert load_engine(bare, "auto").name == "tensorflow"
    assert "engine tensorflow (there is no model.tflite)" in caplog.text


def test_litert_without_a_flatbuffer_is_refused(artifact: Artifact) -> None:
    with pytest.raises(ArtifactError, match=r"has no assets.extra/model.tflite"):
        load_engine(without_files(artifact, FLATBUFFER), "litert")


def test_missing_tensorflow_is_reported(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ArtifactError, match="needs TensorFlow, which is not installed"):
        load_engine(artifact, "tensorflow")


def republish(version: Path) -> Artifact:
    """Set the digests in the manifest to those of the current files."""
    import hashlib  # noqa: PLC0415

    def renew(manifest: dict[str, dict[str, str]]) -> None:
        manifest["files"] = {
            path: hashlib.sha256((version / path).read_bytes()).hexdigest()
            for path in manifest["files"]
        }

    edit_manifest(version, renew)
    return verify(version)


@pytest.mark.parametrize(
    ("path", "engine"), [(str(FLATBUFFER), "litert"), ("saved_model.pb", "tensorflow")]
)
def test_file_that_the_engine_cannot_load_is_reported(
    copied_artifacts: Path, path: str, engine: str
) -> None:
    version = copied_artifacts / "1"
    (version / path).write_bytes(b"\0" * 1000)
    with pytest.raises(ArtifactError, match=r"that (LiteRT|TensorFlow) can load"):
        load_engine(republish(version), engine)  # type: ignore[arg-type]  # a parameter is a str


def test_flatbuffer_without_a_signature_is_reported(copied_artifacts: Path) -> None:
    version = copied_artifacts / "1"
    shutil.copy(version / INT8_FLATBUFFER, version / FLATBUFFER)
    with pytest.raises(ArtifactError, match="no signature 'feature_maps' that LiteRT can load"):
        load_engine(republish(version), "litert")
