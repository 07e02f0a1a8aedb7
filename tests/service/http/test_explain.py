"""Feature maps, preparation, weights and summary of the network."""

import base64
import io
import json

import httpx
import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.http.explain import FeatureMapsOptions
from service.http.schemas import (
    FeatureMapsResponse,
    LayerWeights,
    ModelSummary,
    PreparationResponse,
)
from service.model.artifact import Artifact
from tests.service.conftest import Encode
from tests.service.http.test_predict import parse_error

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]

LAYERS = {
    "conv2d_1": (28, 28, 32),
    "max_pooling2d_1": (14, 14, 32),
    "conv2d_2": (14, 14, 64),
    "max_pooling2d_2": (7, 7, 64),
}


def maps_of(client: httpx.Client, image: bytes, **params: object) -> FeatureMapsResponse:
    response = client.post("/feature-maps", params=params, content=image)  # type: ignore[arg-type]  # lists and numbers are what httpx takes
    assert response.status_code == 200, response.text
    return FeatureMapsResponse.model_validate_json(response.content)


def test_all_maps_of_convolution_and_pooling_layers_are_returned(
    client: httpx.Client, boot_png: bytes
) -> None:
    answer = maps_of(client, boot_png)
    assert {layer.name: tuple(layer.shape) for layer in answer.layers} == LAYERS
    for layer in answer.layers:
        height, width, channels = layer.shape
        assert np.shape(layer.maps) == (channels, height, width)
        assert layer.channels == list(range(channels))
    assert [layer.type for layer in answer.layers] == ["Conv2D", "MaxPooling2D"] * 2


def test_feature_maps_equal_those_computed_with_keras_operations(
    client: httpx.Client, artifact: Artifact, test_slice: Slice, boot_png: bytes
) -> None:
    """The expected maps are computed from the variables of the SavedModel."""
    answer = maps_of(client, boot_png)
    weights = saved_weights(artifact)
    images = test_slice[0][:1].reshape(-1, 28, 28, 1).astype(np.float32) / 255
    expected = images
    for layer in answer.layers:
        if layer.type == "Conv2D":
            kernel, bias = weights[tuple(layer.shape[2:])]
            convolved = keras.ops.conv(expected, kernel, padding="same") + bias
            expected = keras.ops.convert_to_numpy(keras.ops.relu(convolved))
        else:
            expected = keras.ops.convert_to_numpy(keras.ops.max_pool(expected, 2))
        actual = np.array(layer.maps).transpose(1, 2, 0)
        np.testing.assert_allclose(actual, expected[0], atol=1e-4)


