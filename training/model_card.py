"""MODEL_CARD.md: the model for people, every figure from the run."""

from pathlib import Path
from typing import Any

TEMPLATE = """\
---
license: mit
library_name: keras
pipeline_tag: image-classification
tags:
- image-classification
- fashion-mnist
- keras
- litert
datasets:
- fashion_mnist
metrics:
- accuracy
model-index:
- name: {name}
  results:
  - task:
      type: image-classification
    dataset:
      type: fashion_mnist
      name: {data_set}
      split: test
    metrics:
    - type: accuracy
      value: {accuracy:.4f}
---

# {name}, version {version}

## Model description

A small convolutional network that says which of ten kinds of clothing a 28×28 greyscale picture \
shows: {classes}. {total:,} parameters.

```
{summary}```

![Feature maps of one test image](report/feature_maps.png)

## Intended uses and limits

For teaching, for trying out model servers, and as a baseline on Fashion-MNIST.

It was trained on product pictures only: one piece of clothing, centred, light on a dark \
background, 28×28 pixels, without colour{photo_note}. It has not seen photographs, people, several \
things in one picture, or anything outside its ten classes, and it has no answer "none of these": \
it names one of the ten for whatever it is given. Its confidence on such pictures means little. It \
must not be used to decide about people.

## How to use

Input `images`: float32, (n, 28, 28, 1), grey values divided by {scale}.

```python
import tensorflow as tf

model = tf.saved_model.load("artifacts/{name}/{version}")
images = tf.zeros((1, 28, 28, 1))
probabilities = model.signatures["serving_default"](images=images)["probabilities"]
layers = model.signatures["feature_maps"](images=images)
```

Or over HTTP: `python -m service --artifacts artifacts/{name}`. `model.tflite` holds the same two \
signatures for LiteRT{int8_note}.

## Training data

{data_set}: {training_note}. sha256 of the decompressed files:

{digests}

## Training procedure

{optimisation}, {batch_size} images a step. {augmentation} {validation:.0%} of the training images \
are held out for validation ({stratified}, seed {seed}). Training stops after {patience} epochs \
without a lower validation loss, at most {most_epochs}; it took {epochs}, and the weights of epoch \
{best_epoch} were kept (validation accuracy {validation_accuracy:.4f}).

![Training curves](report/training_curves.png)

## Evaluation

On {images:,} test images: accuracy {accuracy:.4f}, loss {loss:.4f}, expected calibration error \
{calibration:.4f} ({bins} bins{calibrated}).

| class | precision | recall | F1 | images |
| --- | --- | --- | --- | --- |
{table}

![Confusion matrix](report/confusion_matrix.png)

![Reliability](report/reliability.png)

![The surest mistakes](report/surest_mistakes.png)

The flatbuffers beside Keras, on the same images:

| flatbuffer | accuracy | same label | largest difference of a probability | shipped |
| --- | --- | --- | --- | --- |
{parity}

## Environment

{libraries}
"""


PHOTO_NOTE = """, and on the same pictures changed to look like photographs after preparation"""


def write_model_card(path: Path, manifest: dict[str, Any]) -> None:
    """Write the card of a version from its manifest."""
    path.write_text(render(manifest), encoding="utf-8")


def render(manifest: dict[str, Any]) -> str:
    """Return the card as Markdown behind the YAML front matter that Hugging Face reads."""
    scores, training = manifest["scores"], manifest["training"]
    fit = training["configuration"]["fit"]
    augmentation = training["configuration"]["augmentation"]
    temperature = scores["calibration"]["temperature"]
    int8_note = ", `model.int8.tflite` the first of them with int8 weights"
    return TEMPLATE.format(
        name=manifest["name"],
        version=manifest["version"],
        classes=", ".join(manifest["class_names"]),
        total=manifest["parameters"]["total"],
        summary=manifest["summary"],
        scale=manifest["input"]["scale"],
        int8_note=int8_note if scores["parity"]["int8"]["shipped"] else "",
        data_set=manifest["data_set"]["name"],
        training_note="28×28 greyscale pictures of ten kinds of clothing, by Zalando Research",
        digests="\n".join(
            f"- `{name}`: `{digest}`" for name, digest in manifest["data_set"]["sha256"].items()
        ),
        photo_note=PHOTO_NOTE if augmentation["photo_share"] else "",
        optimisation=_optimisation(fit),
        augmentation=_augmentation(augmentation),
        calibrated=f", calibrated with temperature {temperature:.3f}" if fit["calibrate"] else "",
        batch_size=fit["batch_size"],
        validation=fit["validation_fraction"],
        stratified="stratified by class" if fit["stratify"] else "not stratified",
        seed=fit["seed"],
        patience=fit["patience"],
        most_epochs=fit["epochs"],
        epochs=training["epochs"],
        best_epoch=training["best_epoch"],
        validation_accuracy=training["validation_accuracy"],
        images=scores["test"]["images"],
        accuracy=scores["test"]["accuracy"],
        loss=scores["test"]["loss"],
        calibration=scores["calibration"]["expected_calibration_error"],
        bins=scores["calibration"]["bins"],
        table="\n".join(_class_row(name, row) for name, row in scores["classes"].items()),
        parity="\n".join(_parity_row(name, scores["parity"][name]) for name in ("float32", "int8")),
        libraries="\n".join(f"- {name} {value}" for name, value in manifest["libraries"].items()),
    )


def _optimisation(fit: dict[str, Any]) -> str:
    """Return what the weights were fitted with."""
    optimizer = f"AdamW (weight decay {fit['weight_decay']})" if fit["weight_decay"] else "Adam"
    rate = f"learning rate {fit['learning_rate']}"
    if fit["schedule"] == "cosine":
        rate = f"{rate} at its highest, cosine schedule"
    smoothing = fit["label_smoothing"]
    loss = f"cross-entropy with label smoothing {smoothing}" if smoothing else "cross-entropy"
    return f"{optimizer}, {rate}, {loss}"


def _augmentation(augmentation: dict[str, Any]) -> str:
    """Return what was done to the training images, a sentence or nothing."""
    changes = []
    if augmentation["flip"]:
        changes.append("flipped")
    if augmentation["shift"]:
        changes.append(f"shifted by up to {augmentation['shift']} pixels")
    if augmentation["erase"]:
        changes.append(f"partly erased ({augmentation['erase']:.0%} of them)")
    sentence = f"Images are {', '.join(changes)} at random." if changes else ""
    if share := augmentation["photo_share"]:
        sentence += (
            f" {share:.0%} of each batch are instead warped, shaded and creased as photographs are "
            "after the service's preparation; no photograph was used."
        )
    return sentence.strip()


def _class_row(name: str, row: dict[str, Any]) -> str:
    figures = " | ".join(f"{row[key]:.3f}" for key in ("precision", "recall", "f1"))
    return f"| {name} | {figures} | {row['support']:,} |"


def _parity_row(name: str, row: dict[str, Any]) -> str:
    return (
        f"| {name} | {row['accuracy']:.4f} | {row['label_agreement']:.2%} | "
        f"{row['max_probability_difference']:.1e} | {'yes' if row['shipped'] else 'no'} |"
    )
