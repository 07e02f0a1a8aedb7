"""MODEL_CARD.md: the model for people, every figure from the manifest."""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .recipe import Recipe

FASHION_MNIST = "Fashion-MNIST"
SMALL_NOTE = "28×28 greyscale pictures of ten kinds of clothing, by Zalando Research"

FRONT = """\
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
- name: {name}
  results:
  - task:
      type: image-classification
    dataset:
      type: {data_type}
      name: {data_set}
      split: test
    metrics:
    - type: accuracy
      value: {accuracy:.4f}
---

# {name}, version {version}
"""

MODEL = """
## Model description

A convolutional network that says which of {count} classes a {height}×{width} greyscale image \
shows: {classes}. {total:,} parameters.

```
{summary}```
"""

USES = """
## Intended uses and limits

For teaching, for trying out model servers, and as a baseline. It names one of its classes for \
any image, {limits}. What its confidence means on other images, the novelty score says where \
there is one. It must not be used to decide about people.

## How to use

Input `{input}`: float32, (n, {height}, {width}, 1), grey values divided by {scale:g}.

```python
import tensorflow as tf

model = tf.saved_model.load("artifacts/{name}/{version}")
images = tf.zeros((1, {height}, {width}, 1))
probabilities = model.signatures["serving_default"]({input}=images)["probabilities"]
layers = model.signatures["feature_maps"]({input}=images)
```

Or over HTTP: `python -m service --artifacts artifacts/{name}`. `model.tflite` holds the same \
signatures for LiteRT{int8_note}.
"""

DATA = """
## Training data

{data_set}{data_note}. sha256 of the decompressed files:

{digests}
{photographs}"""

PHOTOGRAPHS_LEARNT = """
And photographs that people took at home, prepared as the service prepares them, from the \
[clothing dataset](https://github.com/alexeygrigorev/clothing-dataset) (CC0 1.0); the people of \
the validation photographs are others than those of the training photographs.
"""

TRAINING = """
## Training procedure

The settings that are not at their defaults; `python -m training fit --help` explains each.

```toml
{settings}
```

It took {epochs} epochs; the weights of epoch {kept_epoch} were kept (validation accuracy \
{validation_accuracy:.4f}).
{picture}"""

EVALUATION = """
## Evaluation

On {images:,} test images: accuracy {accuracy:.4f}, loss {loss:.4f}, expected calibration error \
{calibration:.4f} ({bins} bins{calibrated}).

| class | precision | recall | F1 | images |
| --- | --- | --- | --- | --- |
{table}
{pictures}
The flatbuffers beside Keras, on the same images:

| flatbuffer | accuracy | same label | largest difference of a probability | shipped |
| --- | --- | --- | --- | --- |
{parity}
"""

PHOTOGRAPHS = """
### Photographs

On {images:,} photographs of people whose photographs it has not learnt from, averaged over \
{count} kinds, the network is right on {macro:.1%} ({kinds}); its expected calibration error on \
photographs whose label leaves only one class right, so not on shoes, is {calibration:.3f}.
{picture}"""

NOVELTY = """
### Novelty

Beside the probabilities the network gives their entropy as a score of how unlike the training \
data an image is: 0 where one class is certain, {highest:.2f} where all are alike. {thresholds} \
The area under the ROC curve, and beside it that of the highest probability alone:

| images | number | AUROC of the novelty | AUROC of the confidence | above the threshold |
| --- | --- | --- | --- | --- |
{outliers}
"""

EXPERIMENT = """
### {title}

{words} (`python -m benchmarks.recipes {command}`):

| {columns} |
| {rules} |
{rows}
"""


def write_model_card(path: Path, manifest: dict[str, Any], *, has_report: bool) -> None:
    """Write the card of a version from its manifest."""
    path.write_text(render(manifest, has_report=has_report), encoding="utf-8")


def render(manifest: dict[str, Any], *, has_report: bool = True) -> str:
    """Return the card as Markdown behind the YAML front matter that Hugging Face reads."""
    scores = manifest["scores"]
    parts = [_model(manifest), *_data_and_training(manifest, has_report)]
    if "test" in scores:
        parts.append(_evaluation(scores, has_report))
    if photographs := scores.get("photographs"):
        parts.append(_photographs(photographs, has_report))
    if novelty := scores.get("novelty"):
        parts.append(_novelty(novelty, len(manifest["class_names"])))
    parts += _experiments(scores)
    libraries = "\n".join(f"- {name} {value}" for name, value in manifest["libraries"].items())
    return "".join([*parts, f"\n## Environment\n\n{libraries}\n"])


def _model(manifest: dict[str, Any]) -> str:
    scores, name = manifest["scores"], manifest["name"]
    height, width, _ = manifest["input"]["shape"]
    data_set = manifest.get("data_set", {}).get("name", "unknown")
    is_known = data_set == FASHION_MNIST
    limits = "also for what is none of them"
    if "photographs" in scores:
        limits += (
            ", and on photographs it expects one garment, seen from the front, on a ground that "
            "can be told from it"
        )
    shared = {
        "name": name,
        "version": manifest["version"],
        "height": height,
        "width": width,
    }
    int8_note = ", `model.int8.tflite` those of predictions with int8 weights"
    return (
        FRONT.format(
            data_tags="datasets:\n- fashion_mnist\n" if is_known else "",
            data_type="fashion_mnist" if is_known else "other",
            data_set=data_set,
            accuracy=scores.get("test", {}).get("accuracy", float("nan")),
            **shared,
        )
        + MODEL.format(
            count=len(manifest["class_names"]),
            classes=", ".join(manifest["class_names"]),
            total=manifest["parameters"]["total"],
            summary=manifest["summary"],
            **shared,
        )
        + USES.format(
            limits=limits,
            input=manifest["input"]["name"],
            scale=manifest["input"]["scale"],
            int8_note=int8_note if scores["parity"]["int8"]["shipped"] else "",
            **shared,
        )
    )


