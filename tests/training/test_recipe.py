import keras
import numpy as np
import pytest
from pydantic import ValidationError

from training.architecture import build_network
from training.recipe import Block, Network, Padding


def test_output_size_of_a_valid_convolution() -> None:
    block = Block(kernel_size=3, padding="valid", pooling="none")
    assert list(block.steps(10)) == [(8, "conv 3 valid, stride 1: floor((10-3)/1)+1 = 8")]


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_output_sizes_equal_those_of_keras(padding: Padding) -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        size, stride = int(random.integers(1, 40)), int(random.integers(1, 6))
        window = int(random.integers(1, size + 1))
        block = Block(kernel_size=window, strides=stride, padding=padding, pooling="none")
        ((expected, _),) = block.steps(size)
        conv = keras.layers.Conv2D(1, window, strides=stride, padding=padding)
        pooling = keras.layers.MaxPooling2D(window, strides=stride, padding=padding)
        for layer in (conv, pooling):
            shape = layer.compute_output_shape((None, size, size, 1))
            assert shape == (None, expected, expected, 1), (size, window, stride)


def random_network(random: np.random.Generator) -> dict[str, object]:
    """Return a random configuration, valid or not."""
    blocks = [
        {
            "filters": int(random.integers(1, 4)),
            "kernel_size": int(random.integers(1, 9)),
            "padding": str(random.choice(["same", "valid"])),
            "strides": int(random.integers(1, 4)),
            "pooling": str(random.choice(["max", "average", "none"])),
            "pool_size": int(random.integers(1, 4)),
            "pool_strides": int(random.integers(1, 4)),
            "pool_padding": str(random.choice(["same", "valid"])),
        }
        for _ in range(random.integers(1, 5))
    ]
    return {"blocks": blocks, "dense_units": 3}


def keras_accepts(settings: dict[str, object]) -> bool:
    unchecked = Network.model_construct(
        **{**Network().model_dump(), **settings, "blocks": blocks_of(settings)}
    )
    try:
        model = build_network(unchecked)
    except ValueError:
        return False
    return all(0 not in layer.output.shape for layer in model.layers)


def blocks_of(settings: dict[str, object]) -> tuple[object, ...]:
    parts = settings["blocks"]
    assert isinstance(parts, list)
    return tuple(Network(blocks=(part,)).blocks[0] for part in parts)


def test_network_is_rejected_exactly_if_keras_cannot_build_it() -> None:
    random = np.random.default_rng(1)
    accepted = 0
    for _ in range(120):
        settings = random_network(random)
        try:
            network = Network.model_validate(settings)
        except ValidationError:
            assert not keras_accepts(settings), settings
            continue
        accepted += 1
        maps = [
            layer.output.shape[1]
            for layer in build_network(network).layers
            if len(layer.output.shape) == 4
        ]
        expected = [28]
        for block in network.blocks:
            expected += [output for output, _ in block.steps(expected[-1])]
        assert maps == expected[1:], settings
    assert 20 < accepted < 100


def test_kernel_and_stride_may_differ_by_axis() -> None:
    block = Block(kernel_size=(3, 29), padding="valid")
    assert next(block.steps(28, axis=0))[0] == 26
    with pytest.raises(ValidationError, match=r"conv 29 valid, stride 1: floor\(\(28-29\)/1\)"):
        Network(blocks=(block,))
    block = Block(kernel_size=(3, 5), strides=(1, 2), pool_size=3, pool_strides=2)
    model = build_network(Network(blocks=(block,)))
    sides = [list(block.steps(28, axis))[-1][0] for axis in (0, 1)]
    assert model.get_layer("max_pooling2d_1").output.shape[1:3] == tuple(sides)
