from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training.fit
from tests.training.conftest import IDX_FOLDER
from training.batches import one_hot
from training.data import FashionMnist, load_fashion_mnist, to_inputs
from training.distillation import deal_folds, soften
from training.fit import taught_batches
from training.recipe import Augmentation, Distillation, Fit, Recipe, Teacher
from training.views import ArrayFiles

DISTILLATION = Distillation(
    folds=2, views=2, label_share=0.25, teacher=Teacher(width=1, fit=Fit(epochs=1, batch_size=64))
)
RECIPE = Recipe(augmentation=Augmentation(flip=True), distillation=DISTILLATION)


@pytest.fixture(scope="module")
def data() -> FashionMnist:
    return load_fashion_mnist(IDX_FOLDER, allow_other_data=True)


def read_epoch(batches: Any) -> dict[bytes, Any]:
    """Return the targets of an epoch by the bytes of their images."""
    pairs = [pair for images, targets in batches for pair in zip(images, targets, strict=True)]
    return {image.tobytes(): target for image, target in pairs}


def test_teachers_learn_other_folds_and_the_network_their_answers_and_the_label(
    data: FashionMnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = []
    train_teacher = training.fit.train_teacher

    def train_and_remember(run: Any, recipe: Any, batches: Any, validation: Any) -> Any:
        taught.append(read_epoch(batches))
        return train_teacher(run, recipe, batches, validation)

    monkeypatch.setattr(training.fit, "train_teacher", train_and_remember)
    batches = taught_batches(tmp_path, RECIPE, DISTILLATION, data)

    labels = one_hot(data.split(RECIPE.fit)[0].labels)
    folds = deal_folds(len(labels), 2, seed=42)
    view = to_inputs(ArrayFiles(tmp_path / "views", 2).read(0))
    for fold, learnt in enumerate(taught):
        others = folds != fold
        assert learnt.keys() == {image.tobytes() for image in view[others]}
        for image, label in zip(view[others], labels[others], strict=True):
            np.testing.assert_array_equal(learnt[image.tobytes()], label)

    answers = soften(ArrayFiles(tmp_path / "answers", 2).read(0), temperature=1.0)
    learnt = read_epoch(batches)
    for image, answer, label in zip(view, answers, labels, strict=True):
        expected = 0.75 * answer + 0.25 * label
        np.testing.assert_allclose(learnt[image.tobytes()], expected, rtol=1e-5)


def test_the_teachers_are_validated_with_what_the_network_is_validated_with() -> None:
    fit = Fit(validation_fraction=0.3, split_seed=7, stratify=True)
    for teacher in RECIPE.model_copy(update={"fit": fit}).teachers:
        split = (teacher.fit.validation_fraction, teacher.fit.split_seed, teacher.fit.stratify)
        assert split == (0.3, 7, True)
        assert teacher.fit.epochs == 1
