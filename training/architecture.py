"""The network that a configuration describes."""

from typing import Any

import keras

from training.data import CLASS_NAMES
from training.recipe import IMAGE_SIDE, Block, Network

INPUT_NAME = "images"
INPUT_SHAPE = (IMAGE_SIDE, IMAGE_SIDE, 1)
MODEL_NAME = "fashion_mnist"
FEATURES_LAYER = "dense_1"
"""The last hidden layer."""

_POOLING = {
    "max": ("max_pooling2d", keras.layers.MaxPooling2D),
    "average": ("average_pooling2d", keras.layers.AveragePooling2D),
}


def build_network(network: Network, dtype: str = "float32") -> keras.Sequential:
    """Build the network.

    Every layer has a name of its own, numbered by its block, because names are what a feature map
    is asked for by.

    Args:
        network: the settings.
        dtype: Keras' dtype policy of every layer but the last, whose softmax is too fine for less
            than float32.

    Returns:
        An uncompiled model from images, (n, 28, 28, 1) float32 in [0, 1], to probabilities,
        (n, 10) float32.
    """
    model = keras.Sequential([keras.Input(INPUT_SHAPE, name=INPUT_NAME)], name=MODEL_NAME)
    for number, block in enumerate(network.blocks, start=1):
        for layer in _block_layers(block, number, dtype):
            model.add(layer)
    model.add(keras.layers.Flatten(name="flatten", dtype=dtype))
    model.add(
        keras.layers.Dense(
            network.dense_units,
            activation=network.dense_activation,
            name=FEATURES_LAYER,
            dtype=dtype,
        )
    )
    model.add(keras.layers.Dropout(network.dropout, name="dropout", dtype=dtype))
    model.add(keras.layers.Dense(len(CLASS_NAMES), activation="softmax", name="dense_2"))
    return model


def trace_layers(model: Any) -> tuple[Any, dict[str, Any]]:
    """Apply each layer once, to make models of several layers' outputs.

    A Sequential model builds itself anew with every layer added to it, and a layer's own `output`
    belongs to the first time: a model of several of those would compute the layers before them over
    and over.

    Returns:
        A symbolic input, (n, 28, 28, 1), and the symbolic output of each layer by its name.
    """
    images = keras.Input(INPUT_SHAPE, name=INPUT_NAME)
    outputs: dict[str, Any] = {}
    output = images
    for layer in model.layers:
        output = outputs[layer.name] = layer(output)
    return images, outputs


def pooling_layer(block: Block, number: int, dtype: str) -> Any:
    """Build the pooling of a block of this number, or return None if it has none."""
    if block.pooling == "none":
        return None
    name, pooling = _POOLING[block.pooling]
    return pooling(block.pool_size, name=f"{name}_{number}", dtype=dtype)


def _block_layers(block: Block, number: int, dtype: str) -> list[Any]:
    layers = [
        keras.layers.Conv2D(
            block.filters,
            block.kernel_size,
            strides=block.strides,
            padding=block.padding,
            activation=block.activation,
            name=f"conv2d_{number}",
            dtype=dtype,
        )
    ]
    pooling = pooling_layer(block, number, dtype)
    return layers if pooling is None else [*layers, pooling]
