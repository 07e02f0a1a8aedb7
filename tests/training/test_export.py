import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from service.model.repository import load_classifier
from tests.training.conftest import IDX_FOLDER, TINY_DATA, Published
from training import export
from training.__main__ import EXIT_FAILED, EXIT_INTERRUPTED, main
from training.data import Labelled, load_fashion_mnist
from training.export import next_version, published
from training.novelty import entropy
from training.run import Run

LAYERS = [
    "conv2d_1",
    "max_pooling2d_1",
    "conv2d_2",
    "average_pooling2d_2",
    "flatten",
    "dense_1",
    "dropout",
    "dense_2",
]


@pytest.fixture(scope="module")
def model(tiny: Published) -> Any:
    return keras.models.load_model(Run(tiny.run_dir).model, compile=False)


@pytest.fixture(scope="module")
def test_images() -> Labelled:
    return load_fashion_mnist(IDX_FOLDER, allow_other_data=True).test()


@pytest.fixture(scope="module")
def manifest(tiny: Published) -> dict[str, Any]:
    path = tiny.version_dir / "assets.extra" / "manifest.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def export_tiny(tiny: Published, artifacts: Path, *arguments: str) -> int:
    where = [f"--run-dir={tiny.run_dir}", f"--artifacts={artifacts}"]
    return main(["export", *TINY_DATA, *where, *arguments])


def test_saved_model_has_every_signature_and_predicts_like_keras(
    tiny: Published, model: Any, test_images: Labelled
) -> None:
    loaded = tf.saved_model.load(str(tiny.version_dir))
    assert set(loaded.signatures) == {"serving_default", "novelty", "feature_maps"}
    images = tf.constant(test_images.images)
    answer = loaded.signatures["serving_default"](images=images)
    assert list(answer) == ["probabilities"]
    expected = model.predict(test_images.images, verbose=0)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    assessment = loaded.signatures["novelty"](images=images)
    assert sorted(assessment) == ["novelty", "probabilities"]
    np.testing.assert_allclose(assessment["probabilities"], expected, atol=1e-6)
    np.testing.assert_allclose(assessment["novelty"], entropy(expected), atol=1e-5)
    maps = loaded.signatures["feature_maps"](images=images)
    assert sorted(maps) == sorted(LAYERS)
    np.testing.assert_allclose(maps["dense_2"], expected, atol=1e-6)
    assert maps["conv2d_1"].shape == (64, 28, 28, 4)
    for loaded_signature in loaded.signatures.values():
        (images_spec,) = loaded_signature.structured_input_signature[1].values()
        assert (images_spec.name, images_spec.shape.as_list()) == ("images", [None, 28, 28, 1])
        assert images_spec.dtype == tf.float32


@pytest.mark.parametrize(
    ("name", "signatures"),
    [
        ("model.tflite", ["feature_maps", "novelty", "serving_default"]),
        ("model.int8.tflite", ["novelty", "serving_default"]),
    ],
)
def test_flatbuffers_predict_like_keras(
    tiny: Published, model: Any, test_images: Labelled, name: str, signatures: list[str]
) -> None:
    interpreter = Interpreter(model_path=str(tiny.version_dir / "assets.extra" / name))
    assert sorted(interpreter.get_signature_list()) == signatures
    answer = interpreter.get_signature_runner("serving_default")(images=test_images.images)
    expected = model.predict(test_images.images, verbose=0)
    tolerance = 0.05 if "int8" in name else 1e-5
    np.testing.assert_allclose(answer["probabilities"], expected, atol=tolerance)


def test_manifest_lists_every_file_with_its_digest(
    tiny: Published, manifest: dict[str, Any]
) -> None:
    files = {
        path.relative_to(tiny.version_dir).as_posix(): path
        for path in tiny.version_dir.rglob("*")
        if path.is_file()
    }
    del files["assets.extra/manifest.json"]
    assert manifest["files"] == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()
    }
    assert {
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets.extra/model.tflite",
        "assets.extra/MODEL_CARD.md",
        "assets.extra/report/confusion_matrix.png",
    } <= set(files)
    assert not (tiny.version_dir / "assets").exists()


