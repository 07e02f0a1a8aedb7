"""Augmented images keep their class, their form, and depend on nothing but seed and place."""

import numpy as np
import numpy.typing as npt
import pytest

from tests.training.conftest import IDX_FOLDER
from training.augmentation import augment, photo_like
from training.data import Labelled, load_fashion_mnist
from training.fields import field_bank
from training.recipe import Augmentation, Fit

EVERYTHING = Augmentation(flip=True, shift=2, erase=0.5, photo_share=0.5)


@pytest.fixture(scope="module")
def training() -> Labelled:
    data = load_fashion_mnist(IDX_FOLDER, allow_other_data=True)
    return Labelled(*data.split(Fit(validation_fraction=0.5, split_seed=0))[0])


def test_the_form_stays_that_of_the_network_s_input(training: Labelled) -> None:
    images = augment(*training, EVERYTHING, 1, (0, 0))
    assert images.shape == training.images.shape
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_seed_and_place_decide_every_draw(training: Labelled) -> None:
    first = augment(*training, EVERYTHING, 1, (3, 7))
    np.testing.assert_array_equal(first, augment(*training, EVERYTHING, 1, (3, 7)))
    for seed, place in ((2, (3, 7)), (1, (4, 7)), (1, (3, 8))):
        assert (first != augment(*training, EVERYTHING, seed, place)).any()


def test_half_of_the_images_are_flipped(training: Labelled) -> None:
    images = augment(*training, Augmentation(flip=True), 1, (0, 0))
    same = (images == training.images).all(axis=(1, 2, 3))
    mirrored = (images == training.images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same | mirrored).all()
    assert 0.3 < mirrored.mean() < 0.7


def test_a_shift_moves_whole_images_and_lets_black_in(training: Labelled) -> None:
    images = augment(*training, Augmentation(shift=2), 1, (0, 0))
    moves = set()
    for image, original in zip(images[..., 0], training.images[..., 0], strict=True):
        padded = np.pad(original, 2)
        found = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if np.array_equal(padded[y : y + 28, x : x + 28], image)
        ]
        assert found
        moves.add(found[0])
    assert len(moves) > 15


def test_a_share_of_the_images_loses_a_rectangle(training: Labelled) -> None:
    images = augment(*training, Augmentation(erase=0.5), 1, (0, 0))
    differs: npt.NDArray[np.bool_] = (images != training.images)[..., 0]
    touched = differs.any(axis=(1, 2))
    assert 0.35 < touched.mean() < 0.65
    for difference in differs[touched]:
        rows, columns = np.nonzero(difference)
        box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert box <= 0.25 * 28 * 28
        assert difference.sum() > 0.9 * box


def test_the_photo_share_is_changed_otherwise_than_the_rest(training: Labelled) -> None:
    images = augment(*training, Augmentation(photo_share=0.25), 1, (0, 0))
    differs = (images != training.images).any(axis=(1, 2, 3))
    photos = round(0.25 * len(images))
    assert differs[:photos].mean() > 0.95
    assert not differs[photos:].any()


def test_a_photo_like_picture_still_looks_like_its_class(training: Labelled) -> None:
    """A nearest-mean classifier of the plain pictures is right far more often than by chance."""
    pictures, labels = training.images[..., 0], training.labels
    means = np.stack([pictures[labels == label].mean(axis=0) for label in range(10)])
    looks = photo_like(pictures, labels, field_bank(1), np.random.default_rng(0))
    distances = ((looks[:, None] - means[None]) ** 2).sum(axis=(2, 3))
    assert (distances.argmin(axis=1) == labels).mean() > 0.25


def test_a_photo_like_picture_fills_the_frame_as_the_preparation_makes_it(
    training: Labelled,
) -> None:
    looks = photo_like(
        training.images[..., 0], training.labels, field_bank(1), np.random.default_rng(0)
    )
    light = looks > 0.05
    rows = light.any(axis=2).sum(axis=1)
    columns = light.any(axis=1).sum(axis=1)
    assert np.median(np.maximum(rows, columns)) >= 26


def test_no_pictures_are_augmented_to_no_pictures() -> None:
    none = np.zeros((0, 28, 28), np.float32)
    labels = np.zeros(0, np.uint8)
    assert len(photo_like(none, labels, field_bank(1), np.random.default_rng(0))) == 0
