"""The text of the model card, for str.format."""

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
things in one picture, or anything outside its ten classes, and it names one of the ten for \
whatever it is given. What its confidence means on such pictures, the novelty score below says. It \
must not be used to decide about people.

## How to use

Input `images`: float32, (n, 28, 28, 1), grey values divided by {scale}.

```python
import tensorflow as tf

model = tf.saved_model.load("artifacts/{name}/{version}")
images = tf.zeros((1, 28, 28, 1))
probabilities = model.signatures["serving_default"](images=images)["probabilities"]
novelty = model.signatures["novelty"](images=images)["novelty"]  # (n,) float32
layers = model.signatures["feature_maps"](images=images)
```

Or over HTTP: `python -m service --artifacts artifacts/{name}`. `model.tflite` holds the same \
signatures for LiteRT{int8_note}.

## Training data

{data_set}: {training_note}. sha256 of the decompressed files:

{digests}

## Training procedure

{optimisation}, {batch_size} images a step, seed {seed}. {augmentation} {teachers}\
{validation:.0%} of the training images are held out for validation ({stratified}, seed \
{split_seed}). Training stops after {patience} epochs without a lower validation loss, at most \
{most_epochs}; it took {epochs}, and the weights of epoch {kept_epoch} were kept (validation \
accuracy {validation_accuracy:.4f}).

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

| flatbuffer | accuracy | same label | largest difference of a probability | same side of the \
novelty threshold | shipped |
| --- | --- | --- | --- | --- | --- |
{parity}

### Novelty

Beside the probabilities the network gives a score of how unlike the training images a picture is: \
the relative Mahalanobis distance ([Ren et al. 2021](https://arxiv.org/abs/2106.09022)) of the \
outputs of `{layer}`, in squared standard deviations within a class; any number, the higher the \
stranger. Above {threshold:.2f} a picture is called novel: {validation_alarms:.0%} of the \
validation images are, and {test_alarms:.1%} of the test images. The area under the ROC curve \
against the test images, and beside it that of the confidence alone:

| pictures | number | AUROC of the novelty | AUROC of the confidence | called novel |
| --- | --- | --- | --- | --- |
{outliers}

![Novelty of the test images and of pictures that are no clothes](report/novelty.png)
{photographs}{experiments}
## Environment

{libraries}
"""


PHOTOGRAPHS = """
### Photographs

{images:,} photographs taken at home, prepared by the service, are for measuring only: nothing was \
trained on them. Over {count} kinds the network is right on {macro:.1%} on average ({kinds}). \
{novel:.1%} of them are called novel.

![Photographs before and after preparation, with the answers](report/photographs.png)

The photographs are from [clothing-dataset-small]\
(https://github.com/alexeygrigorev/clothing-dataset-small) (CC0).
"""

TEACHERS = """\
The network learns from the answers of teachers, {labels:.0%} of the label mixed in: wide residual \
networks of {parameters:,} parameters, each trained for up to {epochs} epochs on all but one of \
{folds} folds of the training images{dealt}. An image is answered by the one that has not learnt \
from it, in {views} changed views{turns}, at temperature {temperature:g}. {more}The teachers are \
right on {alone} of the test images, and on {accuracy:.2%} by their mean answer. """

ABLATION = """
### Ingredients

Each added to those before it, {epochs} epochs with seed {seed}, compared on the validation images \
(`python -m benchmarks.recipes ablation --recipe {recipe}`):

| added | validation accuracy |
| --- | --- |
{rows}
"""

SEEDS = """
### Seeds

The whole recipe with {count} seeds ({seeds}), on the test images \
(`python -m benchmarks.recipes seeds --recipe {recipe}`); the first seed is the one published:

| measure | mean | standard deviation |
| --- | --- | --- |
{rows}
"""

PHOTO_NOTE = """, and on the same pictures changed to look like photographs after preparation"""
