"""Publishing of models made elsewhere, and their predictions in the service."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from service.model.classifier import Classifier
from service.model.repository import load_classifier
from tests.conftest import DATA
from tests.service.conftest import ENGINES
from tests.training.conftest import TINY_DATA
from training.__main__ import main
from training.config import PublishSettings
from training.publish import as_classifier, read_class_names

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


def many_layers(*, augmented: bool = True) -> Model:
    """Rescaling of grey values, many kinds of layers, and logits as output."""
    images = keras.Input((32, 24, 1))
    x = layers.Rescaling(1 / 255)(images)
    if augmented:
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


def compiled() -> Model:
    """Layers that LiteRT compiles to other operations in a SavedModel."""
    images = keras.Input((20, 20))
    x = layers.Rescaling(1 / 127.5, offset=-1)(layers.Reshape((20, 20, 1))(images))
    x = layers.Conv2D(4, 3, strides=2, activation="leaky_relu")(layers.ZeroPadding2D(2)(x))
    y = layers.MaxPooling2D(2, padding="same", strides=1)(x)
    x = layers.BatchNormalization()(layers.Concatenate()([x, y]))
    x = layers.Conv2D(8, 3, groups=2, activation="gelu")(layers.LeakyReLU()(x))
    x = layers.Conv2D(4, 1, activation="silu")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh")(x)
    x = layers.Dense(6, activation="relu")(layers.GlobalMaxPooling2D()(x))
    return keras.Model(images, layers.Dense(4, activation="softmax")(x))


def publish(model: Model, folder: Path, *options: str, suffix: str = ".keras") -> Path:
    path = folder / f"model{suffix}"
    if suffix:
        model.save(path)
    else:
        model.export(path, verbose=False)
    return publish_file(path, *options)


def publish_file(path: Path, *options: str) -> Path:
    artifacts = path.parent / "artifacts"
    assert main(["publish", str(path), f"--artifacts={artifacts}", *options]) == 0
    return artifacts / "1"


def with_random_normalisation(model: Model) -> Model:
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
    return model


@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
@pytest.mark.parametrize(
    ("make", "suffix", "options", "scale"),
    [
        (lesson, ".h5", [*TINY_DATA, "--novelty"], 255),
        (many_layers, ".keras", ["--classes=a,b", "--classes=c"], 1),
        (flat, ".keras", [], 255),
        (compiled, ".keras", [], 1),
    ],
)
def test_published_model_predicts_like_keras(
    tmp_path: Path,
    make: Callable[[], Model],
    suffix: str,
    options: list[str],
    scale: float,
) -> None:
    keras.utils.set_random_seed(1)
    model = with_random_normalisation(make())
    version = publish(model, tmp_path, *options, suffix=suffix)
    for engine in ENGINES:
        classifier = load_classifier(version, engine)
        manifest = classifier.manifest
        first = {lesson: "T-shirt/top", many_layers: "a"}.get(make, "0")
        assert manifest.class_names[0] == first
        assert manifest.input.scale == scale
        assert (manifest.novelty is not None) == ("--novelty" in options)
        size = manifest.input.size
        grey = np.random.default_rng(0).integers(0, 256, (9, *size)).astype(np.uint8)
        images = classifier.to_images(list(grey))
        given = images.reshape(-1, *model.input_shape[1:])
        expected = keras.ops.convert_to_numpy(model(given, training=False))
        if make is many_layers:
            expected = keras.ops.convert_to_numpy(keras.ops.softmax(expected))
        answers = classifier.assess(images).probabilities
        assert np.allclose(answers, expected, atol=0.02 if engine == "litert" else 1e-4)
        last = manifest.layers[-1].name  # Its weights are not quantised.
        assert np.allclose(classifier.feature_maps(images)[last], expected, atol=1e-4)
        for layer in manifest.layers:
            if classifier.has_weights(layer):
                kernel, bias = classifier.weights(layer)
                original: list[Any] = model.get_layer(layer.name).get_weights()
                assert np.allclose(kernel, original[0], atol=1e-6)
                assert np.allclose(bias, original[1] if len(original) > 1 else 0, atol=1e-6)
        known = {layer.type for layer in manifest.layers if classifier.has_weights(layer)}
        assert known == {lesson: {"Conv2D", "Dense"}, flat: {"Dense"}}.get(make, set())


@pytest.mark.parametrize(
    ("make", "kinds"),
    [
        (lesson, "Conv2D MaxPooling2D Flatten Dense"),
        (
            lambda: many_layers(augmented=False),
            "Conv2D Conv2D DepthwiseConv2D Add DepthwiseConv2D Conv2D AveragePooling2D "
            "GlobalAveragePooling2D Dense Softmax",
        ),
        (compiled, ""),
        (flat, "Reshape Dense"),
    ],
    ids=["lesson", "many_layers", "compiled", "flat"],
)
def test_saved_model_predicts_like_keras_and_lists_its_compiled_layers(
    tmp_path: Path, make: Callable[[], Model], kinds: str
) -> None:
    keras.utils.set_random_seed(1)
    model = with_random_normalisation(make())
    classifier = load_classifier(publish(model, tmp_path, "--no-evaluate", suffix=""), "litert")
    images = np.random.default_rng(0).random((9, *classifier.manifest.input.shape), np.float32)
    expected = model.predict(images.reshape(-1, *model.input_shape[1:]), verbose=0)
    if "Softmax" in kinds:
        expected = keras.ops.convert_to_numpy(keras.ops.softmax(expected))
    assert_predictions(classifier, images, expected)
    if kinds:
        assert " ".join(layer.type for layer in classifier.manifest.layers) == kinds


def assert_predictions(classifier: Classifier, images: Any, expected: Any) -> None:
    """Predictions may come from int8 weights, feature maps do not."""
    last = classifier.manifest.layers[-1].name
    assert np.allclose(classifier.feature_maps(images)[last], expected, atol=1e-5)
    assert np.allclose(classifier.assess(images).probabilities, expected, atol=0.02)


def test_saved_model_of_tf_keras_predicts_as_before(tmp_path: Path) -> None:
    with tarfile.open(DATA / "tf_keras.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    classifier = load_classifier(publish_file(tmp_path / "model", *TINY_DATA), "litert")
    with np.load(tmp_path / "answers.npz") as answers:
        assert_predictions(classifier, answers["images"], answers["expected"])
    names = [layer.name for layer in classifier.manifest.layers]
    assert names == ["conv2d", "max_pooling2d", "flatten", "dense"]
    assert classifier.manifest.class_names[0] == "T-shirt/top"


def test_model_is_scored_on_valid_test_data_and_invalid_data_is_rejected(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keras.utils.set_random_seed(1)
    model, data = flat(), tmp_path / "data.npz"
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8), np.uint8)
    labels = model.predict(images.reshape(50, 64) / 255, verbose=0).argmax(axis=1)
    np.savez(data, x_test=images, y_test=labels)
    version = publish(model, tmp_path, f"--test-data={data}", "--novelty")
    assert "Right on 100.00% of the 50 test images" in capfd.readouterr().out
    classifier = load_classifier(version, "litert")
    assert classifier.manifest.novelty is not None
    assert classifier.manifest.scores["test"]["images"] == 50
    wrong = {
        "x_test must be grey values in uint8": {"x_test": images / 255, "y_test": labels},
        "images of (8, 7) pixels, expected (8, 8)": {"x_test": images[:, :, 1:], "y_test": labels},
        "labels must be there and lie in 0…4": {"x_test": images, "y_test": labels + 5},
        "data.npz: labels must be there": {"x_test": images, "y_test": labels - 5},
        "is not an .npz file with x_test and y_test": {"images": images},
    }
    for sentence, arrays in wrong.items():
        np.savez(data, **arrays)
        assert main(["publish", str(tmp_path / "model.keras"), f"--test-data={data}"]) == 1
        assert sentence in capfd.readouterr().err


def test_unsupported_saved_model_is_rejected_with_the_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    images = keras.Input((8, 8, 1))
    squared = keras.Model(images, layers.Flatten()(keras.ops.square(images)))
    negative = keras.Model(images, layers.Flatten()(1 - images))
    any_size = keras.Model(
        open_size := keras.Input((None, None, 1)), layers.GlobalMaxPooling2D()(open_size)
    )
    pair = keras.Model([images, other := keras.Input((8, 8, 1))], layers.Add()([images, other]))
    refused = {
        "no layer is known for an operation": squared,
        "no layer is known for an operation of a constant": negative,
        "cannot be compiled with LiteRT, it runs Stateless": many_layers(),
        "takes images of any size": any_size,
        "the SavedModel has 2 inputs and 1 outputs": pair,
    }
    for sentence, model in refused.items():
        model.export(folder, verbose=False)
        assert main(["publish", str(folder)]) == 1
        error = capfd.readouterr().err
        assert sentence in error
        assert (
            model in (pair, any_size)
            or "publish the .keras or .h5 file that it was made from" in error
        )
    (folder / "saved_model.pb").write_bytes(b"no model")
    assert main(["publish", str(folder)]) == 1
    assert "cannot be compiled" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_unservable_model_is_rejected_with_the_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    colour, grey = keras.Input((8, 8, 3)), keras.Input((8, 8, 1))

    def dense(images: Any, **options: Any) -> Any:
        return layers.Dense(10, **options)(layers.Flatten()(images))

    diverged = {"bias_initializer": keras.initializers.Constant(np.nan), "activation": "softmax"}
    refused = {
        "takes colour images, (8, 8, 3)": keras.Model(colour, dense(colour)),
        "has 2 inputs and 1 outputs": keras.Model([colour, grey], dense(grey)),
        "has 0 inputs and 0 outputs": keras.Sequential([layers.Flatten(), layers.Dense(3)]),
        "say so with --from-logits": keras.Model(grey, dense(grey, activation="relu")),
        "it must be softmax, not sigmoid": keras.Model(grey, dense(grey, activation="sigmoid")),
        "add up to nan, not 1": keras.Model(grey, dense(grey, **diverged)),
        "layer 'my layer': rename it": keras.Model(grey, dense(grey, name="my layer")),
        "at least two classes": keras.Model(grey, layers.Dense(1)(layers.Flatten()(grey))),
    }
    for sentence, model in refused.items():
        path = tmp_path / "model.keras"
        model.save(path)
        assert main(["publish", str(path), f"--artifacts={tmp_path / 'none'}"]) == 1
        assert sentence in capfd.readouterr().err
    whole = path.read_bytes()
    torch = tmp_path / "model.pt"
    torch.write_bytes(whole)
    path.write_bytes(whole[: len(whole) // 2])
    for wrong in (path, torch, tmp_path):
        assert main(["publish", str(wrong), f"--artifacts={tmp_path / 'none'}"]) == 1
        sentence = f"{wrong} is neither a whole .keras or .h5 file nor a SavedModel folder\n"
        assert sentence in capfd.readouterr().err
    weights = tmp_path / "only.weights.h5"
    model.save_weights(weights)
    assert main(["publish", str(weights), f"--artifacts={tmp_path / 'none'}"]) == 1
    assert f"cannot load {weights} without running code from it: No model config" in (
        capfd.readouterr().err
    )
    path.unlink()
    assert main(["publish", str(path), f"--artifacts={tmp_path / 'none'}"]) == 1
    assert f"{path} does not exist\n" in capfd.readouterr().err
    assert not (tmp_path / "none").exists()


def test_wrong_class_names_and_missing_test_images_are_rejected(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.keras"
    lesson().save(path)
    for options, sentence in (
        (["--classes=a,b"], "2 class names are given, 2 of them different; the model has 10"),
        (["--classes=a,a,c,d,e,f,g,h,i,j"], "10 class names are given, 9 of them different"),
        (["--classes=a,,c,d,e,f,g,h,i,j"], "9 class names are given, 9 of them different"),
        ([f"--class-file={path}"], f"{path} is not text in UTF-8"),
        (["--novelty", "--no-evaluate"], "--novelty needs the test images"),
    ):
        assert main(["publish", str(path), f"--artifacts={tmp_path / 'none'}", *options]) == 1
        assert sentence in capfd.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_model_file_with_code_is_rejected(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str
) -> None:
    twice = layers.Lambda(lambda x: x * 2, output_shape=(8, 8, 1))
    model = keras.Sequential([keras.Input((8, 8, 1)), twice, layers.Flatten(), layers.Dense(3)])
    path = tmp_path / f"model{suffix}"
    model.save(path)
    assert main(["publish", str(path)]) == 1
    assert "deserialization of a `Lambda` layer" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_operation_that_litert_cannot_run_is_named_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.keras"
    rows, images = keras.Input((8, 8)), keras.Input((8, 8, 1))
    determinant = keras.ops.det(images[..., 0])[:, None]
    refused = {
        "TensorListReserve": keras.Model(rows, layers.Dense(3)(layers.LSTM(4)(rows))),
        "MatrixDeterminant": keras.Model(images, layers.Dense(3)(determinant)),
    }
    for operation, model in refused.items():
        model.save(path)
        assert main(["publish", str(path), f"--artifacts={tmp_path / 'none'}"]) == 1
        sentence = f"the model cannot be compiled with LiteRT, it runs {operation}"
        assert capfd.readouterr().err == f"python -m training publish: {sentence}\n"
    assert not list((tmp_path / "none").iterdir())


def test_added_layers_do_not_take_names_of_existing_layers(tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            layers.Reshape((8, 8, 1), name="reshape"),
            layers.Conv2D(2, 3, name="images"),
            layers.Flatten(),
            layers.Dense(3, name="softmax"),
        ]
    )
    manifest = load_classifier(publish(model, tmp_path), "litert").manifest
    names = [layer.name for layer in manifest.layers]
    assert manifest.input.name == "images_1"
    assert names[:3] == ["reshape_1", "reshape", "images"]
    assert names[-2:] == ["softmax", "softmax_1"]


def test_model_with_keras_ops_and_dicts_predicts_like_keras(tmp_path: Path) -> None:
    images = keras.Input((8, 8, 1), name="image")
    means = keras.ops.mean(layers.Conv2D(3, 3)(images), axis=(1, 2))
    model = keras.Model({"image": images}, {"scores": keras.ops.softmax(means)})
    classifier = load_classifier(publish(model, tmp_path), "litert")
    inputs = np.random.default_rng(0).random((9, 8, 8, 1), np.float32)
    expected = model.predict({"image": inputs}, verbose=0)["scores"]
    assert_predictions(classifier, inputs, expected)


def test_rescaling_in_a_nested_model_sets_the_input_scale(tmp_path: Path) -> None:
    prepared = keras.Sequential([layers.Rescaling(1 / 255), layers.RandomFlip("horizontal")])
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), prepared, layers.Flatten(), layers.Dense(3, "softmax")]
    )
    assert load_classifier(publish(model, tmp_path), "litert").manifest.input.scale == 1


def test_mixed_precision_model_predicts_like_keras(tmp_path: Path) -> None:
    inner = keras.Sequential([layers.Conv2D(2, 3, dtype="mixed_float16")])
    dense = layers.Dense(3, activation="softmax", dtype="mixed_float16")
    model = keras.Sequential([keras.Input((8, 8, 1)), inner, layers.Flatten(), dense])
    classifier = load_classifier(publish(model, tmp_path), "litert")
    images = np.random.default_rng(0).random((9, 8, 8, 1), np.float32)
    expected = model.predict(images, verbose=0)
    assert np.allclose(classifier.assess(images).probabilities, expected, atol=0.02)


def test_model_of_more_than_256_classes_is_scored(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = keras.Sequential([keras.Input((8, 8)), layers.Flatten(), layers.Dense(300, "softmax")])
    bias = np.zeros(300, np.float32)
    bias[299] = 20
    model.layers[-1].set_weights([model.layers[-1].get_weights()[0], bias])
    images, data = np.zeros((5, 8, 8), np.uint8), tmp_path / "data.npz"
    np.savez(data, x_test=images, y_test=np.full(5, 299))
    publish(model, tmp_path, f"--test-data={data}")
    assert "Right on 100.00% of the 5 test images" in capfd.readouterr().out


def test_class_file_may_have_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_bytes("\ufeff가방\r\n코트\r\n\r\n".encode())
    settings = PublishSettings(model=tmp_path, class_file=file)
    assert read_class_names(settings, 2) == ("가방", "코트")


def test_printed_serve_command_quotes_the_path(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my models"
    folder.mkdir()
    artifacts = publish(flat(), folder).parent
    assert f"-m service --artifacts '{artifacts}'\n" in capfd.readouterr().out


class Doubled(layers.Layer):  # type: ignore[misc]  # Keras ships no types
    def call(self, inputs: Any) -> Any:
        return inputs * 2


def test_unknown_layer_class_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((8, 8)), Doubled(), layers.Flatten()]).save(path)
    assert main(["publish", str(path)]) == 1
    assert "Could not locate class 'Doubled'" in capfd.readouterr().err


def test_input_name_may_contain_a_space() -> None:
    images = keras.Input((8, 8, 1), name="my input")
    scores = layers.Dense(3, activation="softmax")(layers.Flatten()(images))
    network = as_classifier(keras.Model(images, scores), "clothes", from_logits=False)
    assert network.input_shape == (None, 8, 8, 1)


def test_model_with_large_logits_predicts_like_keras(tmp_path: Path) -> None:
    """Large logits, as of images not scaled to [0, 1], have larger rounding errors in float32."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((28, 28)), layers.Flatten(), layers.Dense(10)])
    kernel = np.random.default_rng(0).random((784, 10), np.float32)
    model.layers[-1].set_weights([kernel, np.zeros(10, np.float32)])
    version = publish(model, tmp_path, "--no-evaluate")
    images = np.random.default_rng(1).random((9, 28, 28, 1), np.float32)
    expected = keras.ops.softmax(model(images[..., 0], training=False))
    answers = load_classifier(version, "litert").feature_maps(images)["softmax"]
    assert np.allclose(answers, keras.ops.convert_to_numpy(expected), atol=1e-4)
