import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.training.conftest import IDX_FOLDER, UNCOMPILED_WARNING, take_small_steps
from training import teaching
from training.batches import one_hot
from training.calibration import find_temperature
from training.data import FashionMnist, load_fashion_mnist, to_inputs
from training.distillation import deal_folds, soften
from training.fit import taught_batches
from training.recipe import Augmentation, Distillation, Fit, Recipe, Teacher
from training.teacher import build_teacher
from training.teaching import Teaching
from training.views import ArrayFiles

pytestmark = [
    pytest.mark.usefixtures("small_teachers"),
    pytest.mark.filterwarnings(UNCOMPILED_WARNING),
]

FIT = Fit(epochs=2, batch_size=64, learning_rate=0.01, keep="last", calibrate=True)
DISTILLATION = Distillation(folds=2, views=3, label_share=0.25, teacher=Teacher(width=1, fit=FIT))
RECIPE = Recipe(augmentation=Augmentation(flip=True), distillation=DISTILLATION)


@pytest.fixture(scope="module")
def data() -> FashionMnist:
    return load_fashion_mnist(IDX_FOLDER, allow_other_data=True)


def read_epoch(batches: Any) -> dict[bytes, Any]:
    """Return the targets of an epoch by the bytes of their images."""
    pairs = [pair for images, targets in batches for pair in zip(images, targets, strict=True)]
    return {image.tobytes(): target for image, target in pairs}


class Taught(NamedTuple):
    """What became of `RECIPE`."""

    folder: Path
    lessons: list[dict[bytes, Any]]
    """What each teacher learnt in its first epoch."""
    learnt: dict[bytes, Any]
    """What the network learns in its first epoch."""


@pytest.fixture(scope="module")
def taught(
    data: FashionMnist, tmp_path_factory: pytest.TempPathFactory, small_teachers: None
) -> Taught:
    folder, lessons = tmp_path_factory.mktemp("taught"), []
    train = teaching.train  # type: ignore[attr-defined]

    def train_and_remember(model: Any, batches: Any, *others: Any) -> None:
        lessons.append(read_epoch(batches))
        train(model, batches, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teaching, "train", train_and_remember)
        batches = taught_batches(folder, RECIPE, DISTILLATION, data)
    return Taught(folder, lessons, read_epoch(batches))


def test_teachers_learn_other_folds_and_the_network_their_answers_and_the_label(
    data: FashionMnist, taught: Taught
) -> None:
    labels = one_hot(data.split(RECIPE.fit)[0].labels)
    folds = deal_folds(len(labels), 2, seed=42)
    view = to_inputs(ArrayFiles(taught.folder / "views", range(3)).read(0))
    logits = np.empty((len(labels), 10), np.float16)
    assert len(taught.lessons) == 2
    for fold, learnt in enumerate(taught.lessons):
        others = folds != fold
        assert learnt.keys() == {image.tobytes() for image in view[others]}
        for image, label in zip(view[others], labels[others], strict=True):
            np.testing.assert_array_equal(learnt[image.tobytes()], label)
        logits[~others] = ArrayFiles(taught.folder / str(fold) / "answers", range(3)).read(0)

    for image, answer, label in zip(view, soften(logits, temperature=1.0), labels, strict=True):
        expected = 0.75 * answer + 0.25 * label
        np.testing.assert_allclose(taught.learnt[image.tobytes()], expected, rtol=1e-5)


def test_a_teacher_answers_as_sure_as_the_validation_images_allow(
    data: FashionMnist, taught: Taught
) -> None:
    [first, _] = [Teaching(taught.folder, teacher, RECIPE.fit) for teacher in RECIPE.teachers]
    _, validation = data.split(RECIPE.fit)
    teacher = build_teacher(width=1)
    teacher.load_weights(first.run.checkpoint)
    temperature = find_temperature(teacher.predict(validation.images), validation.labels)
    assert abs(temperature - 1) > 0.01, "the temperature must change something"

    asked = first.asked(data)
    view = to_inputs(first.views.read(1)[asked])
    both = [teacher.predict(shown) for shown in (view, view[:, :, ::-1])]
    expected = np.mean([soften(np.log(each), temperature) for each in both], axis=0)
    answered = np.exp(first.answers.read(1).astype(np.float32))
    np.testing.assert_allclose(answered, expected, atol=2e-3)


