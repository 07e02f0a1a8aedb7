"""MODEL_CARD.md: the model for people, every figure from the manifest."""

import json
import math
from collections.abc import Iterable
from typing import Any

from .recipe import Recipe, differences

FASHION_MNIST = "Fashion-MNIST"

COMPARED = {
    "ablation": ("Ingredients", "The recipe without each ingredient"),
    "compromises": (
        "Compromises",
        "The recipe with other weights and lengths, by which images and photographs gain at each "
        "other's cost",
    ),
}
"""Experiments that compare recipes: their title, and what is compared."""


def render(manifest: dict[str, Any]) -> str:
    """Return the card as Markdown behind the YAML front matter that Hugging Face reads."""
    scores = manifest["scores"]
    parts = [_front_matter(manifest), _model(manifest), _uses(manifest)]
    if "data_set" in manifest:
        parts += [_data(manifest), _training(manifest["training"])]
    if "test" in scores:
        parts.append(_evaluation(scores))
    if "photographs" in scores:
        parts.append(_photographs(scores["photographs"]))
    if "novelty" in scores:
        parts.append(_novelty(scores["novelty"], len(manifest["class_names"])))
    parts += [_compared(name, scores[name]) for name in COMPARED if name in scores]
    if "seeds" in scores:
        parts.append(_seeds(scores["seeds"]))
    parts.append("## Environment\n")
    parts.append(_lines(f"- {name} {value}" for name, value in manifest["libraries"].items()))
    return "\n".join(parts)


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = list(columns)
    cells = [head, ["---"] * len(head), *rows]
    return _lines(f"| {' | '.join(map(str, row))} |" for row in cells)


def _front_matter(manifest: dict[str, Any]) -> str:
    data_set = manifest.get("data_set", {}).get("name", "unknown")
    is_known = data_set == FASHION_MNIST
    data_tags = "datasets:\n- fashion_mnist\n" if is_known else ""
    accuracy = manifest["scores"].get("test", {}).get("accuracy", math.nan)
    return f"""\
---
license: mit
library_name: keras
pipeline_tag: image-classification
tags:
- image-classification
- keras
- litert
{data_tags}metrics:
- accuracy
model-index:
- name: {manifest["name"]}
  results:
  - task:
      type: image-classification
    dataset:
      type: {"fashion_mnist" if is_known else "other"}
      name: {data_set}
      split: test
    metrics:
    - type: accuracy
      value: {accuracy:.4f}
---
"""


def _model(manifest: dict[str, Any]) -> str:
    height, width, _ = manifest["input"]["shape"]
    classes = manifest["class_names"]
    return f"""\
# {manifest["name"]}, version {manifest["version"]}

## Model description

A convolutional network that says which of {len(classes)} classes a {height}×{width} greyscale \
image shows: {", ".join(classes)}. {manifest["parameters"]["total"]:,} parameters.

```
{manifest["summary"]}```
"""


def _uses(manifest: dict[str, Any]) -> str:
    scores, name, given = manifest["scores"], manifest["name"], manifest["input"]
    height, width, _ = given["shape"]
    limits = "also for what is none of them"
    if "photographs" in scores:
        limits += (
            ", and on photographs it expects one garment, seen from the front, on a ground that "
            "can be told from it"
        )
    int8_note = ", `model.int8.tflite` those of predictions with int8 weights"
    return f"""\
## Intended uses and limits

For teaching, for trying out model servers, and as a baseline. It names one of its classes for \
any image, {limits}. What its confidence means on other images, the novelty score says where \
there is one. It must not be used to decide about people.

## How to use

Input `{given["name"]}`: float32, (n, {height}, {width}, 1), grey values divided by \
{given["scale"]:g}.

```python
import tensorflow as tf

model = tf.saved_model.load("artifacts/{name}/{manifest["version"]}")
images = tf.zeros((1, {height}, {width}, 1))
probabilities = model.signatures["serving_default"]({given["name"]}=images)["probabilities"]
layers = model.signatures["feature_maps"]({given["name"]}=images)
```

Or over HTTP: `python -m service --artifacts artifacts/{name}`. `model.tflite` holds the same \
signatures for LiteRT{int8_note if scores["parity"]["int8"]["shipped"] else ""}.
"""


def _data(manifest: dict[str, Any]) -> str:
    data_set = manifest["data_set"]
    digests = (f"- `{name}`: `{digest}`" for name, digest in data_set["sha256"].items())
    note = ""
    if data_set["name"] == FASHION_MNIST:
        note = ": 28×28 greyscale pictures of ten kinds of clothing, by Zalando Research"
    photographs = """
And photographs that people took at home, prepared as the service prepares them, from the \
[clothing dataset](https://github.com/alexeygrigorev/clothing-dataset) (CC0 1.0); the people of \
the validation photographs are others than those of the training photographs.
"""
    has_photographs = manifest["training"]["configuration"]["photographs"]["share"]
    return f"""\
## Training data

{data_set["name"]}{note}. sha256 of the decompressed files:

{_lines(digests)}{photographs if has_photographs else ""}"""


