"""Calibrate the network of a run, and measure it on the test images and on photographs."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from . import report
from .batches import Probabilities, predict
from .config import EvaluateSettings
from .data import Labelled, Labels, to_inputs
from .novelty import measure_novelty
from .photographs import KINDS, Photographs, read_photographs
from .run import kept_epoch, open_finished, write_whole

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.1, 10.0


def run(settings: EvaluateSettings) -> None:
    """Score the run in `settings.run_dir`: numbers into evaluation.json, figures into report/."""
    finished_run, recipe, data = open_finished(settings)
    validation = data.select(data.split(recipe.fit)[1])
    photographs = read_photographs("validation") if recipe.photographs.share else None
    model = keras.models.load_model(finished_run.checkpoint(recipe.fit), compile=False)
    temperature = 1.0
    if recipe.fit.calibrate:
        temperature = calibrate(model, validation, mirrored=recipe.augmentation.flip)
    write_whole(finished_run.model, model.save)

    test = data.test()
    print(f"Evaluating on {len(test.labels):,} test images from {data.folder}")
    probabilities = predict(model, test.images)
    scores = score(probabilities, test.labels, data.class_names)
    scores["calibration"]["temperature"] = temperature
    history = finished_run.read_history()
    curves = report.draw_training_curves(history, kept_epoch(history, recipe.fit))
    report.save_figure(finished_run.report, "training_curves", curves)
    report.write_test_figures(finished_run.report, test, probabilities, data.class_names)
    if photographs:
        answers = predict(model, to_inputs(photographs.pixels))
        scores["photographs"] = score_photographs(answers, photographs)
        figure = report.draw_photographs(photographs, answers, data.class_names)
        report.save_figure(finished_run.report, "photographs", figure)

    print("Measuring the novelty score")
    scores["novelty"] = measure_novelty(
        model, validation.images, test.images, photographs, recipe.fit.seed
    )
    finished_run.write_evaluation(scores)
    print(
        f"Test accuracy {scores['test']['accuracy']:.4f}, loss {scores['test']['loss']:.4f}; "
        f"figures in {finished_run.report}. Next: {settings.next_command('export')}"
    )


def calibrate(model: Any, validation: Labelled, mirrored: bool) -> float:
    """Find the temperature on the validation images, fold it into the model and return it.

    Guo, Pleiss, Sun and Weinberger 2017, On Calibration of Modern Neural Networks,
    https://arxiv.org/abs/1706.04599: the logits are divided by one number, the temperature, that
    minimises the cross-entropy on validation images. Labels do not change. Mirror images make the
    estimate less noisy.
    """
    images, labels = validation
    if mirrored:
        images, labels = np.concatenate([images, images[:, :, ::-1]]), np.tile(labels, 2)
    temperature = find_temperature(predict(model, images), labels)
    last = model.layers[-1]  # which computes the logits
    last.set_weights([weights / temperature for weights in last.get_weights()])
    print(f"Temperature {temperature:.3f} from {len(validation.labels):,} validation images")
    return temperature


def find_temperature(probabilities: Probabilities, labels: Labels) -> float:
    """Find the temperature of the lowest cross-entropy: above 1 if the network is overconfident.

    The logarithms of a softmax's probabilities are its logits, up to a constant that it ignores.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))

    def loss_at(log_temperature: float) -> float:
        return cross_entropy(softmax(logits / np.exp(log_temperature), axis=1), labels)

    bounds = np.log([LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE])
    return float(np.exp(minimize_scalar(loss_at, bounds=tuple(bounds), method="bounded").x))


def score(
    probabilities: Probabilities, labels: Labels, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """Compute the scores of probabilities, (n, classes), for the labels, (n,), of test images."""
    predicted = probabilities.argmax(axis=1)
    class_ids = list(range(len(class_names)))
    measures = precision_recall_fscore_support(labels, predicted, labels=class_ids, zero_division=0)
    confidence, right = probabilities.max(axis=1), predicted == labels
    return {
        "test": {
            "images": len(labels),
            "accuracy": float(right.mean()),
            "loss": cross_entropy(probabilities, labels),
        },
        "classes": {
            name: {"precision": precision, "recall": recall, "f1": f1, "support": support}
            for name, precision, recall, f1, support in zip(
                class_names, *(measure.tolist() for measure in measures), strict=True
            )
        },
        "confusion_matrix": confusion_matrix(labels, predicted, labels=class_ids).tolist(),
        "calibration": {
            "bins": report.CALIBRATION_BINS,
            "expected_calibration_error": expected_calibration_error(confidence, right),
        },
    }


def cross_entropy(probabilities: npt.NDArray[Any], labels: Labels) -> float:
    """Compute the mean of −log p(true class) in float64, in which the rows sum to 1 exactly."""
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    return float(log_loss(labels, exact, labels=range(exact.shape[1])))


def score_photographs(probabilities: Probabilities, photographs: Photographs) -> dict[str, Any]:
    """Compute accuracy by kind, and calibration, from probabilities, (n, classes)."""
    predicted = probabilities.argmax(axis=1)
    is_right = photographs.classes[np.arange(len(predicted)), predicted] > 0
    kinds = {kind: float(is_right[photographs.label == kind].mean()) for kind in KINDS}
    # Without labels such as shoes, which allows three classes.
    is_known = photographs.classes.sum(axis=1) == 1
    return {
        "images": int(np.isin(photographs.label, KINDS).sum()),
        "macro_average": float(np.mean(list(kinds.values()))),
        "kinds": kinds,
        "expected_calibration_error": expected_calibration_error(
            probabilities[is_known].max(axis=1), is_right[is_known]
        ),
    }


def expected_calibration_error(confidence: Probabilities, right: npt.NDArray[np.bool_]) -> float:
    """Compute how far confidence is from accuracy, on average over n images.

    That is Σ (share of the images) · |accuracy − mean confidence| over equally wide bins of
    confidence. scikit-learn's calibration curve lacks the number of images in each bin.
    """
    inner_edges = np.linspace(0, 1, report.CALIBRATION_BINS + 1)[1:-1]
    place = np.digitize(confidence, inner_edges, right=True)
    gaps = np.bincount(place, weights=right - confidence.astype(np.float64))
    return float(np.abs(gaps).sum() / len(confidence))
