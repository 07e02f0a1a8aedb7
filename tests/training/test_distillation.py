from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.data import to_inputs
from training.distillation import answer_views, deal_folds, read_answers, soften
from training.views import ArrayFiles


class Teacher:
    """Answers with the brightness of ten columns, and remembers what it was asked about."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def predict_on_batch(self, images: Any) -> Any:
        self.asked += [image.tobytes() for image in images]
        brightness = 1e-9 + images[:, :, 3:13, 0].sum(axis=1)
        return brightness / brightness.sum(axis=1, keepdims=True)


@pytest.fixture
def views(tmp_path: Path) -> ArrayFiles:
    views = ArrayFiles(tmp_path / "views", range(3))
    generator = np.random.default_rng(0)
    for number in range(3):
        views.write(number, generator.integers(256, size=(50, 28, 28), dtype=np.uint8))
    return views


def probabilities(answers: ArrayFiles, number: int) -> Any:
    return np.exp(answers.read(number).astype(np.float32))


def test_each_image_is_in_one_fold_and_the_folds_are_of_equal_size() -> None:
    folds = deal_folds(53, 5, seed=1)
    assert sorted(np.bincount(folds)) == [10, 10, 11, 11, 11]
    np.testing.assert_array_equal(folds, deal_folds(53, 5, seed=1))
    assert not np.array_equal(folds, deal_folds(53, 5, seed=2))


def test_every_deal_is_another_one_and_the_spare_images_are_dealt_apart() -> None:
    folds = deal_folds(53, 5, seed=1)
    np.testing.assert_array_equal(folds, deal_folds(53, 5, seed=1, deal=0))
    assert not np.array_equal(folds, deal_folds(53, 5, seed=1, deal=1))
    with_spare = deal_folds(60, 5, seed=1, spare=7)
    np.testing.assert_array_equal(with_spare[7:], folds)
    assert sorted(np.bincount(with_spare[:7])) == [1, 1, 1, 2, 2]


def test_a_teacher_is_asked_about_the_images_of_its_fold_alone(
    views: ArrayFiles, tmp_path: Path
) -> None:
    answers, asked = ArrayFiles(tmp_path / "answers", range(3)), np.array([3, 20, 21, 49])
    teacher = Teacher()
    answer_views(answers, views, teacher, asked, mirrored=False)
    assert answers.missing == []
    shown = [to_inputs(views.read(number)[asked]) for number in range(3)]
    assert teacher.asked == [image.tobytes() for view in shown for image in view]
    for number, view in enumerate(shown):
        expected = Teacher().predict_on_batch(view)
        np.testing.assert_allclose(probabilities(answers, number), expected, atol=1e-3)


def test_the_answers_to_all_folds_come_in_the_order_of_the_images(
    views: ArrayFiles, tmp_path: Path
) -> None:
    folds = deal_folds(50, 2, seed=0)
    answered = []
    for fold in range(2):
        answers, asked = ArrayFiles(tmp_path / str(fold), range(3)), np.flatnonzero(folds == fold)
        answer_views(answers, views, Teacher(), asked, mirrored=False)
        answered.append((answers, asked))
    expected = Teacher().predict_on_batch(to_inputs(views.read(2)))
    read = np.exp(read_answers(2, answered).astype(np.float32))
    np.testing.assert_allclose(read, expected, atol=1e-3)


def test_what_is_said_of_an_image_and_of_its_mirror_image_is_averaged(
    views: ArrayFiles, tmp_path: Path
) -> None:
    answers = ArrayFiles(tmp_path / "answers", range(1))
    answer_views(answers, views, Teacher(), np.arange(50), mirrored=True)
    images = to_inputs(views.read(0))
    both = [Teacher().predict_on_batch(shown) for shown in (images, images[:, :, ::-1])]
    np.testing.assert_allclose(probabilities(answers, 0), np.mean(both, axis=0), atol=1e-3)


def test_only_views_that_are_not_answered_are_asked_about(
    views: ArrayFiles, tmp_path: Path
) -> None:
    answers, asked = ArrayFiles(tmp_path / "answers", range(3)), np.arange(50)
    answer_views(answers, views, Teacher(), asked, mirrored=False)
    before = answers.read(1)
    (tmp_path / "answers" / "001.npy").unlink()
    assert answers.missing == [1]
    teacher = Teacher()
    answer_views(answers, views, teacher, asked, mirrored=False)
    assert len(teacher.asked) == 50
    np.testing.assert_array_equal(answers.read(1), before)


def test_the_temperature_softens_the_answers() -> None:
    logits = np.log(np.array([[0.8] + [0.2 / 9] * 9], np.float32)).astype(np.float16)
    np.testing.assert_allclose(soften(logits, 1.0)[0, 0], 0.8, atol=1e-3)
    # sqrt(0.8) : 9 sqrt(0.2 / 9)
    np.testing.assert_allclose(soften(logits, 2.0)[0, 0], 0.4, atol=1e-3)
    np.testing.assert_allclose(soften(logits, 2.0).sum(), 1, atol=1e-6)
