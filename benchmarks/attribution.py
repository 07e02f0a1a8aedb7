"""How faithful `/explain` is: deletion and insertion curves, compared with Grad-CAM and gradients.

    python -m benchmarks.attribution

Pixels of test images are deleted, or inserted into an empty image, in the order of importance that
a method gives them. A method is better if deletion leaves a lower mean probability of the class and
insertion reaches a higher one (Petsiuk et al. 2018, https://arxiv.org/abs/1806.07421). Empty means
black, or the blurred image.
"""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from service.arrays import Tensor
from service.capacity.admission import Admission
from service.model.artifact import verify
from service.model.classifier import Classifier
from service.model.occlusion import explain_each
from service.model.repository import load_engine
from service.model.store import Directory
from service.telemetry.record import RequestRecord

ROOT = Path(__file__).parent.parent
ARTIFACTS = ROOT / "artifacts/fashion_mnist"
IMAGES = 150
STEP = 28  # pixels deleted or inserted at a time
BLUR = 9  # pixels of a side


def main() -> None:
    """Print the area under the four curves for each method."""
    artifact = verify(ARTIFACTS / str(Directory(ARTIFACTS).versions()[0]))
    classifier = Classifier(artifact, load_engine(artifact, "litert"))
    data = gzip.decompress((ROOT / "tests/data/test-1000-images-idx3-ubyte.gz").read_bytes())
    images = classifier.to_images(
        list(np.frombuffer(data, np.uint8, offset=16).reshape(-1, 28, 28))
    )
    images = images[:IMAGES]
    classes = classifier.assess(images).probabilities.argmax(axis=1)
    methods: dict[str, Callable[[], Tensor]] = {
        "random": lambda: np.random.default_rng(0).random(images.shape[:3], np.float32),
        "Grad-CAM": lambda: _gradients(classifier, images, classes)[0],
        "gradient × activation": lambda: _gradients(classifier, images, classes)[1],
        "/explain": lambda: _explain(classifier, images),
    }
    print(f"{'':24}deletion insertion deletion insertion   (black, blurred)")
    for name, method in methods.items():
        areas = _areas(classifier, images, classes, method())
        print(f"{name:24}" + "".join(f"{area:9.3f}" for area in areas))


def _explain(classifier: Classifier, images: Tensor) -> Tensor:
    heats = []
    for image in images:
        admission = Admission(max_images=1000, max_bytes=0)
        permit = admission.admit(RequestRecord(""))
        heats.append(explain_each(image[None], classifier, permit)[0]["heat"])
    return np.stack(heats)


def _gradients(classifier: Classifier, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return Grad-CAM, and its variant that weights each position by its own gradient.

    Both use the last convolution of the default architecture: convolution and pooling twice, then
    two dense layers.
    """
    learned = [
        classifier.weights(layer) for layer in classifier.manifest.layers if layer.parameters
    ]
    first, second, hidden, last = learned
    pooled = _pool(tf.nn.relu(tf.nn.conv2d(images, first.kernel, 1, "SAME") + first.bias))
    maps = tf.nn.relu(tf.nn.conv2d(pooled, second.kernel, 1, "SAME") + second.bias)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        units = tf.reshape(_pool(maps), (len(images), -1))
        units = tf.nn.relu(units @ hidden.kernel + hidden.bias)
        logits = tf.gather(units @ last.kernel + last.bias, classes, batch_dims=1)
    gradients = tape.gradient(logits, maps)
    means = tf.reduce_mean(gradients, (1, 2), keepdims=True)
    return tuple(  # type: ignore[return-value]  # two
        _enlarge(
            tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)).numpy(),
            (images.shape[1], images.shape[2]),
        )
        for weights in (means, gradients)
    )


def _pool(maps: tf.Tensor) -> tf.Tensor:
    return tf.nn.max_pool2d(maps, 2, 2, "VALID")


def _enlarge(heats: Tensor, size: tuple[int, int]) -> Tensor:
    enlarged = [
        Image.fromarray(heat).resize(size[::-1], Image.Resampling.BILINEAR) for heat in heats
    ]
    return np.stack([np.asarray(image) for image in enlarged])


def _areas(classifier: Classifier, images: Tensor, classes: Tensor, heats: Tensor) -> list[float]:
    """Return the areas under deletion and insertion, with black and with the blurred image."""
    order = np.argsort(-heats.reshape(len(heats), -1), axis=1, kind="stable")
    rows = np.arange(len(images))
    flat = images.reshape(len(images), -1)
    areas = []
    for baseline in (np.zeros_like(flat), _blurred(images).reshape(flat.shape)):
        for before, after in ((flat, baseline), (baseline, flat)):
            shares = []
            for count in range(0, flat.shape[1] + 1, STEP):
                changed, chosen = before.copy(), order[:, :count]
                changed[rows[:, None], chosen] = after[rows[:, None], chosen]
                assessment = classifier.assess(changed.reshape(images.shape))
                shares.append(assessment.probabilities[rows, classes].mean())
            areas.append(float(np.mean(shares)))
    return areas


def _blurred(images: Tensor) -> Tensor:
    reach = BLUR // 2
    padded = np.pad(images[..., 0], ((0, 0), (reach, reach), (reach, reach)), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (BLUR, BLUR), (1, 2))
    blurred: Tensor = windows.mean((-1, -2))
    return blurred


if __name__ == "__main__":
    main()
