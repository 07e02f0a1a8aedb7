from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from benchmarks.images import read_image
from training.photographs import CLASSES_OF_A_LABEL, KINDS, PHOTOGRAPHS, read_photographs

SHARED = Path(__file__).parents[3] / "shared" / "data" / "photographs"
SPLITS: tuple[Literal["train", "validation"], ...] = "train", "validation"


def test_no_sender_is_in_both_splits_and_every_label_is_known() -> None:
    with np.load(PHOTOGRAPHS) as arrays:
        senders = [set(arrays["sender"][arrays["split"] == split]) for split in SPLITS]
    assert not senders[0] & senders[1]
    train, validation = (read_photographs(split) for split in SPLITS)
    assert len(train.label) + len(validation.label) == 4172
    assert {*train.label, *validation.label} == set(CLASSES_OF_A_LABEL)
    assert set(KINDS) <= set(validation.label)


def test_photographs_have_the_classes_of_their_label() -> None:
    photographs = read_photographs("train")
    for label, classes in CLASSES_OF_A_LABEL.items():
        chosen = photographs.label == label
        np.testing.assert_array_equal(photographs.classes[chosen].sum(axis=1), len(classes))
        assert photographs.has_class[chosen].all() == bool(classes)


def test_groups_of_correct_classes_are_sampled_equally_often() -> None:
    photographs = read_photographs("train")
    chances = photographs.chances(without_class=1.5)
    assert chances.sum() == pytest.approx(1)
    trouser, shoes, hat, body, none = (
        chances[np.isin(photographs.label, labels)].sum()
        for labels in (["Pants"], ["Shoes"], ["Hat"], ["Body"], ["Hat", "Shorts", "Skirt", "Body"])
    )
    assert trouser == pytest.approx(shoes)
    assert none == pytest.approx(1.5 * shoes)
    assert hat == pytest.approx(body)
    assert not photographs.chances(without_class=0)[~photographs.has_class].any()


@pytest.mark.skipif(not SHARED.exists(), reason="needs the photographs themselves")
def test_committed_images_equal_the_service_preparation_of_the_photographs() -> None:
    with np.load(PHOTOGRAPHS) as arrays:
        names, pixels = arrays["name"], arrays["pixels"]
    for index in range(0, len(names), 400):
        data = (SHARED / str(names[index])).read_bytes()
        prepared = read_image(data, prepare="auto", shape=(28, 28), max_pixels=10**8)
        np.testing.assert_array_equal(prepared.pixels, pixels[index])
