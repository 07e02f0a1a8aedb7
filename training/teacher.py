"""The teacher: a residual network, too large to serve, that the network learns from.

Its layers are those of Page 2018, How to Train Your ResNet,
https://myrtle.ai/learn/how-to-train-your-resnet/: few enough to be trained on a processor.
"""

from typing import Any

import keras

from training.architecture import INPUT_NAME, INPUT_SHAPE
from training.data import CLASS_NAMES


def build_teacher(width: int, dtype: str = "float32") -> Any:
    """Build the teacher.

    Args:
        width: number of filters of the first convolution; 32 give 1.6 million parameters.
        dtype: Keras' dtype policy of every layer but the last.

    Returns:
        An uncompiled model from images, (n, 28, 28, 1) float32 in [0, 1], to probabilities,
        (n, 10) float32.
    """
    images = keras.Input(INPUT_SHAPE, name=INPUT_NAME)
    maps = _convolve(images, width, dtype)
    maps = _residual(_convolve(maps, 2 * width, dtype, pool=True), dtype)
    maps = _convolve(maps, 4 * width, dtype, pool=True)
    maps = _residual(_convolve(maps, 8 * width, dtype, pool=True), dtype)
    features = keras.layers.GlobalMaxPooling2D(dtype=dtype)(maps)
    return keras.Model(
        images, keras.layers.Dense(len(CLASS_NAMES), "softmax")(features), name="teacher"
    )


def _convolve(maps: Any, filters: int, dtype: str, pool: bool = False) -> Any:
    maps = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, dtype=dtype)(maps)
    if pool:
        maps = keras.layers.MaxPooling2D(dtype=dtype)(maps)
    maps = keras.layers.BatchNormalization(dtype=dtype)(maps)
    return keras.layers.ReLU(dtype=dtype)(maps)


def _residual(maps: Any, dtype: str) -> Any:
    filters = maps.shape[-1]
    changes = _convolve(_convolve(maps, filters, dtype), filters, dtype)
    return keras.layers.Add(dtype=dtype)([maps, changes])
