import numpy as np
import pytest

from training.batches import Augmenter, TrainingBatches, one_hot
from training.data import Labelled
from training.photographs import Photographs
from training.recipe import Augmentation, Fit, Recipe
from training.recipe import Photographs as PhotographSettings

IMAGES = np.linspace(0.1, 0.9, 10, dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((28, 28, 1))
TRAINING = Labelled(IMAGES.astype(np.float32), np.arange(10, dtype=np.uint8))
EVERY_CHANGE = Augmentation(flip=True, shift=2, rotate=20, zoom=0.2, brightness=0.2, erase=0.5)


def photographs(labels: list[str]) -> Photographs:
    return Photographs(
        pixels=np.full((len(labels), 28, 28), 200, np.uint8),
        label=np.array(labels),
        sender=np.arange(len(labels), dtype=np.int32),
        split=np.array(["train"] * len(labels)),
    )


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own() -> None:
    def order(epoch: int, seed: int = 1) -> list[int]:
        recipe = Recipe(fit=Fit(batch_size=4, seed=seed))
        batches = TrainingBatches(TRAINING, one_hot(TRAINING.labels, 10), recipe)
        batches.begin_epoch(epoch)
        assert len(batches) == 3
        found = []
        for images, targets, weights in (batches[index] for index in range(3)):
            np.testing.assert_array_equal(images, IMAGES[targets.argmax(axis=1)].astype("f"))
            np.testing.assert_array_equal(weights, 1)
            found += targets.argmax(axis=1).tolist()
        return found

    assert sorted(order(3)) == list(range(10))
    assert order(3) == order(3)
    assert order(3) != order(4)
    assert order(3) != order(3, seed=2)


def test_the_changes_of_a_batch_depend_on_seed_epoch_and_number_and_on_nothing_before() -> None:
    recipe = Recipe(
        fit=Fit(batch_size=4),
        augmentation=EVERY_CHANGE,
        photographs=PhotographSettings(share=0.5, augmentation=EVERY_CHANGE),
    )
    batches, again = (
        TrainingBatches(TRAINING, one_hot(TRAINING.labels, 10), recipe, photographs(["Dress"] * 3))
        for _ in range(2)
    )
    first, second = batches[0][0].copy(), batches[1][0].copy()
    np.testing.assert_array_equal(again[1][0], second)
    batches.begin_epoch(1)
    assert not np.array_equal(batches[0][0], first)
    batches.begin_epoch(0)
    np.testing.assert_array_equal(batches[0][0], first)


def test_photographs_have_their_share_of_a_batch_and_of_the_loss() -> None:
    recipe = Recipe(
        fit=Fit(batch_size=8),
        photographs=PhotographSettings(share=0.25, weight=0.4, without_class=1),
    )
    given = photographs(["Shoes", "Polo", "Pants", "Hat"])
    batches = TrainingBatches(TRAINING, one_hot(TRAINING.labels, 10), recipe, given)
    assert len(batches) == 2
    seen = set()
    for epoch in range(20):
        batches.begin_epoch(epoch)
        images, targets, weights = batches[0]
        assert images.shape == (8, 28, 28, 1)
        assert weights.sum() == pytest.approx(8)
        assert weights[6:].sum() / weights.sum() == pytest.approx(0.4)
        np.testing.assert_allclose(images[6:], 200 / 255, rtol=1e-6)
        seen |= {tuple(np.flatnonzero(row)) for row in targets[6:]}
    assert seen == {(5, 7, 9), (0, 6), (1,), tuple(range(10))}


def test_every_change_keeps_pixels_in_range_and_black_black() -> None:
    generator = np.random.default_rng(0)
    images = np.zeros((16, 28, 28, 1), np.float32)
    images[:, 8:20, 6:18] = generator.random((16, 12, 12, 1))
    for name in type(EVERY_CHANGE).model_fields:
        change = Augmenter(Augmentation(**{name: getattr(EVERY_CHANGE, name)}))
        changed = change(images, np.random.default_rng(1))
        assert changed.dtype == np.float32
        assert changed.min() >= 0, name
        assert changed.max() <= 1, name
        assert not np.array_equal(changed, images), name
        if name != "erase":
            assert (changed == 0).mean() > 0.5, name
    np.testing.assert_array_equal(Augmenter(Augmentation())(images, generator), images)


def test_a_label_becomes_the_probability_one_of_its_class() -> None:
    targets = one_hot(np.array([3, 0], np.uint8), 10)
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(np.argwhere(targets == 1), [[0, 3], [1, 0]])
    np.testing.assert_array_equal(targets.sum(axis=1), 1)
