import io
import json

import httpx
import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.model.artifact import Artifact
from service.http.schemas import FeatureMapsResponse
from tests.service.http.test_predict import error_of

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]

LAYERS = {
    "conv2d_1": (28, 28, 32),
    "max_pooling2d_1": (14, 14, 32),
    "conv2d_2": (14, 14, 64),
    "max_pooling2d_2": (7, 7, 64),
}


def maps_of(client: httpx.Client, picture: bytes, **params: object) -> FeatureMapsResponse:
    response = client.post("/feature-maps", params=params, content=picture)  # type: ignore[arg-type]  # lists and numbers are what httpx takes
    assert response.status_code == 200, response.text
    return FeatureMapsResponse.model_validate_json(response.content)


def test_every_convolution_and_pooling_layer_gives_all_its_maps(
    client: httpx.Client, boot_png: bytes
) -> None:
    answer = maps_of(client, boot_png)
    assert {layer.name: layer.shape for layer in answer.layers} == LAYERS
    for layer in answer.layers:
        height, width, channels = layer.shape
        assert np.shape(layer.maps) == (channels, height, width)
        assert layer.channels == list(range(channels))
    assert [layer.type for layer in answer.layers] == ["Conv2D", "MaxPooling2D"] * 2


def test_values_are_those_of_the_convolution_and_pooling_themselves(
    client: httpx.Client, artifact: Artifact, test_slice: Slice, boot_png: bytes
) -> None:
    """Compute every layer with Keras' operations from the SavedModel's own variables."""
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

    model = tf.saved_model.load(artifact.directory)  # Its signatures hold no variable alive.
    arrays = [variable.numpy() for variable in model.signatures["feature_maps"].variables]
    biases = {array.shape: array for array in arrays if array.ndim == 1}
    return {a.shape[3:]: (a, biases[a.shape[3:]]) for a in arrays if a.ndim == 4}


def test_the_picture_the_network_saw_comes_with_the_maps(
    client: httpx.Client, test_slice: Slice, boot_png: bytes
) -> None:
    answer = maps_of(client, boot_png)
    assert answer.preparation == "none"
    np.testing.assert_array_equal(answer.image, test_slice[0][0])


def test_layer_and_channels_narrow_the_answer(client: httpx.Client, boot_png: bytes) -> None:
    everything = {layer.name: layer for layer in maps_of(client, boot_png).layers}
    for params in (
        {"layer": "max_pooling2d_2,conv2d_1", "channels": "5,0"},
        {"layer": ["conv2d_1", "max_pooling2d_2"], "channels": [5, 0]},
    ):
        answer = maps_of(client, boot_png, **params)
        assert [layer.name for layer in answer.layers] == ["conv2d_1", "max_pooling2d_2"]
        for layer in answer.layers:
            assert layer.channels == [5, 0]
            assert layer.shape == everything[layer.name].shape
            assert layer.maps == [everything[layer.name].maps[channel] for channel in (5, 0)]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layer": "dense_1"}, "layer: no 'dense_1'; there are " + ", ".join(LAYERS)),
        ({"layer": ""}, "layer: no ''; there are " + ", ".join(LAYERS)),
        ({"channels": "32"}, "channels: no 32 in conv2d_1, its channels are 0…31"),
        ({"channels": "-1"}, "channels: '-1' is not a channel number"),
        ({"channels": "first"}, "channels: 'first' is not a channel number"),
        (
            {"channels": "9" * 5000},  # The middle of a message that quotes so much is left out.
            f"channels: '{'9' * 489}…{'9' * 475}' is not a channel number",
        ),
    ],
)
def test_a_layer_or_channel_there_is_not_is_a_400(
    client: httpx.Client, boot_png: bytes, params: dict[str, str], message: str
) -> None:
    response = client.post("/feature-maps", params=params, content=boot_png)
    assert error_of(response, 400) == ("invalid_parameter", message)


def test_a_channel_of_the_larger_layers_can_be_asked_of_them(
    client: httpx.Client, boot_png: bytes
) -> None:
    [layer] = maps_of(client, boot_png, layer="conv2d_2", channels="63").layers
    assert layer.channels == [63]


def picture_of(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "image/png"
    image = Image.open(io.BytesIO(response.content))
    image.load()
    return image


def test_a_png_is_answered_to_who_asks_for_one(client: httpx.Client, boot_png: bytes) -> None:
    by_header = client.post("/feature-maps", headers={"Accept": "image/png"}, content=boot_png)
    by_query = client.post("/feature-maps", params={"format": "png"}, content=boot_png)
    assert picture_of(by_header).size == picture_of(by_query).size
    assert by_header.content == by_query.content


def test_the_query_takes_precedence_over_the_header(client: httpx.Client, boot_png: bytes) -> None:
    response = client.post(
        "/feature-maps",
        params={"format": "json"},
        headers={"Accept": "image/png"},
        content=boot_png,
    )
    FeatureMapsResponse.model_validate_json(response.content)


def test_a_narrower_choice_makes_a_smaller_picture(client: httpx.Client, boot_png: bytes) -> None:
    everything = picture_of(
        client.post("/feature-maps", params={"format": "png"}, content=boot_png)
    )
    one = picture_of(
        client.post(
            "/feature-maps", params={"format": "png", "layer": "conv2d_1"}, content=boot_png
        )
    )
    assert one.height < everything.height / 2


def test_an_answer_nobody_accepts_is_a_406(client: httpx.Client, boot_png: bytes) -> None:
    response = client.post("/feature-maps", headers={"Accept": "text/html"}, content=boot_png)
    assert error_of(response, 406)[0] == "not_acceptable"


def test_maps_are_of_one_picture_at_a_time(client: httpx.Client) -> None:
    body = json.dumps({"instances": [[0] * 784, [0] * 784]})
    response = client.post(
        "/feature-maps", content=body, headers={"Content-Type": "application/json"}
    )
    assert error_of(response, 413) == (
        "too_many_images",
        "2 pictures, this is answered for one at a time",
    )