def saved_weights(
    artifact: Artifact,
) -> dict[tuple[int, ...], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return kernel and bias of each convolution by its number of filters."""
    import tensorflow as tf  # noqa: PLC0415 (slow; needed here only)

    model = tf.saved_model.load(artifact.directory)  # Its signatures do not keep variables alive.
    arrays = [variable.numpy() for variable in model.signatures["feature_maps"].variables]
    biases = {array.shape: array for array in arrays if array.ndim == 1}
    return {a.shape[3:]: (a, biases[a.shape[3:]]) for a in arrays if a.ndim == 4}


def test_response_contains_the_prepared_image(
    client: httpx.Client, test_slice: Slice, boot_png: bytes
) -> None:
    answer = maps_of(client, boot_png)
    assert answer.preparation == "none"
    np.testing.assert_array_equal(answer.image, test_slice[0][0])


def test_layer_and_channels_parameters_select_the_maps(
    client: httpx.Client, boot_png: bytes
) -> None:
    everything = {layer.name: layer for layer in maps_of(client, boot_png).layers}
    for params in (
        {"layer": "max_pooling2d_2,conv2d_1", "channels": "5,0"},
        {"layer": ["conv2d_1", "max_pooling2d_2"], "channels": [5, 0]},
        {"layer": ["conv2d_1", "max_pooling2d_2"], "channels": [5, 0] * 200},  # Each once.
    ):
        answer = maps_of(client, boot_png, **params)
        assert [layer.name for layer in answer.layers] == ["conv2d_1", "max_pooling2d_2"]
        for layer in answer.layers:
            assert layer.channels == [5, 0]
            assert layer.shape == everything[layer.name].shape
            assert layer.maps == [everything[layer.name].maps[channel] for channel in (5, 0)]


def test_repeated_layers_and_channels_are_merged() -> None:
    options = FeatureMapsOptions.model_validate({"channels": ["0,1", *["0"] * 9], "layer": "a,a"})
    assert options.channels == ("0", "1")
    assert options.layer == ("a",)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layer": "dense_1"}, "layer: no layer 'dense_1'; the layers are " + ", ".join(LAYERS)),
        ({"layer": ""}, "layer: no layer ''; the layers are " + ", ".join(LAYERS)),
        ({"channels": "32"}, "channels: conv2d_1 has no channel '32'; its channels are 0…31"),
        ({"channels": "-1"}, "channels: conv2d_1 has no channel '-1'; its channels are 0…31"),
        (
            {"channels": "first"},
            "channels: conv2d_1 has no channel 'first'; its channels are 0…31",
        ),
        (
            {"channels": "9" * 5000},  # The middle of a long message is omitted.
            f"channels: conv2d_1 has no channel '{'9' * 465}…{'9' * 476}'; its channels are 0…31",
        ),
    ],
)
def test_unknown_layer_or_channel_is_a_400(
    client: httpx.Client, boot_png: bytes, params: dict[str, str], message: str
) -> None:
    response = client.post("/feature-maps", params=params, content=boot_png)
    assert parse_error(response, 400) == ("invalid_parameter", message)


def test_channel_that_only_larger_layers_have_can_be_requested_of_one(
    client: httpx.Client, boot_png: bytes
) -> None:
    [layer] = maps_of(client, boot_png, layer="conv2d_2", channels="63").layers
    assert layer.channels == [63]


def image_of(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "image/png"
    image = Image.open(io.BytesIO(response.content))
    image.load()
    return image


def test_png_is_requested_by_accept_header_or_query(client: httpx.Client, boot_png: bytes) -> None:
    by_header = client.post("/feature-maps", headers={"Accept": "image/png"}, content=boot_png)
    by_query = client.post("/feature-maps", params={"format": "png"}, content=boot_png)
    assert image_of(by_header).size == image_of(by_query).size
    assert by_header.content == by_query.content


def test_format_parameter_takes_precedence_over_the_accept_header(
    client: httpx.Client, boot_png: bytes
) -> None:
    response = client.post(
        "/feature-maps",
        params={"format": "json"},
        headers={"Accept": "image/png"},
        content=boot_png,
    )
    FeatureMapsResponse.model_validate_json(response.content)


def test_png_of_one_layer_is_smaller_than_that_of_all(
    client: httpx.Client, boot_png: bytes
) -> None:
    everything = image_of(client.post("/feature-maps", params={"format": "png"}, content=boot_png))
    one = image_of(
        client.post(
            "/feature-maps", params={"format": "png", "layer": "conv2d_1"}, content=boot_png
        )
    )
    assert one.height < everything.height / 2


def test_unsupported_accept_header_is_a_406(client: httpx.Client, boot_png: bytes) -> None:
    response = client.post("/feature-maps", headers={"Accept": "text/html"}, content=boot_png)
    assert parse_error(response, 406)[0] == "not_acceptable"


def test_feature_maps_of_two_images_are_a_413(client: httpx.Client) -> None:
    body = json.dumps({"instances": [[0] * 784, [0] * 784]})
    response = client.post(
        "/feature-maps", content=body, headers={"Content-Type": "application/json"}
    )
    assert parse_error(response, 413) == (
        "too_many_images",
        "2 images, but this route takes one at a time",
    )


def weights_of(client: httpx.Client, name: str, **params: object) -> LayerWeights:
    response = client.get(f"/model/layers/{name}", params=params)  # type: ignore[arg-type]  # lists and numbers are what httpx takes
    assert response.status_code == 200, response.text
    return LayerWeights.model_validate_json(response.content)


def windows(planes: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return the zero-padded window of each pixel: (planes, rows, columns, side, side)."""
    margin = side // 2
    padded = np.pad(planes, ((0, 0), (margin, margin), (margin, margin)))
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))


def test_returned_kernels_and_biases_reproduce_the_feature_maps(
    client: httpx.Client, boot_png: bytes
) -> None:
    answer = maps_of(client, boot_png)
    before = np.array([answer.image]) / 255
    for layer in answer.layers:
        if layer.type == "Conv2D":
            weights = weights_of(client, layer.name)
            sums = np.einsum("irchw,oihw->orc", windows(before, 3), np.array(weights.kernels))
            expected = np.maximum(sums + np.array(weights.bias)[:, None, None], 0)
            np.testing.assert_allclose(layer.maps, expected, atol=1e-4)
        before = np.array(layer.maps)


