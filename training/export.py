"""Publish an evaluated run as a version of the artifact: all of it or nothing."""

import functools
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from . import SERVICE, TrainingError
from .architecture import feature_map_model
from .batches import PREDICT_BATCH, Probabilities, predict
from .config import ExportSettings
from .data import Inputs, Labelled
from .manifest import MANIFEST, describe, describe_training, file_digests, render_model_card
from .native_logging import native_noise_hidden
from .novelty import NOVELTY, PROBABILITIES, entropy, with_novelty
from .run import open_finished

FLATBUFFER = Path("assets.extra") / "model.tflite"
INT8_FLATBUFFER = Path("assets.extra") / "model.int8.tflite"
MODEL_CARD = Path("assets.extra") / "MODEL_CARD.md"
REPORT = Path("assets.extra") / "report"

EXPERIMENTS = "ablation", "compromises", "seeds"
"""What `python -m benchmarks.recipes` measures of a recipe."""

PREDICTION_SIGNATURE = "serving_default"
FEATURE_MAPS_SIGNATURE = "feature_maps"
NOVELTY_SIGNATURE = "novelty"

MAX_DIFFERENCE = 1e-4
"""From Keras; that of feature maps is relative to their largest value where that exceeds 1."""
MIN_LABEL_AGREEMENT = 0.995
MIN_NOVELTY_AGREEMENT = 0.99
MAX_ACCURACY_DIFFERENCE = 0.001


def run(settings: ExportSettings) -> None:
    """Publish the run in `settings.run_dir` below `settings.artifacts`."""
    evaluated_run, recipe, data = open_finished(settings)
    scores = evaluated_run.read_evaluation()
    experiments = read_experiments(settings.experiments) if settings.experiments else {}
    artifacts = settings.artifacts or settings.run_dir / "exported"
    publish_version(
        artifacts / str(settings.version or next_version(artifacts)),
        keras.models.load_model(evaluated_run.model, compile=False),
        data.test(),
        evaluated_run.report,
        class_names=data.class_names,
        scores={**scores, **experiments},
        training=describe_training(recipe, evaluated_run.read_history()),
        data_set=data.about,
    )


def read_experiments(folder: Path) -> dict[str, Any]:
    """Read what was measured of the recipe beyond the run: at least one of `EXPERIMENTS`."""
    experiments = {}
    for path in (folder / f"{name}.json" for name in EXPERIMENTS):
        if path.exists():
            try:
                experiments[path.stem] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise TrainingError(f"{path} is not JSON: {error}") from error
    if not experiments:
        raise TrainingError(f"{folder} has none of {', '.join(EXPERIMENTS)} (.json)")
    return experiments


def next_version(artifacts: Path) -> int:
    """Return one more than the highest version in the folder; 1 where there is none."""
    names = [path.name for path in artifacts.glob("[1-9]*")]
    return max((int(name) for name in names if name.isdecimal()), default=0) + 1


@contextmanager
def published(target: Path) -> Iterator[Path]:
    """Yield a folder that is renamed to `target` after the block, or removed if the block fails."""
    if target.exists():
        raise TrainingError(f"{target} exists, and a published version is never changed")
    target.parent.mkdir(parents=True, exist_ok=True)
    # A sibling, because a rename is atomic only within one file system; hidden from readers.
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.tmp-", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp's own mode would hide it from the service's user
        folder.rename(target)  # an OSError if another export published this version meanwhile
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish_version(target: Path, model: Any, test: Labelled, report: Path, **about: Any) -> None:
    """Write a Keras model, from (n, height, width, 1) to (n, classes), as a version that is served.

    The flatbuffers are compared with Keras on the `test` images; `about` is for `describe`. The
    model has a novelty output if its scores have novelty.
    """
    with published(target) as folder:
        manifest = describe(model, int(target.name), **about)
        scores = manifest["scores"]
        scores["parity"] = write_model(folder, model, test, scores.get("novelty"))
        if report.is_dir():
            shutil.copytree(report, folder / REPORT)
        (folder / MODEL_CARD).write_text(render_model_card(manifest), encoding="utf-8")
        manifest["files"] = file_digests(folder)
        content = json.dumps(manifest, indent=2, ensure_ascii=False)
        (folder / MANIFEST).write_text(f"{content}\n", encoding="utf-8")
    print(f"Published {target}\nServe it: {SERVICE} --artifacts {shlex.quote(str(target.parent))}")


