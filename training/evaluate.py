"""Measure the best checkpoint of a run on the test images."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from training.architecture import build_network
from training.calibration import PREDICT_BATCH, calibrate
from training.config import EvaluateSettings
from training.data import CLASS_NAMES, FashionMnist, Labels, load_fashion_mnist
from training.normalization import build_normalized, fold_normalization
from training.novelty import Assessor, extract_features, find_threshold, fit_detector
from training.outliers import measure_novelty
from training.photographs import measure_photographs, read_photographs
from training.recipe import Recipe, TeacherRecipe
from training.report import draw_report
from training.run import Run
from training.teacher import build_teacher
from training.teaching import Teaching

CALIBRATION_BINS = 15

Probabilities = npt.NDArray[np.float32]


def run(settings: EvaluateSettings) -> None:
    """Score the run in `settings.run_dir`: numbers into evaluation.json, pictures into report/.

    Raises:
        DataError: the data set, or the file of photographs, is missing or damaged.
        RunError: there is no finished run, or it was trained with other data.
    """
    data = load_fashion_mnist(settings.data_dir, settings.allow_other_data)
    photographs = read_photographs(settings.photographs) if settings.photographs else None
    finished_run = Run(settings.run_dir)
    finished_run.require_finished(data)
    recipe, _ = finished_run.read_about()
    fit = recipe.fit
    model = load_network(finished_run, recipe)
    training, validation = data.split(fit)
    temperature = 1.0
    if fit.calibrate:
        temperature = calibrate(model, validation, mirrored=recipe.augmentation.flip)
    model.save(finished_run.model)
    test = data.test()
    print(f"Evaluating on {len(test.labels):,} test images from {data.folder}")
    probabilities = model.predict(test.images, batch_size=PREDICT_BATCH, verbose=0)
    scores = score(probabilities, test.labels)
    scores["calibration"]["temperature"] = temperature
    if recipe.distillation:
        folder = settings.teachers_dir or finished_run.teachers
        teachers = [Teaching(folder, teacher, recipe.fit) for teacher in recipe.teachers]
        scores["teachers"] = score_teachers(teachers, data)
    draw_report(finished_run, model, test, probabilities)
    print("Measuring what the network does not know")
    detector = fit_detector(extract_features(model, training.images), training.labels)
    threshold = find_threshold(detector, extract_features(model, validation.images))
    assessor = Assessor(model, detector, threshold)
    known = assessor.assess(test.images)
    scores["novelty"] = measure_novelty(
        assessor, test.images, known, seed=fit.seed, report=finished_run.report
    )
    if photographs:
        scores["photographs"] = measure_photographs(
            assessor, photographs, known, finished_run.report
        )
    detector.save(finished_run.novelty)
    finished_run.write_evaluation(scores)
    print(
        f"Test accuracy {scores['test']['accuracy']:.4f}, loss {scores['test']['loss']:.4f}; "
        f"pictures in {finished_run.report}. Next: python -m training export"
    )


def load_network(finished_run: Run, recipe: Recipe) -> Any:
    """Return the network of the checkpoint, in float32, whatever it was trained in."""
    if not recipe.fit.batch_normalization:
        model = build_network(recipe.network)
        model.load_weights(finished_run.checkpoint)
        return model
    normalized = build_normalized(recipe.network)
    normalized.load_weights(finished_run.checkpoint)
    return fold_normalization(normalized, recipe.network)


def score_teachers(teachers: Sequence[Teaching], data: FashionMnist) -> dict[str, Any]:
    """Measure the teachers on the test images: the accuracy their student cannot be asked for.

    Raises:
        RunError: one is missing or unfinished, or was trained with other data.
    """
    for teaching in teachers:
        teaching.run.require_finished(data, TeacherRecipe)
    labels = data.test_labels
    answers = [teaching.answer_test(data) for teaching in teachers]
    return {
        "parameters": build_teacher(teachers[0].recipe.width).count_params(),
        "accuracies": [accuracy(each, labels) for each in answers],
        "accuracy": accuracy(np.mean(answers, axis=0), labels),
    }


def score(probabilities: Probabilities, labels: Labels) -> dict[str, Any]:
    """Compute every score of the manifest but the engines' parity.

    Args:
        probabilities: (n, 10) float32, rows that sum to 1.
        labels: (n,) uint8 in 0…9.
    """
    predicted = probabilities.argmax(axis=1)
    classes = list(range(len(CLASS_NAMES)))
    columns = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    return {
        "test": {
            "images": len(labels),
            "accuracy": accuracy(probabilities, labels),
            "loss": cross_entropy(probabilities, labels),
        },
        "classes": {
            name: {
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "support": int(support),
            }
            for name, precision, recall, f1, support in zip(CLASS_NAMES, *columns, strict=True)
        },
        "confusion_matrix": confusion_matrix(labels, predicted, labels=classes).tolist(),
        "calibration": {
            "bins": CALIBRATION_BINS,
            "expected_calibration_error": expected_calibration_error(probabilities, labels),
        },
    }


def accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Compute how often the most probable class, of (n, 10), is the true one, of (n,)."""
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def cross_entropy(probabilities: Probabilities, labels: Labels) -> float:
    """Compute the mean of −log p(true class), with p kept off 0 as Keras keeps it."""
    of_true_class = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(of_true_class, keras.config.epsilon())).mean())


def expected_calibration_error(
    probabilities: Probabilities, labels: Labels, bins: int = CALIBRATION_BINS
) -> float:
    """Compute how far confidence is from accuracy, on average over the images.

    Args:
        probabilities: (n, 10) float32.
        labels: (n,) uint8 in 0…9.
        bins: number of equally wide bins of confidence, each open below and closed above.

    Returns:
        Σ over the bins of (its share of the images) · |its accuracy − its mean confidence|.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    gaps = np.bincount(
        np.digitize(confidence, inner_edges, right=True), weights=correct - confidence
    )
    return float(np.abs(gaps).sum() / len(labels))