def test_teachers_trained_side_by_side_are_those_trained_one_after_the_other(
    data: FashionMnist,
    taught: Taught,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # Their processes begin with it.
    monkeypatch.setattr(teaching, "make_deterministic", take_small_steps)
    shutil.copytree(taught.folder / "views", tmp_path / "views")
    taught_batches(tmp_path, RECIPE, DISTILLATION, data, teachers_at_once=2)
    assert "Teacher 1: epoch 1 of 2: accuracy" in capfd.readouterr().out
    apart = sorted(path.relative_to(taught.folder) for path in taught.folder.rglob("*.npy"))
    assert len(apart) == 9
    for path in apart:
        assert (taught.folder / path).read_bytes() == (tmp_path / path).read_bytes(), path


def test_the_teachers_are_validated_with_what_the_network_is_validated_with() -> None:
    fit = Fit(validation_fraction=0.3, split_seed=7, stratify=True)
    for teacher in RECIPE.model_copy(update={"fit": fit}).teachers:
        split = (teacher.fit.validation_fraction, teacher.fit.split_seed, teacher.fit.stratify)
        assert split == (0.3, 7, True)
        assert teacher.fit.epochs == 2


def test_the_rounds_answer_the_views_in_turn(
    data: FashionMnist, taught: Taught, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(taught.folder / "views", tmp_path / "views")
    # Of other seeds, they answer otherwise without having learnt anything.
    monkeypatch.setattr(teaching, "train", lambda *_: None)
    distillation = DISTILLATION.model_copy(update={"rounds": 2, "mirror": "shown"})
    recipe = RECIPE.model_copy(update={"distillation": distillation})
    batches = taught_batches(tmp_path, recipe, distillation, data)
    teachers = [Teaching(tmp_path, teacher, recipe.fit) for teacher in recipe.teachers]
    assert [teacher.recipe.number for teacher in teachers] == [0, 1, 2, 3]
    labels = one_hot(data.split(recipe.fit)[0].labels)
    for number, teacher in enumerate(teachers):
        answers = [path.name for path in sorted((tmp_path / f"{number}/answers").iterdir())]
        assert answers == (["000.npy", "002.npy"] if number < 2 else ["001.npy"])
        assert set(teacher.asked(data)).isdisjoint(teacher.taught(data))
    for epoch in range(6):
        view = epoch % 3
        batches.shuffle(epoch)
        learnt = read_epoch(batches)
        first = 2 * (view % 2)
        for teacher in teachers[first : first + 2]:
            asked = teacher.asked(data)
            images = to_inputs(teacher.views.read(view)[asked])
            if epoch >= 3:  # each is shown for the second time, by its mirror image
                images = images[:, :, ::-1]
            expected = 0.75 * soften(teacher.answers.read(view), 1.0) + 0.25 * labels[asked]
            for image, target in zip(images, expected, strict=True):
                np.testing.assert_allclose(learnt[image.tobytes()], target, rtol=1e-5)


def test_images_held_out_from_the_teachers_alone_are_answered_and_learnt(
    data: FashionMnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, changes = Fit(validation_fraction=0.1), Augmentation(photo_share=0.5)
    teacher = DISTILLATION.teacher.model_copy(
        update={"validation_fraction": 0.3, "augmentation": changes}
    )
    distillation = DISTILLATION.model_copy(update={"teacher": teacher})
    recipe = Recipe(fit=fit, distillation=distillation)
    shown = []
    monkeypatch.setattr(teaching, "train", lambda _, batches, *rest: shown.append((batches, rest)))
    batches = taught_batches(tmp_path, recipe, distillation, data)

    images = to_inputs(data.train_images)
    training, validation = data.split(fit)
    taught, held_out = data.split(Fit(validation_fraction=0.3))
    learnt = read_epoch(batches).keys()
    assert learnt == {image.tobytes() for image in training.images}
    assert len(learnt) > len(taught.labels)
    originals = {image.tobytes() for image in images}
    for number, (lessons, rest) in enumerate(shown):
        np.testing.assert_array_equal(rest[0].images, held_out.images)
        seen = read_epoch(lessons).keys()
        of_others = deal_folds(len(taught.labels), 2, seed=42) != number
        assert len(seen) == of_others.sum()
        whole = seen & originals
        assert whole <= {image.tobytes() for image in taught.images[of_others]}
        assert 0.4 < len(whole) / len(seen) < 0.6, "half are changed as the teachers are to see it"
    assert len(validation.labels) < len(held_out.labels)


def test_networks_that_learn_from_other_images_cannot_share_what_is_answered() -> None:
    teacher = DISTILLATION.teacher.model_copy(update={"validation_fraction": 0.3})
    distillation = DISTILLATION.model_copy(update={"teacher": teacher})
    recipes = [
        Recipe(fit=Fit(validation_fraction=fraction), distillation=distillation)
        for fraction in (0.1, 0.2)
    ]
    first, second = (recipe.teachers for recipe in recipes)
    assert [teacher.fit for teacher in first] == [teacher.fit for teacher in second]
    assert first != second