def test_returned_dense_weights_reproduce_the_probabilities(
    client: httpx.Client, boot_png: bytes
) -> None:
    maps = np.array(maps_of(client, boot_png).layers[-1].maps)
    values = maps.transpose(1, 2, 0).ravel()
    hidden = [
        weights_of(client, "dense_1", channels=list(range(at, at + 20))) for at in range(0, 100, 20)
    ]
    kernels = np.concatenate([part.kernels for part in hidden])
    bias = np.concatenate([part.bias for part in hidden])
    last = weights_of(client, "dense_2")
    logits = np.array(last.kernels) @ np.maximum(kernels @ values + bias, 0) + last.bias
    shares = np.exp(logits) / np.exp(logits).sum()
    answered = client.post("/predict", content=boot_png).json()["predictions"][0]
    # The shipped model computes with int8 weights.
    np.testing.assert_allclose(shares, list(answered["probabilities"].values()), atol=0.01)


def test_channels_parameter_selects_the_weights(client: httpx.Client) -> None:
    everything = weights_of(client, "conv2d_2")
    some = weights_of(client, "conv2d_2", channels="5,0")
    assert np.shape(everything.kernels) == (64, 32, 3, 3)
    assert some.channels == [5, 0]
    assert some.kernels == [everything.kernels[5], everything.kernels[0]]
    assert some.bias == [everything.bias[5], everything.bias[0]]


def test_layer_without_weights_has_no_kernels(client: httpx.Client) -> None:
    pooling = weights_of(client, "max_pooling2d_1")
    assert pooling.layer.configuration["pool_size"] == [2, 2]
    assert (pooling.channels, pooling.kernels, pooling.bias) == ([], [], [])


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("nowhere", 404, "unknown_layer"),
        ("conv2d_1?channels=32", 400, "invalid_parameter"),
        ("conv2d_1?channels=x", 400, "invalid_parameter"),
        ("dense_1", 400, "invalid_parameter"),
        ("conv2d_1?version=9", 404, "unknown_version"),
    ],
)
def test_invalid_request_for_weights_returns_its_error_code(
    client: httpx.Client, path: str, status: int, code: str
) -> None:
    assert parse_error(client.get(f"/model/layers/{path}"), status)[0] == code


def steps_of(
    client: httpx.Client, image: bytes, prepare: str = "auto"
) -> tuple[PreparationResponse, dict[str, Image.Image]]:
    response = client.put("/preparation", params={"prepare": prepare}, content=image)
    assert response.status_code == 200, response.text
    answer = PreparationResponse.model_validate_json(response.content)
    images: dict[str, Image.Image] = {
        step.name: Image.open(io.BytesIO(base64.b64decode(step.png))) for step in answer.steps
    }
    for step in answer.steps:
        assert images[step.name].size == (step.width, step.height)
    return answer, images


@pytest.fixture
def photograph(encode: Encode) -> bytes:
    """A dark blue rectangle on a pale background."""
    image = Image.new("RGB", (600, 800), "#eee8dd")
    ImageDraw.Draw(image).rectangle((150, 200, 449, 699), "#203060")
    return encode(image)


def test_photograph_is_cut_out_made_light_on_black_cropped_and_centred(
    client: httpx.Client, photograph: bytes
) -> None:
    answer, images = steps_of(client, photograph)
    assert answer.preparation == "photo"
    assert list(images) == ["decoded", "cut_out", "light_on_black", "cropped", "centred"]
    decoded = images["decoded"]
    assert (decoded.mode, decoded.size) == ("RGB", (168, 224))
    cut_out = np.asarray(images["cut_out"])
    assert cut_out[0, 0, 3] == 0
    assert cut_out[112, 84].tolist() == [0x20, 0x30, 0x60, 255]
    light = np.asarray(images["light_on_black"])
    assert light[0, 0] == 0
    assert light[112, 84] > 100
    width, height = images["cropped"].size
    assert width / height == pytest.approx(300 / 500, abs=0.05)
    assert np.asarray(images["centred"]).tolist() == answer.image


def test_last_step_is_the_input_of_the_network(
    client: httpx.Client, photograph: bytes, boot_png: bytes
) -> None:
    for image in (photograph, boot_png):
        for prepare in ("auto", "photo", "plain"):
            answer, images = steps_of(client, image, prepare)
            assert answer.image == maps_of(client, image, prepare=prepare).image
            assert np.asarray(list(images.values())[-1]).tolist() == answer.image


