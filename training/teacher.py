"""The teacher: a wide residual network, too large to serve, that the network learns from.

Zagoruyko and Komodakis 2016, Wide Residual Networks, https://arxiv.org/abs/1605.07146, with 16
layers: normalisation and activation come before each convolution.
"""

from typing import Any

import keras

from training.architecture import INPUT_NAME, INPUT_SHAPE
from training.backend import is_tensorflow
from training.data import CLASS_NAMES

FIRST_FILTERS = 16
BLOCKS_PER_SIZE = 2


@keras.saving.register_keras_serializable("training")
class FusedNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras' batch normalisation of maps, by TensorFlow in one operation.

    Keras converts bfloat16 maps to float32 and takes a dozen operations; TensorFlow's own reads the
    maps as they are and sums in float32. It is for the teacher alone: with a tanh after it, it
    fails on processors. Other backends compile Keras' operations into one themselves.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise maps, (n, height, width, channels)."""
        if not is_tensorflow():
            return super().call(inputs, training=training, mask=mask)
        if not training:
            known = {"mean": self.moving_mean.value, "variance": self.moving_variance.value}
            return self._normalize(inputs, **known)[0]
        outputs, mean, variance = self._normalize(inputs)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return outputs

    def _normalize(self, maps: Any, **known: Any) -> Any:
        import tensorflow as tf  # noqa: PLC0415 - other backends do without

        gamma, beta = (tf.cast(scale.value, tf.float32) for scale in (self.gamma, self.beta))
        return tf.compat.v1.nn.fused_batch_norm(
            maps, gamma, beta, epsilon=self.epsilon, is_training=not known, **known
        )


def build_teacher(width: int, dtype: str = "float32") -> Any:
    """Build the teacher.

    Args:
        width: number of filters of the first residual blocks; 64 give 2.8 million parameters.
        dtype: Keras' dtype policy of every layer but the last.

    Returns:
        An uncompiled model from images, (n, 28, 28, 1) float32 in [0, 1], to probabilities,
        (n, 10) float32.
    """
    images = keras.Input(INPUT_SHAPE, name=INPUT_NAME)
    maps = _convolution(FIRST_FILTERS, dtype)(images)
    for filters, strides in ((width, 1), (2 * width, 2), (4 * width, 2)):
        for number in range(BLOCKS_PER_SIZE):
            maps = _residual(maps, filters, 1 if number else strides, dtype)
    features = keras.layers.GlobalAveragePooling2D(dtype=dtype)(_activate(maps, dtype))
    return keras.Model(
        images, keras.layers.Dense(len(CLASS_NAMES), "softmax")(features), name="teacher"
    )


def _residual(maps: Any, filters: int, strides: int, dtype: str) -> Any:
    active = _activate(maps, dtype)
    if maps.shape[-1] != filters:
        # Of another shape than what is added to it, the input takes a convolution of its own.
        maps = _convolution(filters, dtype, strides, kernel_size=1)(active)
    changes = _convolution(filters, dtype, strides)(active)
    changes = _convolution(filters, dtype)(_activate(changes, dtype))
    return keras.layers.Add(dtype=dtype)([maps, changes])


def _activate(maps: Any, dtype: str) -> Any:
    return keras.layers.ReLU(dtype=dtype)(FusedNormalization(momentum=0.9, dtype=dtype)(maps))


def _convolution(filters: int, dtype: str, strides: int = 1, kernel_size: int = 3) -> Any:
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides,
        "same",
        use_bias=False,
        kernel_initializer="he_normal",
        dtype=dtype,
    )
