"""Batch normalisation that helps the training and is gone from what is published.

Ioffe and Szegedy 2015, Batch Normalization, https://arxiv.org/abs/1502.03167: what a layer puts out
is brought to mean 0 and variance 1 over the batch, then scaled and shifted by what is learnt. After
the training all of this is constant, and is multiplied into the weights of the layer.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from training.architecture import (
    FEATURES_LAYER,
    INPUT_NAME,
    INPUT_SHAPE,
    build_network,
    pooling_layer,
)
from training.data import CLASS_NAMES
from training.recipe import Block, Network

MOMENTUM = 0.9
"""Of the moving averages over the steps."""

_RISING = {"elu", "leaky_relu", "linear", "relu", "selu", "sigmoid", "softplus", "tanh"}
"""Activations after which the largest of some numbers is what was the largest before."""


def build_normalized(network: Network, dtype: str = "float32") -> Any:
    """Build the network with batch normalisation after each layer that is followed by others.

    Where it makes no difference, the maximum is taken first: a quarter of the numbers are left to
    normalise. For that, no scale may be negative.

    Args:
        network: the settings.
        dtype: Keras' dtype policy of every layer but the last.

    Returns:
        An uncompiled model from images, (n, 28, 28, 1) float32 in [0, 1], to probabilities,
        (n, 10) float32.
    """
    model = keras.Sequential([keras.Input(INPUT_SHAPE, name=INPUT_NAME)])
    for number, block in enumerate(network.blocks, start=1):
        for layer in _block_layers(block, number, dtype):
            model.add(layer)
    model.add(keras.layers.Flatten(dtype=dtype))
    model.add(
        keras.layers.Dense(network.dense_units, use_bias=False, name=FEATURES_LAYER, dtype=dtype)
    )
    model.add(_normalization(FEATURES_LAYER, dtype))
    model.add(keras.layers.Activation(network.dense_activation, dtype=dtype))
    model.add(keras.layers.Dropout(network.dropout, dtype=dtype))
    model.add(keras.layers.Dense(len(CLASS_NAMES), activation="softmax", name="dense_2"))
    return model


def fold_normalization(normalized: Any, network: Network) -> Any:
    """Return the network without batch normalisation that gives the same answers.

    Args:
        normalized: what `build_normalized` has built, trained.
        network: the settings.
    """
    folded = build_network(network)
    for layer in folded.layers:
        if layer.name == "dense_2":
            layer.set_weights(normalized.get_layer(layer.name).get_weights())
        elif layer.weights:
            [kernel] = normalized.get_layer(layer.name).get_weights()
            normalization = normalized.get_layer(_name(layer.name))
            gamma, beta, mean, variance = normalization.get_weights()
            scale = gamma / np.sqrt(variance + normalization.epsilon)
            layer.set_weights([kernel * scale, beta - mean * scale])
    return folded


def _block_layers(block: Block, number: int, dtype: str) -> Iterator[Any]:
    name = f"conv2d_{number}"
    yield keras.layers.Conv2D(
        block.filters,
        block.kernel_size,
        strides=block.strides,
        padding=block.padding,
        use_bias=False,
        name=name,
        dtype=dtype,
    )
    pooling = pooling_layer(block, number, dtype)
    commute = block.pooling == "max" and block.activation in _RISING
    if pooling is not None and commute:
        yield pooling
    yield _normalization(name, dtype)
    yield keras.layers.Activation(block.activation, dtype=dtype)
    if pooling is not None and not commute:
        yield pooling


def _normalization(name: str, dtype: str) -> Any:
    return keras.layers.BatchNormalization(
        momentum=MOMENTUM,
        gamma_constraint=keras.constraints.NonNeg(),
        name=_name(name),
        dtype=dtype,
    )


def _name(layer: str) -> str:
    return f"normalized_{layer}"