def _data_and_training(manifest: dict[str, Any], has_report: bool) -> Iterator[str]:
    if "data_set" not in manifest:
        return
    data_set, training = manifest["data_set"], manifest["training"]
    configuration = training["configuration"]
    yield DATA.format(
        data_set=data_set["name"],
        data_note=f": {SMALL_NOTE}" if data_set["name"] == FASHION_MNIST else "",
        digests="\n".join(f"- `{name}`: `{digest}`" for name, digest in data_set["sha256"].items()),
        photographs=PHOTOGRAPHS_LEARNT if configuration["photographs"]["share"] else "",
    )
    settings = _differences(Recipe().model_dump(mode="json"), configuration)
    yield TRAINING.format(
        settings="\n".join(settings) or "# all at their defaults",
        picture="\n![Training curves](report/training_curves.png)\n" if has_report else "",
        **training,
    )


def _differences(defaults: Any, settings: Any, name: str = "") -> Iterator[str]:
    """Yield each setting that is not at its default, as TOML writes it."""
    if isinstance(defaults, dict):
        for key, value in settings.items():
            yield from _differences(defaults.get(key), value, f"{name}.{key}" if name else key)
    elif settings != defaults:
        yield f"{name} = {json.dumps(settings)}"


def _evaluation(scores: dict[str, Any], has_report: bool) -> str:
    temperature = scores["calibration"].get("temperature", 1.0)
    pictures = (
        "\n![Confusion matrix](report/confusion_matrix.png)\n"
        "\n![Reliability](report/reliability.png)\n"
        "\n![The surest mistakes](report/surest_mistakes.png)\n"
    )
    return EVALUATION.format(
        images=scores["test"]["images"],
        accuracy=scores["test"]["accuracy"],
        loss=scores["test"]["loss"],
        calibration=scores["calibration"]["expected_calibration_error"],
        bins=scores["calibration"]["bins"],
        calibrated=f", temperature {temperature:.3f}" if temperature != 1 else "",
        table=_rows(
            [name, *(f"{row[key]:.3f}" for key in ("precision", "recall", "f1")), row["support"]]
            for name, row in scores["classes"].items()
        ),
        pictures=pictures if has_report else "",
        parity=_rows(
            [
                name,
                f"{row['accuracy']:.4f}",
                f"{row['label_agreement']:.2%}",
                f"{row['max_probability_difference']:.1e}",
                "yes" if row["shipped"] else "no",
            ]
            for name, row in scores["parity"].items()
            if name != "images"
        ),
    )


def _photographs(scores: dict[str, Any], has_report: bool) -> str:
    return PHOTOGRAPHS.format(
        images=scores["images"],
        count=len(scores["kinds"]),
        macro=scores["macro_average"],
        kinds=", ".join(f"{kind} {share:.0%}" for kind, share in scores["kinds"].items()),
        calibration=scores["expected_calibration_error"],
        picture="\n![As the network sees them](report/photographs.png)\n" if has_report else "",
    )


def _novelty(novelty: dict[str, Any], classes: int) -> str:
    alarms = novelty["false_alarms"]
    words = "; ".join(f"{value:.2f} for {name}" for name, value in novelty["thresholds"].items())
    return NOVELTY.format(
        highest=math.log(classes),
        thresholds=(
            f"{alarms['validation']:.0%} of the validation images of a kind lie above its "
            f"threshold ({words}), and {alarms['test']:.1%} of the test images above that for "
            "images."
        ),
        outliers=_rows(
            [
                name,
                f"{row['images']:,}",
                f"{row['auroc']:.3f}",
                f"{row['auroc_of_confidence']:.3f}",
                f"{row['detected']:.1%}",
            ]
            for name, row in novelty["outliers"].items()
        ),
    )


def _experiments(scores: dict[str, Any]) -> Iterator[str]:
    """Yield what was measured of the recipe beyond this run, as far as it was."""
    if ablation := scores.get("ablation"):
        measures = list(ablation["steps"][0]["measures"])
        yield EXPERIMENT.format(
            title="Ingredients",
            words=f"The recipe without each ingredient, {ablation['epochs']} epochs with seed "
            f"{ablation['seed']}, on the validation data",
            command="ablation",
            columns=" | ".join(["recipe", *measures]),
            rules=" | ".join(["---"] * (1 + len(measures))),
            rows=_rows(
                [step["name"], *(f"{value:.4f}" for value in step["measures"].values())]
                for step in ablation["steps"]
            ),
        )
    if seeds := scores.get("seeds"):
        yield EXPERIMENT.format(
            title="Seeds",
            words=f"The whole recipe with {len(seeds['seeds'])} seeds "
            f"({', '.join(map(str, seeds['seeds']))}); the first is the one published",
            command="seeds",
            columns="measure | mean | standard deviation",
            rules="--- | --- | ---",
            rows=_rows(
                [name, f"{row['mean']:.4f}", f"{row['standard_deviation']:.4f}"]
                for name, row in seeds["measures"].items()
            ),
        )


def _rows(rows: Iterable[list[Any]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
