"""Occlusion heat maps, for networks of any input size."""

from typing import Any

import numpy as np
import pytest

from service.arrays import Assessment, Tensor
from service.capacity.admission import Admission
from service.model.artifact import Artifact
from service.model.classifier import Classifier
from service.model.occlusion import explain_each
from service.telemetry.record import RequestRecord


class CornerEngine:
    """An engine whose first probability is the mean of the upper left quarter."""

    name, precision = "corner", "float32"

    def assess(self, images: Tensor, workers: Any = None) -> Assessment:
        height, width = images.shape[1:3]
        first = images[:, : height // 2, : width // 2].mean((1, 2))
        return Assessment(np.hstack([first, 1 - first]), None)


@pytest.mark.parametrize("shape", [(4, 4), (28, 28), (20, 96), (224, 224)])
def test_heat_is_highest_on_the_part_that_determines_the_class(
    artifact: Artifact, shape: tuple[int, int]
) -> None:
    engine: Any = CornerEngine()
    classifier = Classifier(artifact, engine)
    admission = Admission(max_images=400, max_bytes=1)
    image = np.full((1, *shape, 1), 0.7, np.float32)
    with admission.admit(RequestRecord("test")) as permit:
        [explanation] = explain_each(image, classifier, permit, 0)
        assert admission.images < 300
    heat, (height, width) = explanation["heat"], shape
    assert heat.shape == shape
    assert heat[: height // 2, : width // 2].mean() > 4 * abs(heat[height // 2 :].mean())
    assert explanation["probability"] == pytest.approx(0.7)
