"""Publish an evaluated run as a version of the artifact: all of it or nothing."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from . import SERVICE, flatbuffers
from .architecture import feature_map_model
from .config import ExportSettings
from .data import Labelled, load_fashion_mnist
from .errors import ExportError
from .manifest import MANIFEST, describe, describe_training, file_digests
from .model_card import write_model_card
from .novelty import PROBABILITIES, with_novelty
from .run import Run

FLATBUFFER = Path("assets.extra") / "model.tflite"
INT8_FLATBUFFER = Path("assets.extra") / "model.int8.tflite"
MODEL_CARD = Path("assets.extra") / "MODEL_CARD.md"
REPORT = Path("assets.extra") / "report"


def run(settings: ExportSettings) -> None:
    """Publish the run in `settings.run_dir` below `settings.artifacts`.

    Raises:
        DataError: the data set is missing or damaged.
        RunError: there is no finished and evaluated run, or it was trained with other data.
        ExportError: the version exists, or the flatbuffer does not hold parity.
    """
    evaluated_run = Run(settings.run_dir)
    evaluated_run.require_finished()
    scores = evaluated_run.read_evaluation()
    experiments = read_experiments(settings.experiments) if settings.experiments else {}
    data = load_fashion_mnist(settings.data_dir, settings.allow_other_data, settings.classes)
    evaluated_run.require_data(data)
    artifacts = settings.artifacts or settings.run_dir / "exported"
    version = settings.version or next_version(artifacts)
    model = keras.models.load_model(evaluated_run.model, compile=False)
    with published(artifacts / str(version)) as folder:
        parity = write_model(folder, model, data.test(), scores)
        manifest = describe(
            model,
            version,
            class_names=data.class_names,
            scores={**scores, **experiments, "parity": parity},
            training=describe_training(evaluated_run),
        )
        write_description(folder, manifest, evaluated_run.report)
    print(f"Published {artifacts / str(version)}")
    print(f"Serve it: {SERVICE} --artifacts {artifacts}")


def read_experiments(folder: Path) -> dict[str, Any]:
    """Read what was measured of the recipe beyond the run: `ablation` and `seeds`, if there.

    Raises:
        ExportError: a file is not JSON.
    """
    experiments = {}
    for name in ("ablation", "seeds"):
        path = folder / f"{name}.json"
        if path.exists():
            try:
                experiments[name] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ExportError(f"{path} is not JSON: {error}") from error
    return experiments


def next_version(artifacts: Path) -> int:
    """Return one more than the highest version in the folder; 1 where there is none."""
    names = [path.name for path in artifacts.glob("[1-9]*")]
    return max((int(name) for name in names if name.isdecimal()), default=0) + 1


@contextmanager
def published(target: Path) -> Iterator[Path]:
    """Give a folder to fill that becomes `target` in one step, or vanishes if the block fails.

    Raises:
        ExportError: the target exists.
    """
    refusal = ExportError(f"{target} exists, and a published version is never changed")
    if target.exists():
        raise refusal
    target.parent.mkdir(parents=True, exist_ok=True)
    # A sibling, because only within one file system is a rename one step; hidden, because no
    # reader may take it for a version.
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.tmp-", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp's own mode would hide it from the service's user
        try:
            folder.rename(target)
        except OSError as error:  # another export published this version meanwhile
            raise refusal from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_model(folder: Path, model: Any, test: Labelled, scores: dict[str, Any]) -> dict[str, Any]:
    """Write the SavedModel and the flatbuffers that hold parity into an empty folder.

    Args:
        folder: of the version.
        model: a Keras model of one input, (n, height, width, 1), and one output, (n, classes).
        test: images to compare the flatbuffers with Keras on.
        scores: the threshold of the novelty is read from them; a model without has no novelty.

    Returns:
        What was measured of both flatbuffers.

    Raises:
        ExportError: the float32 flatbuffer does not hold parity.
    """
    assessor = with_novelty(model) if "novelty" in scores else None
    print("Writing the SavedModel")
    write_saved_model(model, assessor, folder)
    print("Compiling for LiteRT and comparing it with Keras on the test images")
    predicting = [flatbuffers.PREDICTION_SIGNATURE]
    if assessor is not None:
        predicting.append(flatbuffers.NOVELTY_SIGNATURE)
    threshold = scores["novelty"]["threshold"] if "novelty" in scores else None
    reference = flatbuffers.Reference(model, assessor, test, threshold)
    float32 = flatbuffers.convert(
        folder, [*predicting, flatbuffers.FEATURE_MAPS_SIGNATURE], int8_weights=False
    )
    int8 = flatbuffers.convert(folder, predicting, int8_weights=True)
    float32_parity = flatbuffers.measure_float32(float32, reference)
    int8_parity = flatbuffers.measure_int8(int8, reference)
    (folder / FLATBUFFER).parent.mkdir()
    (folder / FLATBUFFER).write_bytes(float32)
    if int8_parity["shipped"]:
        (folder / INT8_FLATBUFFER).write_bytes(int8)
    return {"images": len(test.labels), "float32": float32_parity, "int8": int8_parity}


def write_saved_model(model: Any, assessor: Any, folder: Path) -> None:
    """Write a SavedModel of two or three signatures.

    `serving_default` gives the probabilities, `novelty` these and the novelty of each image,
    `feature_maps` the output of every layer by its name; all take the model's input, float32 in
    [0, 1].
    """
    layers = feature_map_model(model)
    inputs = model.inputs[0]
    images = tf.TensorSpec(inputs.shape, tf.float32, name=inputs.name)
    # Without `track`, which would keep all weights a second time: the signatures have them.
    archive = keras.export.ExportArchive()
    archive.add_endpoint(
        flatbuffers.PREDICTION_SIGNATURE,
        lambda images: {PROBABILITIES: model(images, training=False)},
        input_signature=[images],
    )
    if assessor is not None:
        archive.add_endpoint(
            flatbuffers.NOVELTY_SIGNATURE,
            lambda images: assessor(images, training=False),
            input_signature=[images],
        )
    archive.add_endpoint(
        flatbuffers.FEATURE_MAPS_SIGNATURE,
        lambda images: layers(images, training=False),
        input_signature=[images],
    )
    archive.write_out(str(folder), verbose=False)
    shutil.rmtree(folder / "assets")  # TensorFlow makes it even where a model has none


def write_description(folder: Path, manifest: dict[str, Any], report: Path | None) -> None:
    """Write the report, the model card and, last, the manifest with the digests of all files."""
    if report and report.is_dir():
        shutil.copytree(report, folder / REPORT)
    write_model_card(folder / MODEL_CARD, manifest, has_report=bool(report))
    manifest["files"] = file_digests(folder)
    (folder / MANIFEST).write_text(
        json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