def test_saved_model_stores_each_weight_once(tiny: Published, manifest: dict[str, Any]) -> None:
    [data] = (tiny.version_dir / "variables").glob("variables.data-*")
    weights = 4 * manifest["parameters"]["total"]
    assert weights < data.stat().st_size < 1.5 * weights


def test_manifest_describes_the_run(tiny: Published, manifest: dict[str, Any], model: Any) -> None:
    assert (manifest["format"], manifest["name"], manifest["version"]) == (1, "fashion_mnist", 1)
    history = Run(tiny.run_dir).read_history()
    training = manifest["training"]
    best = training["kept_epoch"] - 1
    assert training["epochs"] == len(history) == 3
    assert history[best]["val_loss"] == min(row["val_loss"] for row in history)
    assert training["validation_accuracy"] == history[best]["val_accuracy"]
    assert training["configuration"]["network"]["dense_units"] == 16
    assert training["configuration"]["fit"]["epochs"] == 3
    evaluation = Run(tiny.run_dir).read_evaluation()
    assert {key: manifest["scores"][key] for key in evaluation} == evaluation
    novelty = manifest["novelty"]
    assert (novelty["layer"], novelty["score"]) == ("dense_2", "entropy of the probabilities")
    assert novelty["photo_threshold"] is None
    assert manifest["class_names"] == [str(label) for label in range(10)]
    assert manifest["layers"][3]["inputs"] == ["conv2d_2"]
    assert novelty["threshold"] == evaluation["novelty"]["threshold"]
    parity = manifest["scores"]["parity"]
    assert parity["images"] == 64
    assert parity["float32"]["max_probability_difference"] <= 1e-5
    assert parity["float32"]["max_novelty_difference"] <= 1e-3
    assert parity["float32"]["max_feature_map_difference"] <= 1e-4
    assert parity["float32"]["shipped"] is parity["int8"]["shipped"] is True
    total = model.count_params()
    assert manifest["parameters"] == {"total": total, "trainable": total, "non_trainable": 0}


def test_no_absolute_path_of_the_machine_is_published(tiny: Published) -> None:
    for path in tiny.version_dir.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for place in (tiny.run_dir, tiny.artifacts, IDX_FOLDER, Path(keras.__file__).parent):
                assert str(place).encode() not in content, path


