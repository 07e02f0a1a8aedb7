import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.http.schemas import LayerWeights
from tests.service.http.test_feature_maps import maps_of
from tests.service.http.test_predict import error_of


def weights_of(client: httpx.Client, name: str, **params: object) -> LayerWeights:
    response = client.get(f"/model/layers/{name}", params=params)  # type: ignore[arg-type]  # lists and numbers are what httpx takes
    assert response.status_code == 200, response.text
    return LayerWeights.model_validate_json(response.content)


def windows(planes: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return the window round each pixel, black outside: (planes, rows, columns, side, side)."""
    margin = side // 2
    padded = np.pad(planes, ((0, 0), (margin, margin), (margin, margin)))
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))


def test_windows_times_kernels_plus_bias_rectified_are_the_feature_maps(
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


def test_the_dense_layers_carry_the_last_maps_to_the_answer(
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
    # What is shipped computes its answer from int8 weights.
    np.testing.assert_allclose(shares, list(answered["probabilities"].values()), atol=0.01)


def test_channels_narrow_the_answer(client: httpx.Client) -> None:
    everything = weights_of(client, "conv2d_2")
    some = weights_of(client, "conv2d_2", channels="5,0")
    assert np.shape(everything.kernels) == (64, 32, 3, 3)
    assert some.channels == [5, 0]
    assert some.kernels == [everything.kernels[5], everything.kernels[0]]
    assert some.bias == [everything.bias[5], everything.bias[0]]


def test_a_layer_that_learns_nothing_has_no_kernels(client: httpx.Client) -> None:
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
def test_what_is_not_there_is_refused(
    client: httpx.Client, path: str, status: int, code: str
) -> None:
    assert error_of(client.get(f"/model/layers/{path}"), status)[0] == code
