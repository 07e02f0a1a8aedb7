import keras
import numpy as np
import pytest
import tensorflow as tf

from training.batches import ERASED_AREA, TrainingBatches, augment, predict
from training.photographs import Photographs
from training.recipe import Augmentation, Fit, Recipe
from training.recipe import Photographs as PhotographSettings

IMAGES = np.linspace(0.1, 0.9, 10, dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((28, 28, 1))
TRAINING = IMAGES.astype(np.float32)
TARGETS = np.eye(10, dtype=np.float32)
EVERY_AUGMENTATION = Augmentation(
    flip=True, shift=2, rotate=20, zoom=0.2, brightness=0.2, erase=0.5
)


def photographs(labels: list[str]) -> Photographs:
    return Photographs(
        pixels=np.full((len(labels), 28, 28), 200, np.uint8),
        label=np.array(labels),
    )


def test_epoch_has_every_image_once_in_an_order_set_by_seed_and_epoch() -> None:
    def order(epoch: int, seed: int = 1) -> list[int]:
        recipe = Recipe(fit=Fit(batch_size=4, seed=seed))
        batches = TrainingBatches(TRAINING, TARGETS, recipe)
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


def test_augmentation_of_a_batch_does_not_depend_on_earlier_batches() -> None:
    recipe = Recipe(
        fit=Fit(batch_size=4),
        augmentation=EVERY_AUGMENTATION,
        photographs=PhotographSettings(share=0.5, augmentation=EVERY_AUGMENTATION),
    )
    batches, again = (
        TrainingBatches(TRAINING, TARGETS, recipe, photographs(["Dress"] * 3)) for _ in range(2)
    )
    first, second = batches[0][0].copy(), batches[1][0].copy()
    np.testing.assert_array_equal(again[1][0], second)
    batches.begin_epoch(1)
    assert not np.array_equal(batches[0][0], first)
    batches.begin_epoch(0)
    np.testing.assert_array_equal(batches[0][0], first)


def test_photographs_have_the_configured_share_of_batch_and_loss() -> None:
    recipe = Recipe(
        fit=Fit(batch_size=8),
        photographs=PhotographSettings(share=0.25, weight=0.4, without_class=1),
    )
    given = photographs(["Shoes", "Polo", "Pants", "Hat"])
    batches = TrainingBatches(TRAINING, TARGETS, recipe, given)
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


def test_every_augmentation_keeps_pixels_in_range_and_the_background_black() -> None:
    generator = np.random.default_rng(0)
    images = np.zeros((16, 28, 28, 1), np.float32)
    images[:, 8:20, 6:18] = generator.random((16, 12, 12, 1))
    for name in type(EVERY_AUGMENTATION).model_fields:
        settings = Augmentation(**{name: getattr(EVERY_AUGMENTATION, name)})
        changed = augment(images, settings, np.random.default_rng(1))
        assert changed.dtype == np.float32
        assert changed.min() >= 0, name
        assert changed.max() <= 1, name
        assert not np.array_equal(changed, images), name
        if name != "erase":
            assert (changed == 0).mean() > 0.5, name
    np.testing.assert_array_equal(augment(images, Augmentation(), generator), images)


def test_flips_and_shifts_move_pixels_without_changing_values() -> None:
    generator = np.random.default_rng(0)
    images = np.zeros((64, 28, 28, 1), np.float32)
    images[:, 4:24, 4:24] = generator.random((64, 20, 20, 1), np.float32)
    flipped = augment(images, Augmentation(flip=True), generator)
    shifted = augment(images, Augmentation(shift=2), generator)
    moves = set()
    for image, mirrored, moved in zip(images, flipped, shifted, strict=True):
        assert any(np.array_equal(mirrored, known) for known in (image, image[:, ::-1]))
        y, x = np.argwhere(moved)[0][:2] - np.argwhere(image)[0][:2]
        np.testing.assert_array_equal(moved, np.roll(image, (y, x), (0, 1)))
        moves |= {y, x}
    assert moves == {-2, -1, 0, 1, 2}
    assert 16 < sum(map(np.array_equal, flipped, images)) < 48


def test_rotation_and_zoom_are_centred_and_within_their_bounds() -> None:
    side = np.arange(28) - 13.5
    distance = np.hypot(*np.meshgrid(side, side))[..., None]
    disc = np.clip(8.5 - distance, 0, 1).astype(np.float32)
    disc = np.repeat(disc[None], 200, axis=0)
    generator = np.random.default_rng(0)
    turned = augment(disc, Augmentation(rotate=180), generator)
    np.testing.assert_allclose(turned, disc, atol=0.3)
    half = disc * (side > 0)[:, None]
    angles = []
    for image in augment(half, Augmentation(rotate=20), generator)[..., 0]:
        y, x = (image.sum(axis=1) @ side, image.sum(axis=0) @ side)
        angles.append(np.degrees(np.arctan2(y, x)))
    assert min(angles) == pytest.approx(-20, abs=1)
    assert max(angles) == pytest.approx(20, abs=1)
    areas = augment(disc, Augmentation(zoom=0.2), generator).sum(axis=(1, 2, 3)) / disc[0].sum()
    assert 1 / 1.2**2 * 0.98 < areas.min() < 0.8
    assert 1.25 < areas.max() < 1 / 0.8**2 * 1.02


def test_erase_changes_a_bounded_area_in_its_share_of_the_images() -> None:
    images = np.ones((1000, 28, 28, 1), np.float32)
    changed = augment(images, Augmentation(erase=0.3), np.random.default_rng(0)) != 1
    area = changed.mean(axis=(1, 2, 3))
    assert (area > 0).mean() == pytest.approx(0.3, abs=0.04)
    assert ERASED_AREA[0] * 0.7 < area[area > 0].min()
    assert area.max() < ERASED_AREA[1] * 1.15


def test_prediction_writes_nothing_to_stderr_with_deterministic_ops(
    capfd: pytest.CaptureFixture[str],
) -> None:
    tf.config.experimental.enable_op_determinism()  # as `fit` does
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    images = np.random.default_rng(0).random((600, 8, 8, 1), np.float32)
    assert np.array_equal(predict(model, images), images.reshape(600, 64))
    assert capfd.readouterr().err == ""
