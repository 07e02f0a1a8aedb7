from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.conftest import IDX_FOLDER
from training.data import Labelled, load_fashion_mnist, to_inputs
from training.distillation import TaughtBatches, View, Views, answer_views
from training.recipe import Augmentation, Distillation, Fit, TeacherRecipe

RECIPE = TeacherRecipe(width=1, fit=Fit(epochs=5), augmentation=Augmentation(shift=2))


class Teacher:
    """Answers with the brightness of ten columns, and counts the images it is asked about."""

    def __init__(self) -> None:
        self.asked = 0

    def predict_on_batch(self, images: Any) -> Any:
        self.asked += len(images)
        brightness = 1e-9 + images[:, :, 9:19, 0].sum(axis=1)
        return brightness / brightness.sum(axis=1, keepdims=True)


@pytest.fixture
def training() -> Labelled:
    return load_fashion_mnist(IDX_FOLDER, allow_other_data=True).split(Fit())[0]


@pytest.fixture
def views(tmp_path: Path, training: Labelled) -> Views:
    views = Views(tmp_path, count=3)
    answer_views(views, Teacher(), training, RECIPE)
    return views


def test_every_view_has_every_image_changed_and_the_answer_to_it(
    views: Views, training: Labelled
) -> None:
    assert views.missing == []
    for number in range(3):
        view = views.read(number)
        assert view.images.shape == (len(training.labels), 28, 28)
        answers = Teacher().predict_on_batch(to_inputs(view.images))
        np.testing.assert_allclose(np.exp(view.logits.astype(np.float32)), answers, atol=5e-3)
    first, second = views.read(0), views.read(1)
    assert not np.array_equal(first.images, second.images)
    originals = {image.tobytes() for image in np.rint(training.images * 255).astype(np.uint8)}
    assert sum(image.tobytes() in originals for image in first.images) < len(first.images) / 4


def test_only_views_that_are_missing_are_asked_about_and_come_out_the_same(
    views: Views, training: Labelled, tmp_path: Path
) -> None:
    before = views.read(1)
    (tmp_path / "views" / "001.npz").unlink()
    assert views.missing == [1]
    teacher = Teacher()
    answer_views(views, teacher, training, RECIPE)
    assert teacher.asked == len(training.labels)
    for mine, theirs in zip(views.read(1), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_epochs_take_turns_with_the_views_in_an_order_of_their_own(views: Views) -> None:
    batches = TaughtBatches([views], Distillation(), Fit(batch_size=64))
    epoch = images_of(batches)
    assert sorted(epoch(0)) == sorted(epoch(3))
    assert epoch(0) != epoch(3)
    assert sorted(epoch(0)) != sorted(epoch(1))
    assert epoch(1) == epoch(1)


def test_the_epochs_take_turns_with_the_teachers(
    views: Views, training: Labelled, tmp_path: Path
) -> None:
    others = Views(tmp_path / "other", count=3)
    other = RECIPE.model_copy(update={"fit": RECIPE.fit.model_copy(update={"seed": 43})})
    answer_views(others, Teacher(), training, other)
    both = images_of(TaughtBatches([views, others], Distillation(), Fit(batch_size=64)))
    each = [images_of(TaughtBatches([one], Distillation(), Fit())) for one in (views, others)]
    for number in range(8):
        assert sorted(both(number)) == sorted(each[number % 2](number // 2))


def images_of(batches: TaughtBatches) -> Callable[[int], list[bytes]]:
    def images_of_epoch(number: int) -> list[bytes]:
        batches.shuffle(number)
        return [image.tobytes() for images, _ in batches for image in images]

    return images_of_epoch


def test_of_every_second_view_the_mirror_image_is_asked_about(
    training: Labelled, tmp_path: Path
) -> None:
    views = Views(tmp_path, count=2)
    flipped = RECIPE.model_copy(update={"augmentation": Augmentation(flip=True)})
    answer_views(views, Teacher(), training, flipped)
    for number in range(2):
        view = views.read(number)
        shown = view.images[:, :, ::-1] if number else view.images
        answers = Teacher().predict_on_batch(to_inputs(shown))
        np.testing.assert_allclose(np.exp(view.logits.astype(np.float32)), answers, atol=5e-3)


def test_the_temperature_softens_the_answers(tmp_path: Path) -> None:
    views = Views(tmp_path, count=1)
    logits = np.log(np.array([[0.8] + [0.2 / 9] * 9], np.float32)).astype(np.float16)
    views.write(0, View(np.zeros((1, 28, 28), np.uint8), logits))

    def answer(temperature: float) -> Any:
        return TaughtBatches([views], Distillation(temperature=temperature), Fit())[0][1][0]

    np.testing.assert_allclose(answer(1.0)[0], 0.8, atol=1e-3)
    # sqrt(0.8) : 9 sqrt(0.2 / 9)
    np.testing.assert_allclose(answer(2.0)[0], 0.4, atol=1e-3)
    np.testing.assert_allclose(answer(2.0).sum(), 1, atol=1e-6)
