"""The teacher: a residual network, too large to serve, that the network learns from.

Its layers are those of Page 2018, How to Train Your ResNet,
https://myrtle.ai/learn/how-to-train-your-resnet/: few enough to be trained on a processor.
"""

from typing import Any

import keras
import tensorflow as tf

from training.architecture import INPUT_NAME, INPUT_SHAPE
from training.data import CLASS_NAMES


@keras.saving.register_keras_serializable("training")
class FusedNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras' batch normalisation of maps in one operation.

    Keras converts bfloat16 maps to float32 and takes a dozen operations; TensorFlow's own reads the
    maps as they are and sums in float32. It is for the teacher alone: with a tanh after it, it
    fails on processors.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise maps, (n, height, width, channels)."""
        del mask
        if not training:
            known = {"mean": self.moving_mean.value, "variance": self.moving_variance.value}
            return self._normalize(inputs, **known)[0]
        outputs, mean, variance = self._normalize(inputs)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return outputs

    def _normalize(self, maps: Any, **known: Any) -> Any:
        gamma, beta = (tf.cast(scale.value, tf.float32) for scale in (self.gamma, self.beta))
        return tf.compat.v1.nn.fused_batch_norm(
            maps, gamma, beta, epsilon=self.epsilon, is_training=not known, **known
        )


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
    maps = FusedNormalization(dtype=dtype)(maps)
    return keras.layers.ReLU(dtype=dtype)(maps)


def _residual(maps: Any, dtype: str) -> Any:
    filters = maps.shape[-1]
    changes = _convolve(_convolve(maps, filters, dtype), filters, dtype)
    return keras.layers.Add(dtype=dtype)([maps, changes])
