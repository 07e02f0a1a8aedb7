from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.conftest import IDX_FOLDER
from training.batches import ViewBatches, one_hot
from training.data import Labelled, load_fashion_mnist
from training.recipe import Augmentation, Fit
from training.views import ArrayFiles, make_views

CHANGES = Augmentation(shift=2)


@pytest.fixture(scope="module")
def training() -> Labelled:
    return load_fashion_mnist(IDX_FOLDER, allow_other_data=True).split(Fit())[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, training: Labelled) -> Path:
    folder = tmp_path_factory.mktemp("views")
    make_views(ArrayFiles(folder, range(3)), training, CHANGES, seed=1)
    return folder


def test_every_view_has_every_image_in_its_place_and_changed(
    folder: Path, training: Labelled
) -> None:
    views = ArrayFiles(folder, range(3))
    assert views.missing == []
    originals = np.rint(training.images[..., 0] * 255).astype(np.uint8)
    for number in range(3):
        view = views.read(number)
        assert (view.shape, view.dtype) == (originals.shape, np.uint8)
        shifted = [np.roll(originals, (y, x), (1, 2)) for y in range(-2, 3) for x in range(-2, 3)]
        # What is shifted out at one side does not come in at the other: the middle is compared.
        same = [(view == other)[:, 2:-2, 2:-2].all(axis=(1, 2)) for other in shifted]
        assert np.any(same, axis=0).all()
        assert (view == originals).all(axis=(1, 2)).mean() < 0.2
    assert not np.array_equal(views.read(0), views.read(1))


def test_only_views_that_are_missing_are_made_and_come_out_the_same(
    folder: Path, tmp_path: Path, training: Labelled
) -> None:
    views = ArrayFiles(tmp_path, range(3))
    kept = np.zeros(training.images.shape[:3], np.uint8)
    views.write(0, kept)
    views.write(2, kept)
    assert views.missing == [1]
    make_views(views, training, CHANGES, seed=1)
    np.testing.assert_array_equal(views.read(1), ArrayFiles(folder, range(3)).read(1))
    np.testing.assert_array_equal(views.read(0), kept)


def test_the_epochs_take_turns_with_the_views_in_an_order_of_their_own(
    folder: Path, training: Labelled
) -> None:
    views, labels = ArrayFiles(folder, range(3)), one_hot(training.labels)

    def lesson(epoch: int) -> tuple[Any, Any]:
        return views.read(epoch % 3), labels * (epoch % 3 + 1)

    batches = ViewBatches(len(labels), lesson, Fit(batch_size=32))

    def epoch(number: int) -> list[tuple[bytes, bytes]]:
        batches.shuffle(number)
        pairs = [pair for images, targets in batches for pair in zip(images, targets, strict=True)]
        return [(image.tobytes(), target.tobytes()) for image, target in pairs]

    def view(number: int) -> list[tuple[bytes, bytes]]:
        images: Any = views.read(number).astype(np.float32) / 255
        targets = labels * (number + 1)
        return [(image.tobytes(), t.tobytes()) for image, t in zip(images, targets, strict=True)]

    for number in range(4):
        assert sorted(epoch(number)) == sorted(view(number % 3))
    assert epoch(0) != epoch(3)
    assert epoch(1) == epoch(1)
