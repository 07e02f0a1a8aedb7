"""The network that a configuration describes."""

from typing import Any

import keras

from .recipe import IMAGE_SIDE, Block, Network

INPUT_NAME = "images"
INPUT_SHAPE = (IMAGE_SIDE, IMAGE_SIDE, 1)
MODEL_NAME = "fashion_mnist"

_POOLING = {
    "max": ("max_pooling2d", keras.layers.MaxPooling2D),
    "average": ("average_pooling2d", keras.layers.AveragePooling2D),
}


def build_network(network: Network, classes: int = 10) -> keras.Sequential:
    """Build the network.

    Every layer has a name of its own, numbered by its block, because a feature map is requested by
    its layer's name.

    Args:
        network: the settings.
        classes: the number of classes.

    Returns:
        An uncompiled model from images, (n, 28, 28, 1) float32 in [0, 1], to probabilities,
        (n, classes) float32.
    """
    model = keras.Sequential([keras.Input(INPUT_SHAPE, name=INPUT_NAME)], name=MODEL_NAME)
    for number, block in enumerate(network.blocks, start=1):
        model.add(
            keras.layers.Conv2D(
                block.filters,
                block.kernel_size,
                strides=block.strides,
                padding=block.padding,
                activation=block.activation,
                name=f"conv2d_{number}",
            )
        )
        if block.pooling != "none":
            model.add(_pooling_layer(block, number))
    model.add(keras.layers.Flatten(name="flatten"))
    model.add(
        keras.layers.Dense(network.dense_units, activation=network.dense_activation, name="dense_1")
    )
    model.add(keras.layers.Dropout(network.dropout, name="dropout"))
    model.add(keras.layers.Dense(classes, activation="softmax", name="dense_2"))
    return model


def _pooling_layer(block: Block, number: int) -> Any:
    name, pooling = _POOLING[block.pooling]
    return pooling(
        block.pool_size,
        strides=block.pool_strides,
        padding=block.pool_padding,
        name=f"{name}_{number}",
    )


def trace_layers(model: Any) -> tuple[Any, dict[str, Any]]:
    """Return a symbolic input and the symbolic output of each layer, by its name.

    A Sequential model is traced anew: it rebuilds itself with every layer added to it, and a
    layer's own `output` belongs to the first build. A model of several of those outputs would
    compute the layers before them again for each.
    """
    if not isinstance(model, keras.Sequential):
        layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
        return model.inputs[0], {layer.name: layer.output for layer in layers}
    images = keras.Input(model.input_shape[1:], name=model.inputs[0].name)
    outputs: dict[str, Any] = {}
    output = images
    for layer in model.layers:
        output = outputs[layer.name] = layer(output)
    return images, outputs
