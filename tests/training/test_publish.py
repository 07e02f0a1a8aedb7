"""Models made elsewhere, published and served."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from service.model.repository import load_classifier
from tests.service.conftest import ENGINES
from tests.training.conftest import TINY_DATA
from training.__main__ import main

Model = Any


def lesson() -> Model:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(4, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax"),
        ]
    )


def everything() -> Model:
    """Grey values in, logits out, and the kinds of layers of later lessons."""
    images = keras.Input((32, 24, 1))
    x = layers.Rescaling(1 / 255)(images)
    x = layers.RandomFlip("horizontal")(x)
    x = layers.Conv2D(4, 3, use_bias=False)(x)
    y = layers.Conv2D(4, 3, padding="same")(x)
    y = layers.BatchNormalization()(y)
    y = layers.DepthwiseConv2D(3, padding="same")(layers.ReLU()(y))
    x = layers.SeparableConv2D(6, 3, strides=2, activation="elu")(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(layers.AveragePooling2D(2)(x))
    return keras.Model(images, layers.Dense(3)(x))


def flat() -> Model:
    return keras.Sequential([keras.Input((64,)), layers.Dense(5), layers.Softmax()])


def publish(model: Model, folder: Path, *options: str, suffix: str = ".keras") -> Path:
    path = folder / f"model{suffix}"
    model.save(path)
    artifacts = folder / "artifacts"
    assert main(["publish", str(path), f"--artifacts={artifacts}", *options]) == 0
    return artifacts / "1"


@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
@pytest.mark.parametrize(
    ("make", "suffix", "options", "scale"),
    [
        (lesson, ".h5", [*TINY_DATA, "--novelty"], 255),
        (everything, ".keras", ["--class-names=a", "--class-names=b", "--class-names=c"], 1),
        (flat, ".keras", [], 255),
    ],
)
def test_a_model_is_served_as_keras_runs_it(
    tmp_path: Path,
    make: Callable[[], Model],
    suffix: str,
    options: list[str],
    scale: float,
) -> None:
    keras.utils.set_random_seed(1)
    model = make()
    version = publish(model, tmp_path, *options, suffix=suffix)
    for engine in ENGINES:
        classifier = load_classifier(version, engine)
        manifest = classifier.manifest
        names = {lesson: "T-shirt/top", everything: "a", flat: "0"}
        assert manifest.class_names[0] == names[make]
        assert manifest.input.scale == scale
        assert (manifest.novelty is not None) == ("--novelty" in options)
        size = manifest.input.size
        grey = np.random.default_rng(0).integers(0, 256, (9, *size)).astype(np.uint8)
        images = classifier.to_images(list(grey))
        given = images.reshape(-1, *model.input_shape[1:])
        expected = keras.ops.convert_to_numpy(model(given, training=False))
        if make is everything:
            expected = keras.ops.convert_to_numpy(keras.ops.softmax(expected))
        answers = classifier.assess(images).probabilities
        assert np.allclose(answers, expected, atol=0.02 if engine == "litert" else 1e-4)
        for layer in manifest.layers:
            if classifier.has_weights(layer):
                kernel, bias = classifier.weights(layer)
                original: list[Any] = model.get_layer(layer.name).get_weights()
                assert np.allclose(kernel, original[0], atol=1e-6)
                assert np.allclose(bias, original[1] if len(original) > 1 else 0, atol=1e-6)
        known = {layer.type for layer in manifest.layers if classifier.has_weights(layer)}
        assert known == {lesson: {"Conv2D", "Dense"}, everything: set(), flat: {"Dense"}}[make]


def test_what_cannot_be_served_is_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    colour, grey = keras.Input((8, 8, 3)), keras.Input((8, 8, 1))

    def dense(images: Any, **options: Any) -> Any:
        return layers.Dense(10, **options)(layers.Flatten()(images))

    twice = layers.Lambda(lambda x: x * 2, name="twice", output_shape=(8, 8, 1))
    refused = {
        "takes colour images, (8, 8, 3)": keras.Model(colour, dense(colour)),
        "has 2 inputs and 1 outputs": keras.Model([colour, grey], dense(grey)),
        "say so with --from-logits": keras.Model(grey, dense(grey, activation="relu")),
        "at least two classes": keras.Model(grey, layers.Dense(1)(layers.Flatten()(grey))),
        "layer twice is a Lambda, whose code is not run": keras.Model(grey, dense(twice(grey))),
    }
    for sentence, model in refused.items():
        path = tmp_path / "model.keras"
        model.save(path)
        assert main(["publish", str(path), f"--artifacts={tmp_path / 'none'}"]) == 1
        assert sentence in capfd.readouterr().err
    path.write_bytes(b"no model")
    for wrong, sentence in ((path, "is not a Keras model"), (tmp_path, "is a SavedModel")):
        assert main(["publish", str(wrong), f"--artifacts={tmp_path / 'none'}"]) == 1
        assert sentence in capfd.readouterr().err
    assert not (tmp_path / "none").exists()
