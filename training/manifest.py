"""manifest.json, with the digest of every file of a version, and the model card made from it."""

import hashlib
import importlib.metadata
import json
import math
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from jinja2 import StrictUndefined, Template

from .data import GREY_LEVELS
from .novelty import SCORE
from .recipe import Recipe, differences
from .run import Row, kept_epoch

FORMAT = 1
MANIFEST = Path("assets.extra") / "manifest.json"
SUMMARY_COLUMNS = 80

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")

# The rest of Keras' configuration is bookkeeping.
SETTINGS_OF_A_LAYER = (
    *("filters", "kernel_size", "depth_multiplier", "pool_size", "strides", "padding"),
    *("dilation_rate", "groups", "units", "activation", "use_bias", "rate", "scale", "offset"),
    *("epsilon", "axis", "negative_slope"),
)
LEFT_OUT = {"depth_multiplier": 1, "dilation_rate": (1, 1), "groups": 1, "use_bias": True}
"""Defaults that the manifest does not repeat."""


def describe(
    model: Any,
    version: int,
    *,
    class_names: Sequence[str],
    scores: dict[str, Any],
    scale: float = GREY_LEVELS,
    **training: Any,
) -> dict[str, Any]:
    """Gather the manifest of a version, all but its files' digests.

    The scores may be without novelty. `scale` is what grey values are divided by; `training` has
    the `training` and the `data_set`, where they are known.
    """
    inputs = model.inputs[0]
    parents = layer_inputs(model)
    novelty = scores.get("novelty")
    total = model.count_params()
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return {
        "format": FORMAT,
        "name": model.name,
        "version": version,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "class_names": list(class_names),
        "input": {
            "name": inputs.name,
            "shape": list(inputs.shape[1:]),
            "dtype": "float32",
            "scale": scale,
        },
        "layers": [
            {**describe_layer(layer), "inputs": parents[layer.name]}
            for layer in model.layers
            if layer.name in parents
        ],
        "parameters": {"total": total, "trainable": trainable, "non_trainable": total - trainable},
        "summary": summarise(model),
        "novelty": novelty
        and {
            "score": SCORE,
            "layer": model.layers[-1].name,
            "threshold": novelty["threshold"],
            "photo_threshold": novelty["thresholds"].get("photographs"),
            "percentiles": novelty["percentiles"],
        },
        "scores": scores,
        **training,
        "libraries": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "ai-edge-litert": importlib.metadata.version("ai-edge-litert"),
        },
    }


def describe_training(recipe: Recipe, history: list[Row]) -> dict[str, Any]:
    """Return the `training` of the manifest of a finished run."""
    kept = kept_epoch(history, recipe.fit)
    return {
        "configuration": recipe.model_dump(mode="json"),
        "seed": recipe.fit.seed,
        "epochs": len(history),
        "kept_epoch": kept + 1,
        "validation_accuracy": history[kept]["val_accuracy"],
    }


def describe_layer(layer: Any) -> dict[str, Any]:
    """Describe one layer: name, type, configuration, output shape of one image, parameters."""
    configuration = layer.get_config()
    return {
        "name": layer.name,
        "type": type(layer).__name__,
        "configuration": {
            key: configuration[key]
            for key in SETTINGS_OF_A_LAYER
            if key in configuration and (key, configuration[key]) not in LEFT_OUT.items()
        },
        "output_shape": list(layer.output.shape[1:]),
        "parameters": layer.count_params(),
    }


def layer_inputs(model: Any) -> dict[str, list[str]]:
    """Return the names of the layers that each layer takes the outputs of; the first takes none."""
    configuration = keras.Model(model.inputs, model.outputs).get_config()
    calls = {layer["name"]: layer["inbound_nodes"] for layer in configuration["layers"]}
    return {
        name: [parent for parent in _parents(nodes) if calls[parent]]
        for name, nodes in calls.items()
        if nodes  # An input has none.
    }


def _parents(call: Any) -> Iterator[str]:
    """Yield the layers of the tensors in a layer's serialised call, in their order."""
    if isinstance(call, dict) and "keras_history" in call:
        yield call["keras_history"][0]
    elif isinstance(call, dict | list | tuple):
        for value in call.values() if isinstance(call, dict) else call:
            yield from _parents(value)


def summarise(model: Any) -> str:
    """Return the table of `model.summary()` as plain text of at most 80 columns."""
    parts: list[str] = []
    model.summary(line_length=SUMMARY_COLUMNS, print_fn=lambda text, **_: parts.append(text))
    lines = "\n".join(parts).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"


def file_digests(folder: Path) -> dict[str, str]:
    """Compute the sha256 of every file below a folder, by its POSIX path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def render_model_card(manifest: dict[str, Any]) -> str:
    """Return the card as Markdown behind the YAML front matter that Hugging Face reads."""
    template: Template = Template(
        TEMPLATE.read_text(encoding="utf-8"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    return template.render(
        manifest=manifest,
        defaults=Recipe().model_dump(mode="json"),
        differences=differences,
        dumps=json.dumps,
        log=math.log,
    )