def _training(training: dict[str, Any]) -> str:
    changed = differences(Recipe().model_dump(mode="json"), training["configuration"])
    settings = [f"{name} = {json.dumps(value)}" for name, _, value in changed]
    return f"""\
## Training procedure

The settings that are not at their defaults; `python -m training fit --help` explains each.

```toml
{_lines(settings or ["# all at their defaults"])}```

It took {training["epochs"]} epochs; the weights of epoch {training["kept_epoch"]} were kept \
(validation accuracy {training["validation_accuracy"]:.4f}).

![Training curves](report/training_curves.png)
"""


def _evaluation(scores: dict[str, Any]) -> str:
    test, calibration = scores["test"], scores["calibration"]
    temperature = calibration.get("temperature", 1.0)
    calibrated = f", temperature {temperature:.3f}" if temperature != 1 else ""
    classes = (
        [name, *(f"{row[key]:.3f}" for key in ("precision", "recall", "f1")), row["support"]]
        for name, row in scores["classes"].items()
    )
    flatbuffers = (
        [
            name,
            f"{row['accuracy']:.4f}",
            f"{row['label_agreement']:.2%}",
            f"{row['max_probability_difference']:.1e}",
            "yes" if row["shipped"] else "no",
        ]
        for name, row in scores["parity"].items()
        if name != "images"
    )
    compared = ("flatbuffer", "accuracy", "same label", "largest difference of a probability")
    return f"""\
## Evaluation

On {test["images"]:,} test images: accuracy {test["accuracy"]:.4f}, loss {test["loss"]:.4f}, \
expected calibration error {calibration["expected_calibration_error"]:.4f} \
({calibration["bins"]} bins{calibrated}).

{_table(("class", "precision", "recall", "F1", "images"), classes)}
![Confusion matrix](report/confusion_matrix.png)

![Reliability](report/reliability.png)

![The surest mistakes](report/surest_mistakes.png)

The flatbuffers beside Keras, on the same images:

{_table((*compared, "shipped"), flatbuffers)}"""


def _photographs(scores: dict[str, Any]) -> str:
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in scores["kinds"].items())
    return f"""\
### Photographs

On {scores["images"]:,} photographs of people whose photographs it has not learnt from, averaged \
over {len(scores["kinds"])} kinds, the network is right on {scores["macro_average"]:.1%} \
({kinds}); its expected calibration error on photographs whose label leaves only one class right, \
so not on shoes, is {scores["expected_calibration_error"]:.3f}.

![As the network sees them](report/photographs.png)
"""


def _novelty(novelty: dict[str, Any], classes: int) -> str:
    alarms = novelty["false_alarms"]
    words = "; ".join(f"{value:.2f} for {name}" for name, value in novelty["thresholds"].items())
    columns = ("images", "number", "AUROC of the novelty", "AUROC of the confidence")
    outliers = (
        [
            name,
            f"{row['images']:,}",
            f"{row['auroc']:.3f}",
            f"{row['auroc_of_confidence']:.3f}",
            f"{row['detected']:.1%}",
        ]
        for name, row in novelty["outliers"].items()
    )
    return f"""\
### Novelty

Beside the probabilities the network gives their entropy as a score of how unlike the training \
data an image is: 0 where one class is certain, {math.log(classes):.2f} where all are alike. \
{alarms["validation"]:.0%} of the validation images of a kind lie above its threshold ({words}), \
and {alarms["test"]:.1%} of the test images above that for images. The area under the ROC curve, \
and beside it that of the highest probability alone:

{_table((*columns, "above the threshold"), outliers)}"""


def _compared(experiment: str, scores: dict[str, Any]) -> str:
    steps = scores["steps"]
    title, words = COMPARED[experiment]
    rows = (
        [step["name"], *(f"{value:.4f}" for value in step["measures"].values())] for step in steps
    )
    return f"""\
### {title}

{words}: {scores["epochs"]} epochs with seed {scores["seed"]} where nothing else is said, on the \
validation data (`python -m benchmarks.recipes {experiment}`):

{_table(("recipe", *steps[0]["measures"]), rows)}"""


def _seeds(seeds: dict[str, Any]) -> str:
    rows = (
        [name, f"{row['mean']:.4f}", f"{row['standard_deviation']:.4f}"]
        for name, row in seeds["measures"].items()
    )
    return f"""\
### Seeds

The whole recipe with {len(seeds["seeds"])} seeds ({", ".join(map(str, seeds["seeds"]))}); the \
first is the one published (`python -m benchmarks.recipes seeds`):

{_table(("measure", "mean", "standard deviation"), rows)}"""