def test_image_of_the_input_size_is_only_converted_to_grey(
    client: httpx.Client, boot_png: bytes
) -> None:
    answer, images = steps_of(client, boot_png)
    assert answer.preparation == "none"
    assert list(images) == ["decoded", "grey"]


def test_plain_preparation_converts_to_grey_and_resizes(
    client: httpx.Client, photograph: bytes
) -> None:
    answer, images = steps_of(client, photograph, "plain")
    assert answer.preparation == "plain"
    assert [(name, p.mode, p.size) for name, p in images.items()] == [
        ("decoded", "RGB", (168, 224)),
        ("grey", "L", (168, 224)),
        ("resized", "L", (28, 28)),
    ]


def test_large_image_in_the_style_of_the_data_set_is_only_cropped_and_centred(
    client: httpx.Client, boot_png: bytes, encode: Encode
) -> None:
    large = Image.open(io.BytesIO(boot_png)).resize((280, 280), Image.Resampling.NEAREST)
    assert list(steps_of(client, encode(large))[1]) == ["decoded", "grey", "cropped", "centred"]


@pytest.mark.parametrize("mode", ["1", "P", "LA", "I;16", "CMYK"])
def test_steps_are_drawn_for_every_colour_mode(
    client: httpx.Client, encode: Encode, mode: str
) -> None:
    image = Image.new(mode, (40, 60))
    file_format = "JPEG" if mode == "CMYK" else "PNG"
    for prepare in ("photo", "plain"):
        _, images = steps_of(client, encode(image, file_format), prepare)
        assert images["decoded"].size == (40, 60)


def test_numbers_are_not_prepared(client: httpx.Client) -> None:
    rows = [[row * column % 256 for column in range(28)] for row in range(28)]
    response = client.post("/preparation", json={"instances": [rows]})
    answer = PreparationResponse.model_validate_json(response.content)
    assert (answer.preparation, answer.image, answer.steps) == ("none", rows, [])


def test_invalid_image_has_the_error_of_predict(client: httpx.Client) -> None:
    error = parse_error(client.post("/preparation", content=b"no image"), 400)
    assert error[:2] == parse_error(client.post("/predict", content=b"no image"), 400)[:2]


def test_preparation_of_two_images_is_a_413(client: httpx.Client, boot_png: bytes) -> None:
    files = [("files", boot_png), ("files", boot_png)]
    assert parse_error(client.post("/preparation", files=files), 413)[0] == "too_many_images"


def test_summary_describes_the_network_of_the_manifest(
    client: httpx.Client, artifact: Artifact
) -> None:
    response = client.get("/model/summary")
    assert response.status_code == 200
    summary = ModelSummary.model_validate_json(response.content)
    assert summary.engine == "litert"
    assert summary.parameters.total == 333_526
    assert [(layer.type, layer.output_shape, layer.parameters) for layer in summary.layers] == [
        ("Conv2D", (28, 28, 32), 320),
        ("MaxPooling2D", (14, 14, 32), 0),
        ("Conv2D", (14, 14, 64), 18_496),
        ("MaxPooling2D", (7, 7, 64), 0),
        ("Flatten", (3136,), 0),
        ("Dense", (100,), 313_700),
        ("Dropout", (100,), 0),
        ("Dense", (10,), 1_010),
    ]
    assert summary.layers[0].configuration["kernel_size"] == [3, 3]
    assert summary.input.shape == (28, 28, 1)
    assert summary.class_names[9] == "Ankle boot"
    assert summary.version == artifact.manifest.version
    assert 0.9 < summary.scores["test"]["accuracy"] < 1


def test_text_summary_is_a_keras_table_of_80_columns(client: httpx.Client) -> None:
    response = client.get("/model/summary", headers={"Accept": "text/plain"})
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    lines = response.text.splitlines()
    assert max(map(len, lines)) == 80
    assert any("conv2d_1 (Conv2D)" in line and "320" in line for line in lines)
    assert any("Total params: 333,526" in line for line in lines)


def test_unsupported_accept_header_of_the_summary_is_a_406(client: httpx.Client) -> None:
    response = client.get("/model/summary", headers={"Accept": "image/png"})
    assert parse_error(response, 406)[0] == "not_acceptable"
