import numpy as np
import pytest

from training.architecture import build_network
from training.recipe import Block, Network


def test_default_network_has_the_documented_layers() -> None:
    model = build_network(Network())
    assert [
        (layer.name, layer.output.shape[1:], layer.count_params()) for layer in model.layers
    ] == [
        ("conv2d_1", (28, 28, 32), 320),
        ("max_pooling2d_1", (14, 14, 32), 0),
        ("conv2d_2", (14, 14, 64), 18_496),
        ("max_pooling2d_2", (7, 7, 64), 0),
        ("flatten", (3136,), 0),
        ("dense_1", (100,), 313_700),
        ("dropout", (100,), 0),
        ("dense_2", (10,), 1_010),
    ]
    assert model.count_params() == 333_526
    assert model.inputs[0].name == "images"
    assert model.get_layer("dropout").rate == 0.4


def test_output_is_a_probability_distribution_over_the_classes() -> None:
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    probabilities = np.asarray(build_network(Network())(images))
    assert probabilities.shape == (3, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_every_setting_of_a_block_reaches_its_layers() -> None:
    block = Block(
        filters=7,
        kernel_size=5,
        activation="tanh",
        padding="valid",
        strides=2,
        pooling="average",
        pool_size=3,
    )
    model = build_network(Network(blocks=(block,), dense_units=9, dense_activation="selu"))
    conv = model.get_layer("conv2d_1").get_config()
    pooling = model.get_layer("average_pooling2d_1").get_config()
    assert (conv["filters"], conv["kernel_size"], conv["strides"]) == (7, (5, 5), (2, 2))
    assert (conv["activation"], conv["padding"]) == ("tanh", "valid")
    assert pooling["pool_size"] == pooling["strides"] == (3, 3)
    dense = model.get_layer("dense_1").get_config()
    assert (dense["units"], dense["activation"]) == (9, "selu")


@pytest.mark.parametrize("count", [1, 4])
def test_layers_are_numbered_by_their_block(count: int) -> None:
    blocks = tuple(
        Block(filters=2, pooling="none" if number % 2 else "max") for number in range(count)
    )
    names = [layer.name for layer in build_network(Network(blocks=blocks)).layers]
    convolutions = [name for name in names if name.startswith("conv2d")]
    poolings = [name for name in names if name.startswith("max_pooling2d")]
    assert convolutions == [f"conv2d_{number + 1}" for number in range(count)]
    assert poolings == [f"max_pooling2d_{number + 1}" for number in range(0, count, 2)]
