import copy
import json
import re
from typing import Any

import pytest

from tests.training.conftest import Published
from training.manifest import render_model_card


@pytest.fixture
def card(tiny: Published) -> str:
    return (tiny.version_dir / "assets.extra" / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.fixture
def manifest(tiny: Published) -> dict[str, Any]:
    path = tiny.version_dir / "assets.extra" / "manifest.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_front_matter_has_the_fields_for_hugging_face(card: str, manifest: dict[str, Any]) -> None:
    _, front_matter, _ = card.split("---\n", 2)
    for line in ("license: mit", "library_name: keras", "model-index:"):
        assert line in front_matter.splitlines()
    assert f"value: {manifest['scores']['test']['accuracy']:.4f}" in front_matter


def test_card_for_other_data_does_not_mention_fashion_mnist(card: str) -> None:
    for claim in ("Zalando", "Fashion-MNIST:", "T-shirt", "fashion_mnist\nmetrics", "photographs"):
        assert claim not in card


def test_numbers_in_the_card_equal_the_manifest(card: str, manifest: dict[str, Any]) -> None:
    scores = manifest["scores"]
    for name, row in scores["classes"].items():
        assert f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} |" in card
    assert f"{manifest['parameters']['total']:,} parameters" in card
    assert f"loss {scores['test']['loss']:.4f}" in card
    assert f"the weights of epoch {manifest['training']['kept_epoch']} were kept" in card
    for name, version in manifest["libraries"].items():
        assert f"- {name} {version}" in card


def test_card_has_every_section_and_every_figure(tiny: Published, card: str) -> None:
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
    figures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", card)
    assert len(figures) == 4
    for figure in figures:
        assert (tiny.version_dir / "assets.extra" / figure).is_file()


def test_procedure_lists_the_settings_that_differ_from_the_default(
    manifest: dict[str, Any], card: str
) -> None:
    for line in ("network.dense_units = 16", "fit.epochs = 3"):
        assert line in card.splitlines()
    assert "fit.patience" not in card
    changed = copy.deepcopy(manifest)
    recipe = changed["training"]["configuration"]
    recipe["fit"] |= {"weight_decay": 0.02, "schedule": "cosine", "label_smoothing": 0.05}
    recipe["augmentation"] |= {"flip": True, "shift": 1, "erase": 0.3}
    recipe["start"] = {"weights": True, "answers": 0.7}
    recipe["photographs"] |= {"share": 0.5, "weight": 0.3}
    recipe["photographs"]["augmentation"] |= {"rotate": 18, "zoom": 0.15, "brightness": 0.2}
    changed["scores"]["calibration"]["temperature"] = 0.75
    changed["scores"]["photographs"] = {
        "images": 471,
        "macro_average": 0.7654,
        "kinds": {"Dress": 0.75, "Shoes": 0.81},
        "expected_calibration_error": 0.0456,
    }
    changed["data_set"]["name"] = "Fashion-MNIST"
    rendered = render_model_card(changed)
    for phrase in (
        "fit.weight_decay = 0.02\n",
        'fit.schedule = "cosine"\n',
        "augmentation.flip = true\n",
        "start.weights = true\n",
        "photographs.augmentation.zoom = 0.15\n",
        "temperature 0.750",
        "On 471 photographs by people whose photographs it was not trained on",
        "the accuracy is 76.5% (Dress 75%, Shoes 81%)",
        "clothing dataset",
        "by Zalando Research",
    ):
        assert phrase in rendered, phrase


def test_pipe_in_a_class_name_does_not_break_the_table(manifest: dict[str, Any]) -> None:
    classes = {f"{name}|x": row for name, row in manifest["scores"]["classes"].items()}
    rendered = render_model_card({**manifest, "scores": {**manifest["scores"], "classes": classes}})
    rows = [line for line in rendered.splitlines() if "|x" in line]
    assert len(rows) == len(classes)
    for row in rows:
        assert len(re.split(r"(?<!\\)\|", row)) == 7, row


def test_card_of_an_unscored_model_has_no_evaluation(manifest: dict[str, Any]) -> None:
    scores = {"parity": manifest["scores"]["parity"]}
    rendered = render_model_card({**manifest, "scores": scores})
    assert "model-index" not in rendered
    assert "## Evaluation" not in rendered
    assert "nan" not in rendered
