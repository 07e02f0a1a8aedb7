"""Accuracy, scores and size of the shipped model."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.model.artifact import Artifact, verify
from service.model.classifier import Classifier
from service.model.repository import load_engine
from service.model.store import Directory
from service.settings import EngineChoice
from tests.service.conftest import ARTIFACTS

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]

WHOLE_DATA_SET = Path("/usr/share/datasets/fashion-mnist")
ACCURACY_ON_THE_SLICE = 0.954
MAX_ARTIFACT_BYTES = 10_000_000


def accuracy(classifier: Classifier, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
    batches = zip(np.split(images, 10), np.split(labels, 10), strict=True)
    tensors = ((classifier.to_images(list(x)), y) for x, y in batches)
    correct = [classifier.assess(x).probabilities.argmax(axis=1) == y for x, y in tensors]
    return float(np.mean(correct))


def test_accuracy_on_the_committed_slice_is_unchanged(
    classifier: Classifier, test_slice: Slice
) -> None:
    assert accuracy(classifier, *test_slice) == pytest.approx(ACCURACY_ON_THE_SLICE, abs=0.002)


@pytest.mark.parametrize("version", Directory(ARTIFACTS).versions())
@pytest.mark.skipif(
    not WHOLE_DATA_SET.is_dir() and "CI" not in os.environ,
    reason="the Debian package dataset-fashion-mnist is not installed",
)
def test_accuracy_on_the_whole_test_set_equals_the_manifest(
    version: int, engine_choice: EngineChoice
) -> None:
    artifact = verify(ARTIFACTS / str(version))
    classifier = Classifier(artifact, load_engine(artifact, engine_choice))
    images = gzip.decompress((WHOLE_DATA_SET / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((WHOLE_DATA_SET / "t10k-labels-idx1-ubyte.gz").read_bytes())
    measured = accuracy(
        classifier,
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(labels, np.uint8, offset=8),
    )
    assert measured == pytest.approx(artifact.manifest.scores["test"]["accuracy"], abs=0.001)


def test_one_version_is_shipped_and_its_scores_reach_the_minimum(
    artifact: Artifact,
) -> None:
    assert Directory(ARTIFACTS).versions() == [artifact.manifest.version]
    scores = artifact.manifest.scores
    assert scores["test"]["accuracy"] > 0.935
    assert scores["photographs"]["macro_average"] > 0.7


def test_shipped_artifacts_are_below_the_size_limit() -> None:
    files = [path for path in ARTIFACTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_ARTIFACT_BYTES
