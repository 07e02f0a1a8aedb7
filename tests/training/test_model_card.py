import copy
import json
import re
from typing import Any

import pytest

from tests.training.conftest import Published
from training.model_card import render


@pytest.fixture
def card(tiny: Published) -> str:
    return (tiny.version_dir / "assets.extra" / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.fixture
def manifest(tiny: Published) -> dict[str, Any]:
    path = tiny.version_dir / "assets.extra" / "manifest.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_the_front_matter_is_what_hugging_face_reads(card: str, manifest: dict[str, Any]) -> None:
    _, front_matter, _ = card.split("---\n", 2)
    for line in ("license: mit", "library_name: keras", "- fashion_mnist", "model-index:"):
        assert line in front_matter.splitlines()
    assert f"value: {manifest['scores']['test']['accuracy']:.4f}" in front_matter


def test_every_figure_is_that_of_the_manifest(card: str, manifest: dict[str, Any]) -> None:
    scores = manifest["scores"]
    for name, row in scores["classes"].items():
        assert f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} |" in card
    assert f"{manifest['parameters']['total']:,} parameters" in card
    assert f"loss {scores['test']['loss']:.4f}" in card
    assert f"the weights of epoch {manifest['training']['kept_epoch']} were kept" in card
    for name, version in manifest["libraries"].items():
        assert f"- {name} {version}" in card


def test_every_section_and_every_picture_is_there(tiny: Published, card: str) -> None:
    sections = re.findall(r"^## (.+)$", card, flags=re.MULTILINE)
    assert sections == [
        "Model description",
        "Intended uses and limits",
        "How to use",
        "Training data",
        "Training procedure",
        "Evaluation",
        "Environment",
    ]
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", card)
    assert len(pictures) == 6
    for picture in pictures:
        assert (tiny.version_dir / "assets.extra" / picture).is_file()


def test_the_procedure_names_every_ingredient_that_was_used(
    manifest: dict[str, Any], card: str
) -> None:
    assert "Adam, learning rate 0.001, cross-entropy, 32 images a step, seed 42." in card
    assert "teacher" not in card
    changed = copy.deepcopy(manifest)
    recipe = changed["training"]["configuration"]
    recipe["fit"] |= {"weight_decay": 0.02, "schedule": "cosine", "label_smoothing": 0.05}
    recipe["fit"] |= {"calibrate": True, "batch_normalization": True}
    recipe["augmentation"] = {"flip": True, "shift": 1, "erase": 0.3, "photo_share": 0.4}
    teacher: dict[str, Any] = {"fit": {"epochs": 18}}
    teacher |= {"validation_fraction": None, "augmentation": None}
    recipe["distillation"] = {"folds": 2, "rounds": 1, "mirror": "asked", "teacher": teacher}
    recipe["distillation"] |= {"views": 16, "temperature": 2.0, "label_share": 0.25}
    changed["scores"]["teachers"] = {
        "parameters": 1_234_567,
        "accuracies": [0.9475, 0.9425],
        "accuracy": 0.95,
    }
    changed["scores"]["calibration"]["temperature"] = 0.75
    rendered = render(changed)
    for phrase in (
        "AdamW (weight decay 0.02)",
        "learning rate 0.001 at its highest, cosine schedule",
        "label smoothing 0.05, batch normalisation folded into the weights",
        "flipped, shifted by up to 1 pixels, partly erased (30% of them)",
        "40% of each batch are instead warped",
        "teachers, 25% of the label mixed in: wide residual networks of 1,234,567 parameters",
        "trained for up to 18 epochs on all but one of 2 folds of the training images",
        "by the one that has not learnt from it, in 16 changed views, at temperature 2.",
        "right on 94.75%, 94.25% of the test images, and on 95.00% by their mean answer",
        "calibrated with temperature 0.750",
        "look like photographs after preparation",
    ):
        assert phrase in rendered
    teacher |= {"validation_fraction": 0.1, "augmentation": recipe["augmentation"]}
    recipe["distillation"] |= {"rounds": 3, "mirror": "shown", "teacher": teacher}
    rendered = render(changed)
    for phrase in (
        "2 folds of the training images, which are dealt 3 times. An image",
        "in 16 changed views that the 3 sets of teachers take turns with, at temperature 2.",
        "A view that comes round again is shown as its mirror image. 10% of the training images",
        "who answer those of them that the network learns from. What the teachers learn from",
    ):
        assert phrase in rendered
