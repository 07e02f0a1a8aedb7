"""Measure the network of a run on the test images and on photographs."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from sklearn.metrics import classification_report, confusion_matrix, log_loss

from .calibration import PREDICT_BATCH, calibrate, expected_calibration_error
from .config import EvaluateSettings
from .data import Labelled, Labels, load_fashion_mnist, to_inputs
from .novelty import (
    FALSE_ALARMS,
    PERCENTILES,
    area_under_roc,
    assess,
    find_percentiles,
    find_threshold,
    make_outliers,
    with_novelty,
)
from .photographs import KINDS, Photographs, read_photographs
from .report import Report
from .run import Run, kept_epoch

CALIBRATION_BINS = 15

Probabilities = npt.NDArray[np.float32]


def run(settings: EvaluateSettings) -> None:
    """Score the run in `settings.run_dir`: numbers into evaluation.json, pictures into report/.

    Raises:
        DataError: the data set, or the file of photographs, is missing or damaged.
        RunError: there is no finished run, or it was trained with other data.
    """
    finished_run = Run(settings.run_dir)
    finished_run.require_finished()
    data = load_fashion_mnist(settings.data_dir, settings.allow_other_data, settings.classes)
    finished_run.require_data(data)
    recipe, _ = finished_run.read_about()
    _, validation = data.split(recipe.fit)
    photographs = read_photographs() if recipe.photographs.share else None
    model = keras.models.load_model(finished_run.checkpoint(recipe.fit), compile=False)
    temperature = 1.0
    if recipe.fit.calibrate:
        temperature = calibrate(model, validation, mirrored=recipe.augmentation.flip)
    model.save(finished_run.model)

    test = data.test()
    print(f"Evaluating on {len(test.labels):,} test images from {data.folder}")
    probabilities = model.predict(test.images, batch_size=PREDICT_BATCH, verbose=0)
    scores = score(probabilities, test.labels, data.class_names)
    scores["calibration"]["temperature"] = temperature
    report = Report(finished_run.report, data.class_names)
    history = finished_run.read_history()
    report.draw_training_curves(history, kept_epoch(history, recipe.fit))
    report.draw_test(test, probabilities)
    validation_photographs = photographs.of_split("validation") if photographs else None
    if validation_photographs:
        answers = model.predict(
            to_inputs(validation_photographs.pixels), batch_size=PREDICT_BATCH, verbose=0
        )
        scores["photographs"] = score_photographs(answers, validation_photographs)
        report.draw_photographs(validation_photographs, answers)

    print("Measuring what the network does not know")
    scores["novelty"] = measure_novelty(
        with_novelty(model), validation, test, validation_photographs, recipe.fit.seed
    )
    finished_run.write_evaluation(scores)
    print(
        f"Test accuracy {scores['test']['accuracy']:.4f}, loss {scores['test']['loss']:.4f}; "
        f"pictures in {finished_run.report}. Next: {settings.next_command('export')}"
    )


def score(
    probabilities: Probabilities, labels: Labels, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """Compute the scores on the test images.

    Args:
        probabilities: (n, classes) float32, rows that sum to 1.
        labels: (n,) class ids.
        class_names: by class id.
    """
    predicted = probabilities.argmax(axis=1)
    class_ids = list(range(len(class_names)))
    rows = classification_report(
        labels, predicted, labels=class_ids, output_dict=True, zero_division=0
    )
    confidence, right = probabilities.max(axis=1), predicted == labels
    return {
        "test": {
            "images": len(labels),
            "accuracy": float(right.mean()),
            "loss": cross_entropy(probabilities, labels),
        },
        "classes": {
            name: {
                "precision": rows[str(class_id)]["precision"],
                "recall": rows[str(class_id)]["recall"],
                "f1": rows[str(class_id)]["f1-score"],
                "support": int(rows[str(class_id)]["support"]),
            }
            for class_id, name in enumerate(class_names)
        },
        "confusion_matrix": confusion_matrix(labels, predicted, labels=class_ids).tolist(),
        "calibration": {
            "bins": CALIBRATION_BINS,
            "expected_calibration_error": expected_calibration_error(
                confidence, right, CALIBRATION_BINS
            ),
        },
    }


def cross_entropy(probabilities: Probabilities, labels: Labels) -> float:
    """Compute the mean of −log p(true class) in float64, in which the rows sum to 1 exactly."""
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    return float(log_loss(labels, exact, labels=range(exact.shape[1])))


def score_photographs(probabilities: Probabilities, photographs: Photographs) -> dict[str, Any]:
    """Compute how often the network is right about each kind it has a class for, and how sure.

    Args:
        probabilities: (n, classes) float32.
        photographs: those n, by people whose photographs the network has not learnt from.
    """
    predicted = probabilities.argmax(axis=1)
    is_right = photographs.classes[np.arange(len(predicted)), predicted] > 0
    kinds = {kind: float(is_right[photographs.label == kind].mean()) for kind in KINDS}
    # A label such as shoes allows three classes, and does not tell which one is right.
    is_known = photographs.classes.sum(axis=1) == 1
    return {
        "images": int(np.isin(photographs.label, KINDS).sum()),
        "macro_average": float(np.mean(list(kinds.values()))),
        "kinds": kinds,
        "expected_calibration_error": expected_calibration_error(
            probabilities[is_known].max(axis=1), is_right[is_known], CALIBRATION_BINS
        ),
    }


def measure_novelty(
    assessor: Any,
    validation: Labelled,
    test: Labelled,
    photographs: Photographs | None,
    seed: int,
) -> dict[str, Any]:
    """Find the thresholds on the validation images, and measure how well novelty is told.

    Args:
        assessor: the network with its score.
        validation: images to take the threshold and the percentiles from.
        test: images to compare outliers with.
        photographs: those to take the threshold for photographs from.
        seed: of the noise.
    """
    known = {"images": assess(assessor, validation.images)}
    compared = {"test images": assess(assessor, test.images)}
    outliers = {
        name: (compared["test images"], assess(assessor, images))
        for name, images in make_outliers(test.images, seed).items()
    }
    if photographs:
        answers = assess(assessor, to_inputs(photographs.pixels))
        has_class = photographs.has_class
        known["photographs"] = answers.of(has_class)
        kinds = ", ".join(sorted({str(label) for label in photographs.label[~has_class]})).lower()
        outliers[f"photographs of {kinds}"] = (
            known["photographs"],
            answers.of(~has_class),
        )
    thresholds = {name: find_threshold(answer.novelty) for name, answer in known.items()}

    def threshold_of(name: str) -> float:
        return thresholds["photographs" if name.startswith("photographs") else "images"]

    return {
        "threshold": thresholds["images"],
        "thresholds": thresholds,
        "percentiles": {name: find_percentiles(answer.novelty) for name, answer in known.items()},
        "of_percentiles": list(PERCENTILES),
        "false_alarms": {
            "validation": FALSE_ALARMS,
            "test": float(np.mean(compared["test images"].novelty > thresholds["images"])),
        },
        "outliers": {
            name: {
                "images": len(answer.novelty),
                "auroc": area_under_roc(usual.novelty, answer.novelty),
                "auroc_of_confidence": area_under_roc(
                    -usual.probabilities.max(axis=1), -answer.probabilities.max(axis=1)
                ),
                "detected": float(np.mean(answer.novelty > threshold_of(name))),
            }
            for name, (usual, answer) in outliers.items()
        },
    }