def test_next_version_follows_the_highest_valid_one(tmp_path: Path) -> None:
    assert next_version(tmp_path / "none yet") == 1
    for name in ("1", "9", "10", ".11.tmp-x", "12a", "latest", "013"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 11


def test_existing_version_is_never_overwritten(
    tiny: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "kept").touch()
    assert export_tiny(tiny, tmp_path, "--version=7") == EXIT_FAILED
    assert f"{tmp_path / '7'} exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["7", "kept"]


def test_version_is_published_atomically(tmp_path: Path) -> None:
    with published(tmp_path / "artifacts" / "2") as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path / "artifacts"
        assert folder.name.startswith(".2.tmp-")
        assert not (tmp_path / "artifacts" / "2").exists()
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == ["2"]
    assert (tmp_path / "artifacts" / "2").stat().st_mode & 0o777 == 0o755


def test_concurrent_export_does_not_overwrite_the_first(tmp_path: Path) -> None:
    target = tmp_path / "1"

    def publish_while_another_does() -> None:
        with published(target) as folder:
            (folder / "mine").touch()
            (target / "theirs").mkdir(parents=True)

    with pytest.raises(OSError, match="Directory not empty"):
        publish_while_another_does()
    assert [path.name for path in tmp_path.rglob("*")] == ["1", "theirs"]


def test_interrupted_export_leaves_no_files(
    tiny: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press_ctrl_c(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "file_digests", press_ctrl_c)
    assert export_tiny(tiny, tmp_path) == EXIT_INTERRUPTED
    assert list(tmp_path.iterdir()) == []


def test_flatbuffer_that_differs_from_keras_fails_the_export(
    tiny: Published,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(export, "MAX_DIFFERENCE", -1.0)
    assert export_tiny(tiny, tmp_path) == EXIT_FAILED
    message = capsys.readouterr().err
    assert "the float32 flatbuffer differs from Keras" in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_int8_flatbuffer_without_parity_is_measured_but_not_shipped(
    tiny: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MIN_LABEL_AGREEMENT", 1.1)
    assert export_tiny(tiny, tmp_path, "--version=3") == 0
    extra = tmp_path / "3" / "assets.extra"
    assert not (extra / "model.int8.tflite").exists()
    parity = json.loads((extra / "manifest.json").read_text())["scores"]["parity"]
    assert parity["int8"]["shipped"] is False
    assert parity["int8"]["accuracy"] > 0
    assert "model.int8.tflite" not in (extra / "MODEL_CARD.md").read_text()


def test_parity_requires_agreement_of_labels_accuracy_and_novelty() -> None:
    for labels, accuracy, novelty, is_parity in (
        (1.0, 0.9, 1.0, True),
        (0.995, 0.9009, 0.99, True),
        (0.9949, 0.9, 1.0, False),
        (1.0, 0.9011, 1.0, False),
        (1.0, 0.9, 0.989, False),
    ):
        parity = {"label_agreement": labels, "accuracy": accuracy, "novelty_agreement": novelty}
        assert export.agrees_enough(parity, keras_accuracy=0.9) is is_parity


def test_model_without_novelty_is_exported_without_it(tiny: Published, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(tiny.run_dir, tmp_path / "run"))
    scores = json.loads((run_dir / "evaluation.json").read_text())
    del scores["novelty"]
    (run_dir / "evaluation.json").write_text(json.dumps(scores))
    artifacts = tmp_path / "artifacts"
    arguments = [f"--run-dir={run_dir}", f"--artifacts={artifacts}"]
    assert main(["export", *TINY_DATA, *arguments]) == 0
    extras = artifacts / "1" / "assets.extra"
    assert json.loads((extras / "manifest.json").read_text())["novelty"] is None
    assert "### Novelty" not in (extras / "MODEL_CARD.md").read_text()
    interpreter = Interpreter(model_path=str(extras / "model.int8.tflite"))
    assert list(interpreter.get_signature_list()) == ["serving_default"]
    load_classifier(artifacts / "1", "litert")


@pytest.mark.parametrize("missing", ["evaluation.json", "model.keras"])
def test_export_without_an_evaluation_is_rejected(
    tiny: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    run_dir = Path(shutil.copytree(tiny.run_dir, tmp_path / "run"))
    (run_dir / missing).unlink()
    arguments = [f"--run-dir={run_dir}", f"--artifacts={tmp_path / 'artifacts'}"]
    assert main(["export", *TINY_DATA, *arguments]) == EXIT_FAILED
    command = f"run `python -m training evaluate --run-dir {run_dir}`"
    assert command in capsys.readouterr().err
    assert not (tmp_path / "artifacts").exists()


def test_results_of_experiments_appear_in_the_model_card(tiny: Published, tmp_path: Path) -> None:
    measure = {"mean": 0.9253, "standard_deviation": 0.0012, "values": [0.9241, 0.9265]}
    experiments = {
        "ablation": {
            "recipe": "photo",
            "epochs": 3,
            "seed": 42,
            "steps": [{"name": "without flip", "measures": {"validation accuracy": 0.9123}}],
        },
        "seeds": {"recipe": "photo", "seeds": [42, 43], "measures": {"test accuracy": measure}},
    }
    for name, content in experiments.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    artifacts = tmp_path / "artifacts"
    assert export_tiny(tiny, artifacts, f"--experiments={tmp_path}") == 0
    card = (artifacts / "1" / "assets.extra" / "MODEL_CARD.md").read_text()
    assert "| without flip | 0.9123 |" in card
    for name in experiments:
        assert f"`python -m benchmarks.recipes {name}`" in card
    assert "| test accuracy | 0.9253 | 0.0012 |" in card


def test_folder_without_experiments_is_refused(
    tiny: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_tiny(tiny, tmp_path, f"--experiments={tmp_path / 'none'}") == EXIT_FAILED
    assert "none has none of ablation, compromises, seeds" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_invalid_json_of_an_experiment_is_reported_with_its_path(
    tiny: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "seeds.json").write_text("{")
    assert export_tiny(tiny, tmp_path / "artifacts", f"--experiments={tmp_path}") == EXIT_FAILED
    assert f"{tmp_path / 'seeds.json'} is not JSON" in capsys.readouterr().err
