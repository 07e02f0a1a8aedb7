import numpy as np

from training.batches import ShuffledBatches
from training.recipe import Augmentation, Fit, Recipe


def test_the_order_of_an_epoch_depends_on_the_seed_and_the_epoch_alone() -> None:
    images = np.arange(10, dtype=np.float32).reshape(-1, 1, 1, 1)
    labels = np.arange(10, dtype=np.uint8)

    def order(epoch: int, seed: int = 1) -> list[int]:
        batches = ShuffledBatches(images, labels, Recipe(fit=Fit(batch_size=4, seed=seed)))
        batches.shuffle(epoch)
        assert len(batches) == 3
        for some_images, some_labels in batches:
            np.testing.assert_array_equal(some_images.ravel(), some_labels)
        return [int(label) for _, some_labels in batches for label in some_labels]

    assert sorted(order(3)) == list(range(10))
    assert order(3) == order(3)
    assert order(3) != order(4)
    assert order(3) != order(3, seed=2)


def test_images_are_augmented_anew_in_each_epoch_and_the_same_way_again() -> None:
    images = np.random.default_rng(0).random((10, 28, 28, 1), np.float32)
    labels = np.arange(10, dtype=np.uint8)
    recipe = Recipe(fit=Fit(batch_size=10), augmentation=Augmentation(shift=3))
    batches = ShuffledBatches(images, labels, recipe)

    def epoch(number: int) -> bytes:
        batches.shuffle(number)
        shifted, order = batches[0]
        assert (shifted != images[order]).any()
        return shifted[np.argsort(order)].tobytes()

    assert epoch(3) == epoch(3)
    assert epoch(3) != epoch(4)
