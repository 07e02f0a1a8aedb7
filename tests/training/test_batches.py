import numpy as np

from training.batches import LabelledBatches, one_hot
from training.data import Labelled
from training.recipe import Augmentation, Fit, Recipe


def test_the_order_of_an_epoch_depends_on_the_seed_and_the_epoch_alone() -> None:
    labels = np.arange(10, dtype=np.uint8)
    training = Labelled(labels.astype(np.float32).reshape(-1, 1, 1, 1), labels)

    def order(epoch: int, seed: int = 1) -> list[int]:
        batches = LabelledBatches(training, Recipe(fit=Fit(batch_size=4, seed=seed)))
        batches.shuffle(epoch)
        assert len(batches) == 3
        for images, targets in batches:
            np.testing.assert_array_equal(images.ravel(), targets.argmax(axis=1))
        return [int(label) for _, targets in batches for label in targets.argmax(axis=1)]

    assert sorted(order(3)) == list(range(10))
    assert order(3) == order(3)
    assert order(3) != order(4)
    assert order(3) != order(3, seed=2)


def test_images_are_augmented_anew_in_each_epoch_and_the_same_way_again() -> None:
    images = np.random.default_rng(0).random((10, 28, 28, 1), np.float32)
    training = Labelled(images, np.arange(10, dtype=np.uint8))
    recipe = Recipe(fit=Fit(batch_size=10), augmentation=Augmentation(shift=3))
    batches = LabelledBatches(training, recipe)

    def epoch(number: int) -> bytes:
        batches.shuffle(number)
        shifted, targets = batches[0]
        order = targets.argmax(axis=1)
        assert (shifted != images[order]).any()
        return shifted[np.argsort(order)].tobytes()

    assert epoch(3) == epoch(3)
    assert epoch(3) != epoch(4)


def test_a_label_becomes_the_probability_one_of_its_class() -> None:
    targets = one_hot(np.array([3, 0], np.uint8))
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(np.argwhere(targets == 1), [[0, 3], [1, 0]])
    np.testing.assert_array_equal(targets.sum(axis=1), 1)
