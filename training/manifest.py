"""manifest.json: what the service needs to know of a version, and a digest of its every file."""

import hashlib
import importlib.metadata
import math
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.architecture import INPUT_NAME, INPUT_SHAPE, MODEL_NAME
from training.data import CLASS_NAMES, GREY_LEVELS
from training.run import Run, kept_epoch

FORMAT = 1
MANIFEST = Path("assets.extra") / "manifest.json"
LIBRARIES = ("tensorflow", "keras", "numpy", "ai-edge-litert")
SUMMARY_COLUMNS = 80

# What makes a layer what it is; the rest of Keras' configuration is defaults and bookkeeping.
SETTINGS_OF_A_LAYER = {
    "Conv2D": ("filters", "kernel_size", "strides", "padding", "activation"),
    "MaxPooling2D": ("pool_size", "strides", "padding"),
    "AveragePooling2D": ("pool_size", "strides", "padding"),
    "Flatten": (),
    "Dense": ("units", "activation"),
    "Dropout": ("rate",),
}


def describe(model: Any, finished_run: Run, version: int, scores: dict[str, Any]) -> dict[str, Any]:
    """Gather the manifest of a version, all but its files' digests.

    Args:
        model: the trained Keras model.
        finished_run: the run that trained it.
        version: the version to be published.
        scores: what evaluation and parity measured.
    """
    recipe, data_set = finished_run.read_about()
    history = finished_run.read_history()
    kept = kept_epoch(history, recipe.fit)
    return {
        "format": FORMAT,
        "name": MODEL_NAME,
        "version": version,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "class_names": list(CLASS_NAMES),
        "input": {
            "name": INPUT_NAME,
            "shape": list(INPUT_SHAPE),
            "dtype": "float32",
            "scale": GREY_LEVELS,
        },
        "layers": [describe_layer(layer) for layer in model.layers],
        "parameters": count_parameters(model),
        "summary": summarise(model),
        "novelty": {
            "score": "relative Mahalanobis distance",
            "layer": scores["novelty"]["layer"],
            "threshold": scores["novelty"]["threshold"],
        },
        "scores": scores,
        "training": {
            "configuration": recipe.model_dump(mode="json"),
            "seed": recipe.fit.seed,
            "epochs": len(history),
            "kept_epoch": kept + 1,
            "validation_accuracy": history[kept]["val_accuracy"],
        },
        "libraries": {
            "python": platform.python_version(),
            **{name: _library_version(name) for name in LIBRARIES},
        },
        "data_set": data_set,
    }


def describe_layer(layer: Any) -> dict[str, Any]:
    """Describe one layer: name, type, configuration, output shape of one image, parameters."""
    kind = type(layer).__name__
    configuration = layer.get_config()
    return {
        "name": layer.name,
        "type": kind,
        "configuration": {key: configuration[key] for key in SETTINGS_OF_A_LAYER[kind]},
        "output_shape": list(layer.output.shape[1:]),
        "parameters": layer.count_params(),
    }


def count_parameters(model: Any) -> dict[str, int]:
    """Count the weights of a model."""
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    total = model.count_params()
    return {"total": total, "trainable": trainable, "non_trainable": total - trainable}


def summarise(model: Any) -> str:
    """Return the table of `model.summary()` as plain text of at most 80 columns."""
    parts: list[str] = []
    model.summary(line_length=SUMMARY_COLUMNS, print_fn=lambda text, **_: parts.append(text))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(parts))
    return "\n".join(line.rstrip() for line in plain.splitlines()).strip("\n") + "\n"


def file_digests(folder: Path) -> dict[str, str]:
    """Compute the sha256 of every file below a folder, by its POSIX path; not the manifest's."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path != folder / MANIFEST
    }


def _library_version(name: str) -> str:
    # The wheel of TensorFlow without GPU code is a distribution of another name.
    names = importlib.metadata.packages_distributions().get(name, [name])
    return importlib.metadata.version(names[0])
