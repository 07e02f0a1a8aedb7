"""The network that a configuration describes."""

from typing import Any

import keras
from keras import layers

from .recipe import IMAGE_SIDE, Network

INPUT_NAME = "images"


def build_network(network: Network, classes: int = 10) -> keras.Sequential:
    """Build the uncompiled network, from images, (n, 28, 28, 1), to probabilities, (n, classes).

    Every layer has a name of its own, numbered by its block, because a feature map is requested by
    its layer's name.
    """
    stack: list[Any] = [keras.Input((IMAGE_SIDE, IMAGE_SIDE, 1), name=INPUT_NAME)]
    for number, block in enumerate(network.blocks, start=1):
        stack.append(
            layers.Conv2D(
                block.filters,
                block.kernel_size,
                block.strides,
                block.padding,
                activation=block.activation,
                name=f"conv2d_{number}",
            )
        )
        pooling = block.pool_size, block.pool_strides, block.pool_padding
        if block.pooling == "max":
            stack.append(layers.MaxPooling2D(*pooling, name=f"max_pooling2d_{number}"))
        elif block.pooling == "average":
            stack.append(layers.AveragePooling2D(*pooling, name=f"average_pooling2d_{number}"))
    stack += [
        layers.Flatten(name="flatten"),
        layers.Dense(network.dense_units, network.dense_activation, name="dense_1"),
        layers.Dropout(network.dropout, name="dropout"),
        layers.Dense(classes, "softmax", name="dense_2"),
    ]
    return keras.Sequential(stack, name="fashion_mnist")


def feature_map_model(model: Any) -> Any:
    """Return a model from the same images to the output of every layer, by its name."""
    named = [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    return keras.Model(model.inputs[0], {layer.name: layer.output for layer in named})