def write_model(
    folder: Path, model: Any, test: Labelled, novelty: dict[str, Any] | None
) -> dict[str, Any]:
    """Write the SavedModel and the flatbuffers; return their parity with Keras.

    Too large a difference of the float32 flatbuffer is a TrainingError; an int8 one is left out.
    """
    print("Writing the SavedModel")
    signatures = {
        PREDICTION_SIGNATURE: keras.Model(model.inputs[0], {PROBABILITIES: model.outputs[0]}),
        **({NOVELTY_SIGNATURE: with_novelty(model)} if novelty else {}),
        FEATURE_MAPS_SIGNATURE: feature_map_model(model),
    }
    write_saved_model(folder, signatures)
    print("Compiling for LiteRT and comparing it with Keras on the test images")
    float32 = convert(folder, [*signatures], int8_weights=False)
    predicting = [name for name in signatures if name != FEATURE_MAPS_SIGNATURE]
    int8 = convert(folder, predicting, int8_weights=True)
    expected = predict(model, test.images)
    threshold = novelty["threshold"] if novelty else None
    float32_parity = measure(float32, expected, test, threshold)
    float32_parity["max_feature_map_difference"] = compare_feature_maps(float32, model, test.images)
    if wrong := [  # `not <=` holds for NaN, too
        f"{name} {value:.1e} (at most {MAX_DIFFERENCE})"
        for name, value in float32_parity.items()
        if name.startswith("max_") and not value <= MAX_DIFFERENCE
    ]:
        raise TrainingError(f"the float32 flatbuffer differs from Keras: {', '.join(wrong)}")
    int8_parity = measure(int8, expected, test, threshold)
    keras_accuracy = float(np.mean(expected.argmax(axis=1) == test.labels))
    ships_int8 = agrees_enough(int8_parity, keras_accuracy)
    (folder / FLATBUFFER).parent.mkdir()
    (folder / FLATBUFFER).write_bytes(float32)
    if ships_int8:
        (folder / INT8_FLATBUFFER).write_bytes(int8)
    return {
        "images": len(test.labels),
        "float32": {**float32_parity, "shipped": True},
        "int8": {**int8_parity, "shipped": ships_int8},
    }


def write_saved_model(folder: Path, signatures: dict[str, Any]) -> None:
    """Write a SavedModel of Keras models of one input, by the names of their signatures."""
    # Without `track`, which would store all weights a second time.
    archive = keras.export.ExportArchive()
    for name, model in signatures.items():
        image = model.inputs[0]
        spec = tf.TensorSpec(image.shape, tf.float32, name=image.name)
        archive.add_endpoint(name, functools.partial(model, training=False), input_signature=[spec])
    archive.write_out(str(folder), verbose=False)
    shutil.rmtree(folder / "assets")  # TensorFlow makes it even where a model has none


def convert(saved_model: Path, signatures: list[str], *, int8_weights: bool) -> bytes:
    """Compile signatures, in float32 or dynamic-range int8 weights, or raise a TrainingError."""
    with native_noise_hidden():
        try:
            converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signatures)
            converter.optimizations = [tf.lite.Optimize.DEFAULT] if int8_weights else []
            return bytes(converter.convert())
        except Exception as error:  # which one depends on the model
            failure = str(error)
    unknown = re.search(r"^TF Select ops: (.+)$|'tf\.(\w+)' op ", failure, re.MULTILINE)
    reason = f"it runs {unknown[1] or unknown[2]}" if unknown else failure.strip().splitlines()[0]
    raise TrainingError(f"the model cannot be compiled with LiteRT, {reason}")


def run_flatbuffer(
    flatbuffer: bytes, signature: str, images: Inputs
) -> Iterator[tuple[Inputs, dict[str, Inputs]]]:
    """Yield batches of the images, and the outputs of a signature for each by their names."""
    with native_noise_hidden():
        interpreter = Interpreter(model_content=flatbuffer)
        interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner(signature)
    (name,) = runner.get_input_details()
    for batch in np.split(images, range(PREDICT_BATCH, len(images), PREDICT_BATCH)):
        yield batch, runner(**{name: batch})


def measure(
    flatbuffer: bytes, expected: Probabilities, test: Labelled, threshold: float | None
) -> dict[str, Any]:
    """Compare a flatbuffer with the probabilities that Keras gives, (n, classes)."""

    def answers(signature: str, output: str) -> Probabilities:
        batches = run_flatbuffer(flatbuffer, signature, test.images)
        return np.concatenate([outputs[output] for _, outputs in batches])

    probabilities = answers(PREDICTION_SIGNATURE, PROBABILITIES)
    labels = probabilities.argmax(axis=1)
    measured = {
        "max_probability_difference": float(np.abs(probabilities - expected).max()),
        "label_agreement": float(np.mean(labels == expected.argmax(axis=1))),
        "accuracy": float(np.mean(labels == test.labels)),
    }
    if threshold is not None:
        novelty, known = answers(NOVELTY_SIGNATURE, NOVELTY), np.asarray(entropy(expected))
        agrees = (novelty > threshold) == (known > threshold)
        measured["max_novelty_difference"] = float(np.abs(novelty - known).max())
        measured["novelty_agreement"] = float(np.mean(agrees))
    return measured


def compare_feature_maps(flatbuffer: bytes, model: Any, images: Inputs) -> float:
    """Return the largest difference from Keras' maps, relative to the largest value of a layer."""
    keras_maps, largest = feature_map_model(model), 0.0
    for batch, maps in run_flatbuffer(flatbuffer, FEATURE_MAPS_SIGNATURE, images):
        for name, expected in keras_maps(batch, training=False).items():
            scale = max(1.0, float(np.abs(expected).max()))
            difference = float(np.abs(maps[name] - np.asarray(expected)).max())
            largest = max(largest, difference / scale)
    return largest


def agrees_enough(parity: dict[str, Any], keras_accuracy: float) -> bool:
    """Return whether the flatbuffer with int8 weights may be shipped."""
    return bool(
        parity["label_agreement"] >= MIN_LABEL_AGREEMENT
        and abs(parity["accuracy"] - keras_accuracy) <= MAX_ACCURACY_DIFFERENCE
        and parity.get("novelty_agreement", 1.0) >= MIN_NOVELTY_AGREEMENT
    )
